"""The check of a saved model before it is published: what a server will do with it is done here first."""

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

from .warmup import is_given, read_warmup_requests

NumpyArray = npt.NDArray[np.generic]

# Reloaded and eager run the same kernels; grappler may fuse or reorder a few sums. In bfloat16, whose step is 2^-8, a
# sum in another order may round one feature differently, which a few steps carry into the picture.
_TOLERANCE: Final = {"float32": 1e-3, "bfloat16": 5e-2}


OnStep = Callable[[int, int, str], None]
"""Called before a step, with its number from 1 on, the number of steps, and its name."""


class ValidationError(Exception):
    """A saved model does not do what it was saved to do."""


def validate(version_dir: Path, model: StyleTransfer, on_step: OnStep = lambda _number, _total, _name: None) -> None:
    """Reloads a saved model, runs each signature, compares with the model it was saved from, replays the warm-up.

    Args:
        version_dir: directory of the version.
        model: what was saved there.
        on_step: is called before each step.

    Raises:
        ValidationError: names the signature and what differs.
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
    """What the saved function gives, once it was found to be what the model gives."""
    got = _run(name, function, inputs)

    def eager(**given: tf.Tensor) -> Mapping[str, tf.Tensor]:
        return model.methods[name](given)

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
    """A small input for a field: a picture drawn from a seed, two steps, everything else at its default."""
    if field is contract.RETURN_STATE:
        return tf.constant([1])
    if field.control is contract.STEPS:
        return tf.constant([min(2, model.settings.limits.max_steps)])
    if field.control is contract.MAX_SIDE:
        return tf.constant([min(32, math.isqrt(int(model.settings.limits.numbers()["max_pixels"])))])
    if not is_given(field):
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
    # The last line before the node's name; what stands above it is where the graph was built.
    return error.message.partition("\n\t [[")[0].splitlines()[-1]


def _compare(name: str, got: Mapping[str, NumpyArray], expected: Mapping[str, NumpyArray], tolerance: float) -> None:
    if set(got) != set(expected):
        raise ValidationError(f"{name} gives {sorted(got)}; the model gives {sorted(expected)}")
    for key, value in expected.items():
        if got[key].shape != value.shape:
            raise ValidationError(f"{name}: {key} has shape {got[key].shape}; the model gives {value.shape}")
        if key == contract.STATE.name:
            continue  # what it resumes to is compared
        if key == contract.IMAGE_BYTES.name:
            pairs = [(_decoded(a), _decoded(b)) for a, b in zip(got[key], value, strict=True)]
            rounding = 1.0  # what lies between two levels may go to either
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
            # Written so that a NaN, which is not smaller than anything, fails.
            if not difference <= tolerance:
                raise ValidationError(
                    f"{name}: {key} differs from the model by {difference:.2g} of its range; allowed is {tolerance:g}"
                )


def _decoded(png: bytes) -> npt.NDArray[np.float32]:
    return tf.io.decode_png(png).numpy().astype(np.float32)


def _replay_warmup(version_dir: Path, definitions: Mapping[str, meta_graph_pb2.SignatureDef]) -> None:
    """Runs the warm-up requests in a session, as servers do: a graph can run as functions and yet not load there."""
    requests = read_warmup_requests(version_dir)
    # The signatures were run with graph rewriting just before; here it would take longer than all the rest.
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    # As in the embedded server; TensorFlow Serving's rewriting inlines, too.
    config.graph_options.optimizer_options.do_function_inlining = True
    with tf.Graph().as_default(), tf.compat.v1.Session(config=config) as session:
        _load(session, version_dir)
        for request in requests:
            name = request.model_spec.signature_name
            definition = definitions[name]
            # The signature's defaults stand in where the request has nothing.
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
    """Keeps TensorFlow from advising a loader that takes no session, and gradients that nothing needs."""
    loggers = (tf.get_logger(), logging.getLogger("absl"))
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel("ERROR")
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
