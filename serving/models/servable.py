"""Servable: a loaded version of a model, with the checks of its requests."""

from __future__ import annotations

import math
from contextlib import ExitStack, closing
from dataclasses import fields
from pathlib import Path

from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2

from styleserve.contract import LIMITS, SERVING_DEFAULT
from styleserve.sizing import IMAGE_BYTES

from ..call import Call
from ..errors import GraphError, LoadError, OutOfRangeError, PreconditionError
from ..observability.call_record import MAX_NAME_CHARS, clean
from ..requests.checks import check_request
from ..requests.limits import ModelLimits
from ..requests.request_header import RequestHeader
from ..requests.tensors import fill_proto
from ..requests.work import pixels_at_a_time
from .model_card import limits_of
from .session import ModelSession, SessionSettings
from .signature import Signature


class Servable:
    """A loaded version. Thread-safe until it is closed.

    Args:
        path: Directory of the SavedModel.
        version: Number of the version.
        settings: Settings of its session.

    Raises:
        LoadError: The directory holds no SavedModel for serving, or TensorFlow cannot load it.
    """

    def __init__(self, path: Path, version: int, settings: SessionSettings) -> None:
        self.path = path
        self.version = version
        card = limits_of(path)
        self._tiles_from = None if card is None else card.memory
        try:
            with ExitStack() as on_failure:
                self._session = on_failure.enter_context(closing(ModelSession(path, settings)))
                self.signatures = {name: Signature(name, item) for name, item in self._session.signature_defs.items()}
                self.limits = self._read_limits()
                on_failure.pop_all()
        except LoadError:
            raise
        except Exception as error:  # TensorFlow raises many types for a broken file
            raise LoadError(f"cannot load {path}: {GraphError(0, str(error)).message}") from error

    @property
    def on_gpu(self) -> bool:
        """Whether there is a GPU that it may use."""
        return self._session.on_gpu

    def signature_map(self) -> get_model_metadata_pb2.SignatureDefMap:
        """All signatures, as in GetModelMetadata."""
        return get_model_metadata_pb2.SignatureDefMap(signature_def=self._session.signature_defs)

    def check(self, request: predict_pb2.PredictRequest) -> RequestHeader:
        """Header of a request, after checks of its names, types, shapes, lengths, limits and ranges.

        Nothing runs and no picture is decoded, so a request is checked before it waits.

        Raises:
            ServingError: The request is refused, with the text of the model's own refusal if it has one.
        """
        signature = self._signature(request)
        signature.check(request.inputs, request.output_filter)
        if signature.name in self._session.without_output:
            raise OutOfRangeError(self._session.without_output[signature.name])
        header = RequestHeader(request.inputs, signature.defaults)
        if self.limits is not None:
            check_request(self.limits, signature.name, header)
        signature.check_lengths(request.inputs)
        return header

    def call_memory(self, header: RequestHeader) -> int:
        """Estimate of the memory of a call for its tensors, in bytes."""
        pixels = pixels_at_a_time(header)
        if self.limits is not None:
            pixels = min(pixels, self.limits.max_batch_pixels)
        whole = math.ceil(IMAGE_BYTES * pixels)
        return whole if self._tiles_from is None else min(whole, self._tiles_from)

    def predict(self, request: predict_pb2.PredictRequest, call: Call) -> predict_pb2.PredictResponse:
        """Response to a request.

        Args:
            request: Request, whose model name is only echoed.
            call: Call of the request.

        Raises:
            ServingError: The request is refused, the model failed, or the call was cancelled.
        """
        self.check(request)
        signature = self._signature(request)
        fetches = signature.fetches(request.output_filter)
        values = self._session.run(signature.name, fetches.values(), signature.feeds(request.inputs), call)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = self.version
        response.model_spec.signature_name = signature.name
        for alias, value in zip(fetches, values, strict=True):
            fill_proto(response.outputs[alias], value)
        return response

    def close(self) -> None:
        """Frees the session. No call may run."""
        self._session.close()

    def _signature(self, request: predict_pb2.PredictRequest) -> Signature:
        name = request.model_spec.signature_name or SERVING_DEFAULT
        signature = self.signatures.get(name)
        if signature is None:
            raise PreconditionError(
                f'Serving signature key "{clean(name, MAX_NAME_CHARS)}" not found. {self._contents()}'
            )
        return signature

    def _contents(self) -> str:
        """Sentences on the signatures and the contract of the model, for errors."""
        names = ", ".join(sorted(self.signatures.keys() - self._session.without_output.keys()))
        version = "" if self.limits is None else f" of wire contract {self.limits.contract_version}"
        return f"The model has the signatures {names}{version}. For a call of another contract, update the client."

    def _read_limits(self) -> ModelLimits | None:
        """Limits of the model, by its signature `limits`; None if it lacks one of them, as in an older contract."""
        signature = self.signatures.get(LIMITS)
        if signature is None or set(signature.inputs) != set(signature.defaults):
            return None
        names = [field.name for field in fields(ModelLimits)]
        if not set(names) <= set(signature.outputs):
            return None
        values = self._session.run(LIMITS, signature.fetches(names).values(), signature.feeds({}), Call())
        return ModelLimits(**{name: value[0].item() for name, value in zip(names, values, strict=True)})
