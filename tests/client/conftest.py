"""A small real gRPC server, whose replies the tests choose, and pictures."""

from __future__ import annotations

import functools
import importlib.metadata
import io
import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image, ImageOps

from styleserve import contract
from styleserve.client import load_picture
from styleserve.client.wire import messages
from styleserve.client.wire.tensors import bytes_tensor, number_tensor, to_array

LAYERS = ("block1_conv1", "block2_conv1", "block2_conv2")
DEFAULT_STEPS = 100
DEFAULT_SIDE = 64
VERSION = 42
FINGERPRINT = "0123456789abcdef" * 2
STATE = b"state of the stub"


@dataclass
class Refusal:
    """A status and its text in place of a reply."""

    code: grpc.StatusCode
    text: str


Behaviour = Callable[[Any], Any]


def value_of(request: messages.PredictRequest, name: str, default: Any) -> Any:
    """The value of a control of one example."""
    if name not in request.inputs:
        return default
    value = to_array(request.inputs[name], name).reshape(-1)[0]
    return value.decode() if isinstance(value, bytes) else value


def paint(request: messages.PredictRequest) -> messages.PredictResponse | Refusal:
    """The negative of the content, or the start, a level brighter with each step; losses that fall with each.

    A state holds the picture and the number of steps.
    """
    inputs = request.inputs
    if value_of(request, "contract_version", 0) != contract.CONTRACT_VERSION:
        return refused(f"contract_version {contract.CONTRACT_VERSION_RULE}")
    steps = int(value_of(request, "steps", DEFAULT_STEPS))
    if ("state" in inputs) == bool({"content_bytes", "style_bytes"} & set(inputs)):
        return refused("give either state or pictures")
    if "state" in inputs:
        state = to_array(inputs["state"], "state")[0]
        if not state.startswith(STATE):
            return refused("the state is of another model")
        done, png = int.from_bytes(state[len(STATE) :][:4], "big"), state[len(STATE) + 4 :]
    else:
        done, png = 0, begun(request)
    total = (1e6 * 0.97 ** np.arange(done, done + steps)).astype(np.float32)
    brighter = load_picture(png).image.point([min(255, level + done + steps) for level in range(256)] * 3)
    outputs = {
        "state": bytes_tensor(
            [STATE + (done + steps).to_bytes(4, "big") + png if value_of(request, "return_state", 0) else b""]
        ),
        "losses": float_list(np.stack([total, total * 0.5, total * 0.375, total * 0.125, total * 0], axis=-1)[None]),
        "image_bytes": bytes_tensor([encoded(brighter, value_of(request, "image_format", "png"))]),
    }
    return reply(request, {name: outputs[name] for name in request.output_filter or outputs})


def begun(request: messages.PredictRequest) -> bytes:
    """The picture that a run starts from, as PNG."""
    content = load_picture(to_array(request.inputs["content_bytes"], "content_bytes")[0])
    size = content.size_within(int(value_of(request, "max_side", DEFAULT_SIDE)))
    start = value_of_bytes(request, "start_bytes")
    image = load_picture(start).image if start else ImageOps.invert(content.image)
    return encoded(image.resize(size), "png")


def value_of_bytes(request: messages.PredictRequest, name: str) -> bytes:
    return to_array(request.inputs[name], name).reshape(-1)[0] if name in request.inputs else b""


def encoded(image: Image.Image, image_format: str) -> bytes:
    """A file of the picture, in a format of `contract.IMAGE_FORMAT`."""
    if image_format == "png16":
        return png16(np.asarray(image, np.uint16) * 257)
    file = io.BytesIO()
    image.save(file, image_format)
    return file.getvalue()


