"""The algorithm: VGG-19 features, losses, optimisers and the loop. No gRPC, and no files but weights.

Start with `StyleTransfer`, a `tf.Module` with one `tf.function` for each signature of the wire contract.
"""

from .module import ModelSettings, StyleTransfer
from .network.calibration import random_weights
from .network.vgg19 import Precision
from .network.weights import Weights, file_weights, imagenet_weights

__all__ = [
    "ModelSettings",
    "Precision",
    "StyleTransfer",
    "Weights",
    "file_weights",
    "imagenet_weights",
    "random_weights",
]
