"""Neural style transfer as a service.

``styleserve.client`` sends requests to a server and needs no TensorFlow; ``styleserve.model`` is the algorithm;
``styleserve.export`` writes it as a SavedModel; ``styleserve.serving`` runs that SavedModel.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
