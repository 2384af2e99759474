"""The client: pictures and controls in, typed results out."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Final

import numpy as np
from PIL import Image

from styleserve import contract

from . import replies
from .connection import Connection
from .controls import UNSET, Controls, Unset, checked_timeout_s
from .defaults import ADMIN_TIMEOUT_S, DEFAULT_SERVER, default_timeout_s
from .errors import DeadlineExceeded, ModelNotFound, ModelNotReady, Overloaded, ServerUnavailable
from .images import Picture, load_picture
from .protos import GetModelMetadataRequest, GetModelStatusRequest, Int64Value, ModelSpec, PredictRequest, TensorProto
from .report import draw_report
from .results import Description, Metadata, StylizedResult, Timings, VersionStatus
from .signatures import Optimizer, StylizeSignature, choose_signature, refuse_foreign_controls, sends_files
from .tensors import bytes_tensor, number_tensor

_POLL_S: Final = 0.25

PictureSource = str | os.PathLike[str] | bytes | Picture


class StyleClient:
    """A client of one model on one server; to be closed, or used as a context manager.

    Args:
        server: `host:port`, or any other gRPC target.
        model_name: under which the server has the model.
        version: of the model; the newest one if neither this nor `version_label` is given.
        version_label: in place of a number, as in "stable".

    Raises:
        ValueError: both `version` and `version_label` are given.
        ServerUnavailable: `server` is no address. (No connection is made yet.)
    """

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        model_name: str = contract.DEFAULT_MODEL_NAME,
        version: int | None = None,
        version_label: str | None = None,
    ) -> None:
        if version is not None and version_label is not None:
            raise ValueError("give version or version_label, not both")
        self.server: Final = server
        self.model_name: Final = model_name
        self._version: Final = version
        self._version_label: Final = version_label
        self._connection: Final = Connection(server)

    def __enter__(self) -> StyleClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection, and with it all calls."""
        self._connection.close()

    def stylize(
        self,
        content: PictureSource,
        style: PictureSource,
        *,
        content_weight: float | Unset = UNSET,
        style_weight: float | Unset = UNSET,
        total_variation_weight: float | Unset = UNSET,
        steps: int | Unset = UNSET,
        learning_rate: float | Unset = UNSET,
        max_side: int | Unset = UNSET,
        optimizer: Optimizer | None = None,
        signature: StylizeSignature | None = None,
        timeout_s: float | None = None,
    ) -> StylizedResult:
        """The content painted in the style.

        A control that is not given is not sent, so that the model's own default holds.

        Args:
            content: path of a picture, or the bytes of its file.
            style: path of a painting, or the bytes of its file.
            content_weight: how much the content counts.
            style_weight: how much the style counts.
            total_variation_weight: how much smoothness counts.
            steps: of the optimisation, each an evaluation of the network; 0 returns the content.
            learning_rate: of Adam; L-BFGS has none.
            max_side: longest side that both pictures are resized to, in pixels.
            optimizer: "lbfgs" or "adam"; if None, the one of `signature`, or else L-BFGS.
            signature: to call in place of the optimiser's own that takes files, "stylize_lbfgs_encoded" or
                "stylize_encoded": for "stylize_lbfgs" and "serving_default" pictures are resized here and sent as
                numbers.
            timeout_s: for the call; `default_timeout_s` if None.

        Raises:
            ControlError: a control is out of its range, or the optimiser has no such control.
            ImageError: a picture cannot be used.
            ServiceError: one of its subclasses says what went wrong.
        """
        started = time.perf_counter()
        controls = Controls(
            content_weight=content_weight,
            style_weight=style_weight,
            total_variation_weight=total_variation_weight,
            steps=steps,
            learning_rate=learning_rate,
            max_side=max_side,
        )
        signature = choose_signature(optimizer, signature)
        refuse_foreign_controls(signature, controls)
        pictures = (load_picture(content, name="the content"), load_picture(style, name="the style"))
        # The work is on the content; the style costs one evaluation.
        width, height = pictures[0].size_within(controls.expected_max_side)
        if timeout_s is None:
            timeout_s = default_timeout_s(width * height, controls.expected_steps)
        request = self._stylize_request(*pictures, controls, signature)
        prepared = time.perf_counter()
        reply = self._connection.predict(request, timeout_s)
        answered = time.perf_counter()
        losses = replies.losses(reply, None if isinstance(steps, Unset) else steps, signature)
        result = replies.picture(reply, signature)
        return StylizedResult(
            image=result.image,
            png_bytes=result.encoded,
            losses=losses,
            model_name=self.model_name,
            model_version=reply.model_spec.version.value,
            signature=signature,
            parameters=controls.sent(),
            timings=Timings(prepared - started, answered - prepared, time.perf_counter() - answered),
            notes=tuple(f"{picture.name}: {note}" for picture in pictures for note in picture.notes),
        )

    def describe(
        self,
        image: PictureSource,
        *,
        size: tuple[int, int] | None = None,
        timeout_s: float | None = None,
    ) -> Description:
        """What the network sees in a picture.

        Args:
            image: path of a picture, or the bytes of its file.
            size: width and height to resize it to first, in pixels; if None, a picture with a side over the
                contract's default of `max_side` is made that small.
            timeout_s: for the call; `default_timeout_s` of one step if None.

        Raises:
            ImageError: the picture cannot be used.
            ServiceError: one of its subclasses says what went wrong.
        """
        picture = load_picture(image)
        if size is None:
            size = picture.size_within(min(Controls().expected_max_side, max(picture.image.size)))
        request = PredictRequest(
            model_spec=self._spec(contract.DESCRIBE),
            inputs={contract.IMAGE.name: number_tensor(picture.pixels(size))},
        )
        if timeout_s is None:
            timeout_s = default_timeout_s(size[0] * size[1], steps=1)
        reply = self._connection.predict(request, timeout_s)
        return replies.description(reply, picture.notes)

    def report(
        self,
        content: PictureSource,
        style: PictureSource,
        result: StylizedResult,
        *,
        timeout_s: float | None = None,
    ) -> Image.Image:
        """One picture that shows a run: its pictures, its losses, and what `describe` tells of before and after.

        Args:
            content: that was painted.
            style: that was followed.
            result: of the run.
            timeout_s: for each of the two calls; `default_timeout_s` of one step if None.

        Raises:
            ImageError: a picture cannot be used.
            ServiceError: one of its subclasses says what went wrong.
        """
        picture, size = load_picture(content), result.image.size
        before = self.describe(picture, size=size, timeout_s=timeout_s)
        after = self.describe(result.png_bytes, size=size, timeout_s=timeout_s)
        return draw_report(picture, load_picture(style), result, before, after)

    def status(self, *, timeout_s: float = ADMIN_TIMEOUT_S) -> tuple[VersionStatus, ...]:
        """The versions of the model that the server has or had, newest first.

        Raises:
            ModelNotFound: it never had the model.
            ServiceError: one of its subclasses says what went wrong.
        """
        return replies.versions(self._connection.status(GetModelStatusRequest(model_spec=self._spec()), timeout_s))

    def metadata(self, *, timeout_s: float = ADMIN_TIMEOUT_S) -> Metadata:
        """The signatures of the model, with the defaults of their inputs.

        Raises:
            ServiceError: one of its subclasses says what went wrong.
        """
        request = GetModelMetadataRequest(model_spec=self._spec(), metadata_field=[replies.SIGNATURE_DEF])
        return replies.metadata(self._connection.metadata(request, timeout_s))

    def wait_until_ready(self, timeout_s: float = 120.0) -> VersionStatus:
        """The newest version that is available, as soon as there is one.

        Raises:
            ModelNotReady: there was none in time; the message says what was seen last.
            ServiceError: what answers can never become ready.
        """
        deadline = time.monotonic() + checked_timeout_s(timeout_s)
        seen = "nothing"
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                found = self.status(timeout_s=min(left_s, ADMIN_TIMEOUT_S))
            except (ServerUnavailable, ModelNotFound, Overloaded, DeadlineExceeded) as error:
                seen = error.message
            else:
                for status in found:
                    if status.available:
                        return status
                seen = ", ".join(map(str, found)) or "no version"
            time.sleep(max(0.0, min(_POLL_S, deadline - time.monotonic())))
        raise ModelNotReady(
            f"{self.model_name!r} at {self.server} was not available within {timeout_s:g} s; last seen: {seen}",
            hint="Is the server running, with that model? See its log.",
        )

    def _spec(self, signature: str = "") -> ModelSpec:
        spec = ModelSpec(name=self.model_name, signature_name=signature)
        if self._version is not None:
            spec.version.CopyFrom(Int64Value(value=self._version))
        if self._version_label is not None:
            spec.version_label = self._version_label
        return spec

    def _stylize_request(
        self, content: Picture, style: Picture, controls: Controls, signature: StylizeSignature
    ) -> PredictRequest:
        inputs: dict[str, TensorProto]
        if sends_files(signature):
            inputs = {
                contract.CONTENT_BYTES.name: bytes_tensor([content.encoded]),
                contract.STYLE_BYTES.name: bytes_tensor([style.encoded]),
            }
        else:
            side = controls.expected_max_side
            inputs = {
                contract.CONTENT_IMAGE.name: number_tensor(content.pixels(content.size_within(side))),
                contract.STYLE_IMAGE.name: number_tensor(style.pixels(style.size_within(side))),
            }
        accepted = {field.name for field in contract.SIGNATURES[signature].inputs}
        sent = {name: value for name, value in controls.sent().items() if name in accepted}
        return PredictRequest(model_spec=self._spec(signature), inputs={**inputs, **_control_tensors(sent)})


def _control_tensors(values: Mapping[str, float | int]) -> dict[str, TensorProto]:
    dtypes = {control.name: np.dtype(control.dtype) for control in contract.CONTROLS}
    return {name: number_tensor(np.array([value], dtypes[name])) for name, value in values.items()}