def png16(levels: Any) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    height, width, _ = levels.shape
    chunks = (
        (b"IHDR", struct.pack(">2I5B", width, height, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows, 1)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def refused(text: str) -> Refusal:
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, f"assertion failed: [{text}]")


def describe(request: messages.PredictRequest) -> messages.PredictResponse:
    """Real differences, and made-up layers."""
    image = to_array(request.inputs["image"], "image")
    sobel = np.stack([np.zeros_like(image), np.zeros_like(image)], axis=-1)
    sobel[:, 1:-1, :, :, 0] = image[:, 2:] - image[:, :-2]
    sobel[:, :, 1:-1, :, 1] = image[:, :, 2:] - image[:, :, :-2]
    gram = np.arange(9, dtype=np.float32).reshape(1, 3, 3)
    names = bytes_tensor([name.encode() for name in LAYERS])
    names.tensor_shape.CopyFrom(number_tensor(np.zeros((1, len(LAYERS)), np.float32)).tensor_shape)
    return reply(
        request,
        {
            "layer_names": names,
            "layer_shapes": number_tensor(np.array([[[64, 48, 64]] * len(LAYERS)], np.int32)),
            "layer_statistics": float_list(np.array([[[0.0, 100.0, 26.0]] * len(LAYERS)], np.float32)),
            "total_variation": float_list(np.array([12.5], np.float32)),
            "high_pass_x": float_list(image[:, :, 1:] - image[:, :, :-1]),
            "high_pass_y": float_list(image[:, 1:] - image[:, :-1]),
            "sobel_edges": float_list(sobel),
            "gram_block1_conv1": float_list(gram),
        },
    )


def predict(request: messages.PredictRequest) -> messages.PredictResponse | Refusal:
    """The reply of the signature."""
    return describe(request) if request.model_spec.signature_name == contract.DESCRIBE else paint(request)


def limits_reply(request: messages.PredictRequest, **others: int) -> messages.PredictResponse:
    """Limits of a model that paints at one size."""
    found = {**contract.Limits(max_side=1024).numbers(), "min_side": 2, "style_layers": 5, "smallest_octave": 0}
    values = {**found, "contract_version": contract.CONTRACT_VERSION, **others}
    kinds = {field.name: field.dtype for field in contract.LIMIT_FIELDS}
    outputs = {name: number_tensor(np.array([value], kinds[name])) for name, value in values.items()}
    return reply(request, {**outputs, contract.FINGERPRINT.name: bytes_tensor([FINGERPRINT.encode()])})


def reply(request: messages.PredictRequest, outputs: dict[str, messages.TensorProto]) -> messages.PredictResponse:
    spec = messages.ModelSpec(
        name=request.model_spec.name,
        version=messages.Int64Value(value=VERSION),
        signature_name=request.model_spec.signature_name,
    )
    return messages.PredictResponse(model_spec=spec, outputs=outputs)


def float_list(array: Any) -> messages.TensorProto:
    """Numbers as TensorFlow Serving sends them: in a list, not raw."""
    tensor = number_tensor(np.asarray(array, np.float32))
    tensor.float_val.extend(np.ravel(array).tolist())
    tensor.ClearField("tensor_content")
    return tensor


def metadata(request: messages.GetModelMetadataRequest) -> messages.GetModelMetadataResponse:
    """The signatures `paint` and `limits`, in part."""
    info = messages.TensorInfo(name="steps:0", dtype=messages.DataType.DT_INT32)
    info.tensor_shape.CopyFrom(messages.TensorShapeProto(dim=[messages.TensorShapeProto.Dim(size=-1)]))
    word = messages.TensorInfo(name="loss:0", dtype=messages.DataType.DT_STRING)
    word.tensor_shape.CopyFrom(info.tensor_shape)
    defaults = {
        "steps": number_tensor(np.array([DEFAULT_STEPS], np.int32)),
        "max_side": number_tensor(np.array([DEFAULT_SIDE], np.int32)),
        "loss": bytes_tensor([b"painter"]),
    }
    signature = messages.SignatureDef(
        inputs={"steps": info, "max_side": info, "loss": word}, outputs={"losses": info}, defaults=defaults
    )
    signatures = {contract.PAINT: signature, contract.LIMITS: messages.SignatureDef(outputs={"max_steps": info})}
    packed = messages.AnyMessage(
        type_url="type.googleapis.com/tensorflow.serving.SignatureDefMap",
        value=messages.SignatureDefMap(signature_def=signatures).SerializeToString(),
    )
    spec = messages.ModelSpec(name=request.model_spec.name, version=messages.Int64Value(value=VERSION))
    return messages.GetModelMetadataResponse(model_spec=spec, metadata={"signature_def": packed})


def status(_: messages.GetModelStatusRequest) -> messages.GetModelStatusResponse:
    return version_status(messages.ModelVersionState.AVAILABLE)


def version_status(state: messages.ModelVersionState) -> messages.GetModelStatusResponse:
    return messages.GetModelStatusResponse(
        model_version_status=[messages.ModelVersionStatus(version=VERSION, state=state, status=messages.StatusProto())]
    )


@dataclass
class StubServer:
    """Speaks the protocol; each reply may be replaced by another function or by a `Refusal`.

    `predict` answers all signatures but `limits`, which has a reply of its own. `version` is the newest one, and
    answers where none is asked for; those in `gone` are not found.
    """

    predict: Behaviour | Refusal = predict
    limits: Behaviour | Refusal = limits_reply
    metadata: Behaviour | Refusal = metadata
    status: Behaviour | Refusal = status
    predict_in_context: Callable[[Any, grpc.ServicerContext], Any] | None = None
    version: int = VERSION
    gone: set[int] = field(default_factory=set[int])
    requests: list[Any] = field(default_factory=list[Any])
    headers: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    address: str = ""

    @property
    def predictions(self) -> list[Any]:
        """The requests of Predict."""
        return [request for request in self.requests if isinstance(request, messages.PredictRequest)]

    @property
    def paints(self) -> list[Any]:
        """The requests of the signature `paint`."""
        return [each for each in self.predictions if each.model_spec.signature_name == contract.PAINT]

    def with_limits(self, **limits: int) -> None:
        """Replaces some limits of the model."""
        self.limits = functools.partial(limits_reply, **limits)

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        methods = {
            messages.PREDICT: ("predict", messages.PredictRequest),
            messages.GET_MODEL_METADATA: ("metadata", messages.GetModelMetadataRequest),
            messages.GET_MODEL_STATUS: ("status", messages.GetModelStatusRequest),
        }
        found: list[grpc.GenericRpcHandler] = []
        for path, (name, kind) in methods.items():
            _, service, method = path.split("/")
            handler = grpc.unary_unary_rpc_method_handler(
                self._answer(name), request_deserializer=kind.FromString, response_serializer=_serialize
            )
            found.append(grpc.method_handlers_generic_handler(service, {method: handler}))
        return found

    def _answer(self, name: str) -> Callable[[Any, grpc.ServicerContext], Any]:
        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            self.requests.append(request)
            self.headers.append(dict(context.invocation_metadata()))
            asked = request.model_spec.version.value
            kind = "limits" if request.model_spec.signature_name == contract.LIMITS else name
            if kind == "predict" and self.predict_in_context is not None:
                return self._versioned(self.predict_in_context(request, context), asked)
            if asked in self.gone:
                servable = f"Specific({request.model_spec.name}, {asked})"
                context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {servable}")
            behaviour: Behaviour | Refusal = getattr(self, kind)
            answered = behaviour if isinstance(behaviour, Refusal) else behaviour(request)
            if isinstance(answered, Refusal):
                context.abort(answered.code, answered.text)
            return self._versioned(answered, asked)

        return answer

    def _versioned(self, answered: Any, asked: int) -> Any:
        if isinstance(answered, messages.PredictResponse):
            answered.model_spec.version.value = asked or self.version
        return answered


def _serialize(message: Any) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()


@contextmanager
def serving(credentials: grpc.ServerCredentials | None = None) -> Generator[StubServer]:
    """A server of one's own, running, with TLS or without."""
    server = StubServer()
    running = grpc.server(
        ThreadPoolExecutor(max_workers=4),
        options=[
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
        ],
    )
    running.add_generic_rpc_handlers(server.handlers())
    if credentials is None:
        port = running.add_insecure_port("127.0.0.1:0")
    else:
        port = running.add_secure_port("127.0.0.1:0", credentials)
    server.address = f"127.0.0.1:{port}"
    running.start()
    yield server
    running.stop(grace=None).wait()


@pytest.fixture
def stub() -> Iterator[StubServer]:
    """A server of one's own, running."""
    with serving() as server:
        yield server


@pytest.fixture
def serve() -> Callable[..., AbstractContextManager[StubServer]]:
    """`serving`, as tests cannot import from here."""
    return serving


@pytest.fixture
def refusal() -> type[Refusal]:
    """`Refusal`, as tests cannot import from here."""
    return Refusal


def draw(width: int = 48, height: int = 64, mode: str = "RGB") -> Image.Image:
    """A picture in which every corner differs."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = x * 255 // (width - 1), y * 255 // (height - 1)
    blue = np.where((x // 8 + y // 8) % 2 == 0, 200, 40)
    return Image.fromarray(np.stack([red, green, blue], axis=-1).astype(np.uint8)).convert(mode)


@pytest.fixture
def picture() -> Image.Image:
    """48 x 64 pixels, RGB."""
    return draw()


@pytest.fixture
def content(tmp_path: Path) -> Path:
    """A JPEG file of 96 x 64 pixels."""
    path = tmp_path / "content.jpg"
    draw(96, 64).save(path, quality=90)
    return path


@pytest.fixture
def style(tmp_path: Path) -> Path:
    """A PNG file of 48 x 64 pixels."""
    path = tmp_path / "style.png"
    draw().rotate(180).save(path)
    return path


ALONE = """
import json
import signal
import sys

# Behind a shell's "&" a process is born deaf to Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

class Without:
    def __init__(self, finder, names):
        self.finder, self.names = finder, names

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in self.names else self.finder.find_spec(name, path, target)

names = frozenset(json.loads(sys.argv.pop(1)))
sys.meta_path[:] = [Without(finder, names) for finder in sys.meta_path]
from styleserve.__main__ import main
main()
"""


@functools.cache
def foreign_packages() -> frozenset[str]:
    """Packages that can be imported here, and not where styleserve is installed without extras."""
    installed = {canonicalize_name(each.metadata["Name"]): each for each in importlib.metadata.distributions()}
    own, waiting = set[str](), ["styleserve"]
    while waiting:
        if (name := canonicalize_name(waiting.pop())) not in own:
            own.add(name)
            needed = map(Requirement, installed[name].requires or [])
            waiting += [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    brought = {name: _packages(each) for name, each in installed.items()}
    return frozenset[str]().union(*brought.values()) - frozenset[str]().union(*(brought[name] for name in own))


def _packages(installed: importlib.metadata.Distribution) -> frozenset[str]:
    """The names that it can be imported by."""
    firsts = {file.parts[0] for file in installed.files or [] if file.suffix in (".py", ".so", ".pyd")}
    return frozenset(name for name in (first.partition(".")[0] for first in firsts) if name.isidentifier())


def started(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """`styleserve` in a Python that has no TensorFlow, and nothing else that the client does not ask for."""
    command = [sys.executable, "-W", "error", "-c", ALONE, json.dumps(sorted(foreign_packages())), *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, **(pipes | options))  # pyright: ignore[reportCallIssue]


@pytest.fixture
def start() -> Callable[..., subprocess.Popen[str]]:
    """`started`, as tests cannot import from here."""
    return started


@pytest.fixture
def foreign() -> frozenset[str]:
    """`foreign_packages`, as tests cannot import from here."""
    return foreign_packages()
