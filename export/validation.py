"""Check of a saved model before it is published: runs every signature and the warm-up requests, as servers do."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from styleserve import contract
from styleserve.contract import Field
from styleserve.model import StyleTransfer
from styleserve.session_options import session_config
from styleserve.warmup_requests import read_warmup_logs

from .warmup import in_first_request

NumpyArray = npt.NDArray[np.generic]

_TOLERANCE: Final = {"float32": 1e-3, "bfloat16": 5e-2}
"""Largest difference from the model, relative to the range of an output. Rewriting may reorder a few sums. In bfloat16,
whose step is 2^-8, that may round a feature differently, and further steps carry the difference into the picture."""

OnStep = Callable[[int, int, str], None]
"""Function that is called before a step, with its number from 1, the number of steps, and its name."""


class ValidationError(Exception):
    """A saved model differs from the model it was saved from, or does not run."""


def validate(version_dir: Path, model: StyleTransfer, on_step: OnStep = lambda _number, _total, _name: None) -> None:
    """Reloads a saved model, compares each signature with the model it was saved from, and replays the warm-up.

    Args:
        version_dir: Directory of the version.
        model: Model that was saved there.
        on_step: Function that is called before each step.

    Raises:
        ValidationError: A signature fails or differs; the message names it.
    """
    total = 2 + len(contract.SIGNATURES)
    on_step(1, total, "reload")
    definitions = _signature_definitions(version_dir)
    with _without_advice():
        loaded = tf.saved_model.load(str(version_dir))
    for number, (name, signature) in enumerate(contract.SIGNATURES.items(), start=2):
        on_step(number, total, name)
        if name not in definitions:
            raise ValidationError(f"signature {name} is missing")
        _check_defaults(name, definitions[name], model)
        inputs = {field.name: _sample(field, model) for field in signature.inputs}
        got = _checked_run(name, loaded.signatures[name], inputs, model)
        if contract.STATE in signature.inputs:
            empty = {field.name: model.default(field) for field in contract.FILES}
            resumed = {**inputs, **empty, contract.STATE.name: tf.constant(got[contract.STATE.name])}
            _checked_run(name, loaded.signatures[name], resumed, model)
    on_step(total, total, "warm-up requests")
    _replay_warmup(version_dir, definitions)


def _checked_run(
    name: str, function: Callable[..., Mapping[str, tf.Tensor]], inputs: Mapping[str, tf.Tensor], model: StyleTransfer
) -> dict[str, NumpyArray]:
    """Outputs of the saved function, after a comparison with those of the model."""
    got = _run(name, function, inputs)

    def eager(**tensors: tf.Tensor) -> Mapping[str, tf.Tensor]:
        return model.methods[name](tensors)

    expected = _run(name, eager, inputs)
    _compare(name, got, expected, _TOLERANCE[model.settings.precision])
    return got


def _signature_definitions(version_dir: Path) -> Mapping[str, meta_graph_pb2.SignatureDef]:
    saved = saved_model_pb2.SavedModel.FromString((version_dir / "saved_model.pb").read_bytes())
    return saved.meta_graphs[0].signature_def


def _check_defaults(name: str, definition: meta_graph_pb2.SignatureDef, model: StyleTransfer) -> None:
    for field in contract.SIGNATURES[name].inputs:
        default = model.default(field)
        if (default is not None) != (field.name in definition.defaults):
            raise ValidationError(
                f"{name}: the default of {field.name} is {'missing' if default is not None else 'extra'}"
            )
        if default is not None and not np.array_equal(
            tf.make_ndarray(definition.defaults[field.name]), default.numpy()
        ):
            raise ValidationError(f"{name}: the default of {field.name} is not {default.numpy()}")


def _sample(field: Field, model: StyleTransfer) -> tf.Tensor:
    """A small value of an input: a random picture, two steps, and defaults for all other inputs."""
    if field is contract.RETURN_STATE:
        return tf.constant([1])
    if field.control is contract.STEPS:
        return tf.constant([min(2, model.settings.limits.max_steps)])
    if field.control is contract.MAX_SIDE:
        return tf.constant([min(32, math.isqrt(int(model.settings.limits.numbers()["max_pixels"])))])
    if not in_first_request(field):
        return model.default(field)
    seed = sum(field.name.encode())
    numbers = model.settings.limits.numbers()
    most = min(int(numbers["max_side"]), math.isqrt(int(min(numbers["max_pixels"], numbers["max_encoded_pixels"]))))
    sides = (min(2 * model.min_side, most), min(model.min_side + 5, most))
    image = tf.random.stateless_uniform([*sides, 3], seed=[0, seed])
    if field.dtype == "string":
        return tf.reshape(tf.io.encode_png(tf.cast(image * 255.0, tf.uint8)), [1] * len(field.shape))
    return image[None]


def _run(
    name: str, function: Callable[..., Mapping[str, tf.Tensor]], inputs: Mapping[str, tf.Tensor]
) -> dict[str, NumpyArray]:
    try:
        return {key: value.numpy() for key, value in function(**inputs).items()}
    except tf.errors.OpError as error:
        raise ValidationError(f"{name} fails: {_reason(error)}") from error


def _reason(error: tf.errors.OpError) -> str:
    """The message of an error without its traceback, which precedes it, and without the node, which follows it."""
    return error.message.partition("\n\t [[")[0].splitlines()[-1]


def _compare(name: str, got: Mapping[str, NumpyArray], expected: Mapping[str, NumpyArray], tolerance: float) -> None:
    if set(got) != set(expected):
        raise ValidationError(f"{name} gives {sorted(got)}; the model gives {sorted(expected)}")
    for key, value in expected.items():
        if got[key].shape != value.shape:
            raise ValidationError(f"{name}: {key} has shape {got[key].shape}; the model gives {value.shape}")
        if key == contract.STATE.name:
            continue  # compared by the run that it resumes
        if key == contract.IMAGE_BYTES.name:
            pairs = [(_decoded(a), _decoded(b)) for a, b in zip(got[key], value, strict=True)]
            rounding = 1.0  # a value between two levels may round to either
        elif value.dtype.kind == "f":
            pairs = [(got[key].astype(np.float32), value.astype(np.float32))]
            rounding = 0.0
        elif (got[key] != value).any():
            raise ValidationError(f"{name}: {key} is {got[key]}; the model gives {value}")
        else:
            continue
        for a, b in pairs:
            scale = max(float(np.abs(b).max(initial=0.0)), 1.0 / 255.0)
            difference = (float(np.abs(a - b).max(initial=0.0)) - rounding) / scale
            if not difference <= tolerance:  # a NaN fails, too
                raise ValidationError(
                    f"{name}: {key} differs from the model by {difference:.2g} of its range; allowed is {tolerance:g}"
                )


def _decoded(png: bytes) -> npt.NDArray[np.float32]:
    return tf.io.decode_png(png).numpy().astype(np.float32)


def _replay_warmup(version_dir: Path, definitions: Mapping[str, meta_graph_pb2.SignatureDef]) -> None:
    """Runs the warm-up requests in a session, as servers do: a graph that runs as functions may not load in one."""
    requests = [log.predict_log.request for log in read_warmup_logs(version_dir)]
    with tf.Graph().as_default(), tf.compat.v1.Session(config=session_config()) as session:
        _load(session, version_dir)
        for request in requests:
            name = request.model_spec.signature_name
            definition = definitions[name]
            protos = {**dict(definition.defaults), **dict(request.inputs)}
            feeds = {definition.inputs[key].name: tf.make_ndarray(proto) for key, proto in protos.items()}
            try:
                session.run([output.name for output in definition.outputs.values()], feeds)
            except tf.errors.OpError as error:
                raise ValidationError(f"warm-up of {name} fails: {_reason(error)}") from error


def _load(session: tf.compat.v1.Session, version_dir: Path) -> None:
    try:
        with _without_advice():
            tf.compat.v1.saved_model.load(session, ["serve"], str(version_dir))
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        raise ValidationError(f"it does not load in a session: {error}") from error


@contextmanager
def _without_advice() -> Generator[None]:
    """Silences TensorFlow's advice to use another loader and to save gradients."""
    loggers = (tf.get_logger(), logging.getLogger("absl"))
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel("ERROR")
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
