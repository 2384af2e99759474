"""Neural style transfer as a service.

``styleserve.client`` talks to a server and needs no TensorFlow; ``styleserve.model`` is the paper as code;
``styleserve.export`` turns it into a SavedModel; ``styleserve.serving`` runs that SavedModel.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
