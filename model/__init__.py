"""The algorithm: VGG-19 features, losses, optimisers and the loop. No gRPC, and no files but weights.

Start with `StyleTransfer`, a `tf.Module` with one `tf.function` for each signature of the wire contract.
"""

from .calibration import random_weights
from .module import ModelSettings, StyleTransfer
from .vgg19 import Precision
from .weights import Weights, file_weights, imagenet_weights

__all__ = [
    "ModelSettings",
    "Precision",
    "StyleTransfer",
    "Weights",
    "file_weights",
    "imagenet_weights",
    "random_weights",
]
