"""A second baseline: the tutorial's loop in plain PyTorch, as PyTorch's style-transfer tutorials write it.

PyTorch is an optional extra (`pip install '.[bench]'` in the repository), so the first use imports it.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from styleserve.model import Precision, Weights
from styleserve.model.network.architecture import IMAGENET_BGR_MEANS, layers_up_to

from .tutorial import CONTENT_WEIGHT, STYLE_WEIGHT, TOTAL_VARIATION_WEIGHT

# Settings of the tutorial; beta_2 is Keras' default.
LEARNING_RATE: Final = 0.02
BETAS: Final = (0.99, 0.999)
EPSILON: Final = 0.1


def available() -> bool:
    """Whether PyTorch is installed."""
    return importlib.util.find_spec("torch") is not None


class PyTorch:
    """The tutorial's optimisation of one image in PyTorch, on the first GPU or else on the CPU.

    Args:
        weights: Weights of VGG-19.
        content: Start and content target, `[1, height, width, 3]` float32 in [0, 1].
        style: `[1, height, width, 3]` float32 in [0, 1].
        style_layers: Layers whose Gram matrices are matched.
        content_layer: Layer whose features are matched.
        precision: Precision of the convolutions. In bfloat16 they run channels-last, as PyTorch advises.
    """

    def __init__(
        self,
        weights: Weights,
        content: NDArray[np.float32],
        style: NDArray[np.float32],
        *,
        style_layers: Sequence[str],
        content_layer: str,
        precision: Precision = "float32",
    ) -> None:
        torch: Any = importlib.import_module("torch")
        self._torch: Final = torch
        self._device: Final = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._dtype: Final = torch.float32 if precision == "float32" else torch.bfloat16
        self._format: Final = torch.contiguous_format if precision == "float32" else torch.channels_last
        self._style_layers: Final = tuple(style_layers)
        self._content_layer: Final = content_layer
        self._stack: Final = layers_up_to([*style_layers, content_layer])
        # TensorFlow's kernels are [height, width, in, out], PyTorch's are [out, in, height, width].
        self._parameters: Final = {
            layer.name: (
                self._tensor(weights.layers[layer.name].kernel.transpose(3, 2, 0, 1)).to(
                    self._dtype, memory_format=self._format
                ),
                self._tensor(weights.layers[layer.name].bias).to(self._dtype),
            )
            for layer in self._stack
        }
        self._means: Final = self._tensor(np.array(IMAGENET_BGR_MEANS, np.float32)).reshape(1, 3, 1, 1)
        with torch.no_grad():
            features = self._features(self._tensor(style.transpose(0, 3, 1, 2)))
            self._grams: Final = [self._gram_matrix(features[layer]) for layer in self._style_layers]
            self.image: Final = self._tensor(content.transpose(0, 3, 1, 2))
            self._content: Final = self._features(self.image)[content_layer].float()
        self.image.requires_grad_()
        self._optimizer: Final = torch.optim.Adam([self.image], lr=LEARNING_RATE, betas=BETAS, eps=EPSILON)
        self._steps = 0

    def step(self) -> Any:  # noqa: ANN401 - PyTorch and its types may be absent
        """Runs one step without waiting; returns the losses before it, `[4]` float32 (`TUTORIAL_LOSS_COLUMNS`)."""
        torch = self._torch
        self._steps += 1
        self._optimizer.zero_grad()
        losses = self._losses()
        losses[0].backward()
        # Keras adds epsilon before the correction of the second moment, PyTorch after it: 0.1 must be scaled.
        self._optimizer.param_groups[0]["eps"] = EPSILON / math.sqrt(1.0 - BETAS[1] ** self._steps)
        self._optimizer.step()
        with torch.no_grad():
            self.image.clamp_(0.0, 1.0)
        return losses.detach()

    def steps(self, count: int) -> None:
        """Runs a number of steps and waits for the last one."""
        for _ in range(count):
            self.step()
        self.image[0, 0, 0, 0].item()  # waits for a GPU

    def _tensor(self, array: NDArray[np.float32]) -> Any:  # noqa: ANN401
        return self._torch.tensor(np.ascontiguousarray(array), device=self._device)

    def _features(self, image: Any) -> Mapping[str, Any]:  # noqa: ANN401
        functional = self._torch.nn.functional
        x = (image * 255.0).flip(1) - self._means
        x = x.to(self._dtype, memory_format=self._format)
        features: dict[str, Any] = {}
        for layer in self._stack:
            if layer.pool:
                x = functional.max_pool2d(x, 2)
            kernel, bias = self._parameters[layer.name]
            x = functional.relu(functional.conv2d(x, kernel, bias, padding=1))
            if layer.name in (*self._style_layers, self._content_layer):
                features[layer.name] = x
        return features

    def _gram_matrix(self, features: Any) -> Any:  # noqa: ANN401
        rows = features.float().flatten(2)
        return rows @ rows.mT / rows.shape[2]

    def _losses(self) -> Any:  # noqa: ANN401
        features = self._features(self.image)
        pairs = zip(self._style_layers, self._grams, strict=True)
        style = sum((self._gram_matrix(features[layer]) - gram).square().mean() for layer, gram in pairs)
        content = (features[self._content_layer].float() - self._content).square().mean()
        variation = self.image.diff(dim=2).abs().sum() + self.image.diff(dim=3).abs().sum()
        parts = (
            style * (STYLE_WEIGHT / len(self._style_layers)),
            content * CONTENT_WEIGHT,
            variation * TOTAL_VARIATION_WEIGHT,
        )
        return self._torch.stack((sum(parts), *parts))
