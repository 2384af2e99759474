"""The client against a small server whose replies are chosen here."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import grpc
import numpy as np
import pytest
from PIL import Image

from styleserve import contract
from styleserve.client import (
    UNSET,
    BadReply,
    ControlError,
    Controls,
    DeadlineExceeded,
    ImageError,
    ModelNotFound,
    ModelNotReady,
    NonFiniteResult,
    Optimizer,
    Overloaded,
    RequestRefused,
    RetryPolicy,
    ServerUnavailable,
    ServiceError,
    StyleClient,
    StyleServeError,
    StylizeSignature,
    TooLarge,
    WrongServer,
    default_timeout_s,
    load_picture,
    protos,
)
from styleserve.client.channel import MAX_MESSAGE_BYTES
from styleserve.client.errors import exit_codes
from styleserve.client.tensors import bytes_tensor, number_tensor, to_array


@pytest.fixture
def client(stub: Any) -> Iterator[StyleClient]:
    with StyleClient(stub.address) as client:
        yield client


def sent_controls(request: Any) -> dict[str, Any]:
    names = {control.name for control in contract.CONTROLS}
    return {name: to_array(tensor, name).tolist() for name, tensor in request.inputs.items() if name in names}


def test_stylize_sends_files_and_returns_a_typed_result(
    stub: Any, client: StyleClient, content: Path, style: Path
) -> None:
    result = client.stylize(content, style)
    (request,) = stub.requests
    assert request.model_spec.name == contract.DEFAULT_MODEL_NAME
    assert request.model_spec.signature_name == contract.STYLIZE_LBFGS_ENCODED
    assert not request.model_spec.HasField("version")
    assert sent_controls(request) == {}
    assert request.inputs["content_bytes"].string_val == [content.read_bytes()]
    assert result.image.size == (64, 43)
    assert Image.open(io.BytesIO(result.png_bytes)).size == (64, 43)
    assert result.losses.shape == (7, 4)
    assert result.losses.dtype == np.float32
    assert (result.model_name, result.model_version) == ("style_transfer", 42)
    assert result.timings.call_s > 0


def test_only_what_is_set_is_sent(stub: Any, client: StyleClient, content: Path, style: Path) -> None:
    client.stylize(content, style, steps=3, style_weight=0.5, max_side=32, learning_rate=UNSET)
    (request,) = stub.requests
    assert sent_controls(request) == {"steps": [3], "style_weight": [0.5], "max_side": [32]}
    assert request.inputs["steps"].dtype == protos.DataType.DT_INT32


@pytest.mark.parametrize("optimizer", get_args(Optimizer))
def test_the_optimizer_names_the_signature(
    stub: Any, client: StyleClient, content: Path, style: Path, optimizer: Optimizer
) -> None:
    result = client.stylize(content, style, optimizer=optimizer)
    assert result.optimizer == optimizer
    assert result.signature == stub.requests[0].model_spec.signature_name
    assert result.signature == {"lbfgs": contract.STYLIZE_LBFGS_ENCODED, "adam": contract.STYLIZE_ENCODED}[optimizer]
    assert result.facts()["Optimizer"] == {"lbfgs": "L-BFGS", "adam": "Adam"}[optimizer]
    assert result.facts()["Signature"] == result.signature


@pytest.mark.parametrize("signature", get_args(StylizeSignature))
def test_a_signature_may_be_named(
    stub: Any, client: StyleClient, content: Path, style: Path, signature: StylizeSignature
) -> None:
    """With or without its optimiser, and with each control that the contract has for it."""
    fields = {field.name for field in contract.SIGNATURES[signature].inputs}
    adam = "learning_rate" in fields
    rate: dict[str, Any] = {"learning_rate": 0.5} if adam else {}
    for optimizer in (None, "adam" if adam else "lbfgs"):
        result = client.stylize(
            content, style, optimizer=optimizer, signature=signature, steps=2, max_side=32, style_weight=1.0, **rate
        )
        assert result.signature == signature
        assert result.image.size == (32, 21)
    for request in stub.requests:
        assert request.model_spec.signature_name == signature
        assert set(request.inputs) == fields - {"content_weight", "total_variation_weight"}


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (
            {"learning_rate": 0.02},
            r"learning_rate is 0\.02, but L-BFGS has none: it belongs to Adam\n.*r adam",
        ),
        ({"optimizer": "lbfgs", "learning_rate": 0.02}, "L-BFGS has none"),
        ({"signature": "stylize_lbfgs", "learning_rate": 0.02}, "L-BFGS has none"),
        ({"optimizer": "sgd"}, "the optimizer is 'sgd'; it must be one of: lbfgs, adam"),
        ({"signature": "describe"}, "the signature is 'describe'; it must be one of: stylize_lbfgs_encoded, "),
        ({"optimizer": "adam", "signature": "stylize_lbfgs"}, "stylize_lbfgs runs 'lbfgs'\n.* stylize_encoded or serv"),
        ({"optimizer": "lbfgs", "signature": "serving_default"}, "serving_default runs 'adam'\n.*stylize_lbfgs_encod"),
    ],
    ids=str,
)
def test_choices_that_contradict_each_other(
    stub: Any, client: StyleClient, content: Path, choice: dict[str, Any], message: str
) -> None:
    with pytest.raises(ControlError, match=message):
        client.stylize(content, content, **choice)
    assert stub.requests == []


def test_serving_default_resizes_here(stub: Any, client: StyleClient, content: Path, style: Path) -> None:
    result = client.stylize(content, style, steps=2, max_side=32, signature="serving_default")
    (request,) = stub.requests
    assert to_array(request.inputs["content_image"], "").shape == (1, 21, 32, 3)
    assert to_array(request.inputs["style_image"], "").shape == (1, 32, 24, 3)
    assert sent_controls(request) == {"steps": [2]}
    assert result.image.size == (32, 21)
    expected = load_picture(content).image.resize((32, 21), Image.Resampling.BILINEAR)
    assert result.image.tobytes() == expected.tobytes()


def test_no_steps_no_losses(client: StyleClient, content: Path, style: Path) -> None:
    result = client.stylize(content, style, steps=0)
    assert result.losses.shape == (0, 4)
    assert result.steps == 0


def test_pictures_may_be_bytes(client: StyleClient, content: Path, style: Path) -> None:
    from_paths = client.stylize(content, style)
    from_bytes = client.stylize(content.read_bytes(), style.read_bytes())
    assert from_paths.png_bytes == from_bytes.png_bytes


def test_notes_name_the_picture(client: StyleClient, picture: Image.Image, content: Path, tmp_path: Path) -> None:
    picture.putalpha(100)
    picture.save(tmp_path / "glass.png")
    result = client.stylize(content, tmp_path / "glass.png")
    assert result.notes == (f"{tmp_path / 'glass.png'}: transparent parts were laid on white",)


def test_describe(stub: Any, client: StyleClient, content: Path) -> None:
    found = client.describe(content)
    assert to_array(stub.requests[-1].inputs["image"], "").shape == (1, 64, 96, 3)
    assert [layer.name for layer in found.layers] == ["block1_conv1", "block2_conv1", "block2_conv2"]
    first = found.layers[0]
    assert (first.height, first.width, first.channels, first.mean) == (64, 48, 64, 26.0)
    assert first.gram is not None
    assert first.gram.shape == (3, 3)
    assert found.layers[1].gram is None
    assert (found.width, found.height, found.total_variation) == (96, 64, 12.5)
    assert found.high_pass_x.shape == (64, 95, 3)
    assert found.high_pass_y.shape == (63, 96, 3)
    assert found.sobel_edges.shape == (64, 96, 3, 2)


def test_a_large_picture_is_described_smaller(stub: Any, client: StyleClient, tmp_path: Path) -> None:
    Image.new("RGB", (1024, 100)).save(tmp_path / "wide.png")
    client.describe(tmp_path / "wide.png")
    assert to_array(stub.requests[-1].inputs["image"], "").shape == (1, 50, 512, 3)


@pytest.mark.parametrize("pin", [{"version": 7}, {"version_label": "stable"}], ids=str)
def test_a_version_can_be_asked_for(stub: Any, content: Path, style: Path, pin: dict[str, Any]) -> None:
    with StyleClient(stub.address, model_name="other", **pin) as client:
        client.stylize(content, style)
        client.status()
        client.metadata()
    for request in stub.requests:
        assert request.model_spec.name == "other"
        assert request.model_spec.version.value == pin.get("version", 0)
        assert request.model_spec.version_label == pin.get("version_label", "")


def test_one_way_to_ask_for_a_version() -> None:
    with pytest.raises(ValueError, match="not both"):
        StyleClient(version=1, version_label="stable")


def test_metadata(client: StyleClient) -> None:
    found = client.metadata()
    assert (found.model_name, found.model_version) == ("style_transfer", 42)
    (signature,) = found.signatures
    (steps,) = signature.inputs
    assert (steps.name, steps.dtype, steps.shape, steps.default) == ("steps", "int32", (None,), 100)


def tells_limits(stub: Any, **numbers: Any) -> None:
    """Has the stub declare the signature `limits`, and answer it."""
    before = stub.metadata

    def metadata(request: protos.GetModelMetadataRequest) -> Any:
        reply = before(request)
        signatures = protos.SignatureDefMap.FromString(reply.metadata["signature_def"].value)
        signatures.signature_def[contract.LIMITS].CopyFrom(signatures.signature_def["serving_default"])
        reply.metadata["signature_def"].value = signatures.SerializeToString()
        return reply

    def predict(request: protos.PredictRequest) -> Any:
        assert request.model_spec.signature_name == contract.LIMITS
        assert request.model_spec.version.value == 42
        assert to_array(request.inputs["example"], "example").shape == (1,)
        spec = protos.ModelSpec(name="style_transfer", version=protos.Int64Value(value=42))
        outputs = {name: number_tensor(np.array([number])) for name, number in numbers.items()}
        return protos.PredictResponse(model_spec=spec, outputs=outputs)

    stub.metadata, stub.predict = metadata, predict


def test_metadata_has_the_limits_of_a_model_that_tells_them(stub: Any, client: StyleClient) -> None:
    assert client.metadata().limits is None
    tells_limits(stub, max_side=np.int32(1024), max_work=np.float32(41943.04), of_the_future=np.int32(3))
    found = client.metadata()
    assert found.limits == {"max_side": 1024, "max_work": 41943.04}
    assert [signature.name for signature in found.signatures] == ["limits", "serving_default"]


def test_a_server_that_is_too_busy_for_limits_still_tells_its_signatures(
    stub: Any, client: StyleClient, refusal: Any
) -> None:
    tells_limits(stub)
    stub.predict = refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
    found = client.metadata()
    assert found.limits is None
    assert len(found.signatures) == 2


def test_status(client: StyleClient) -> None:
    (found,) = client.status()
    assert found.available
    assert (found.version, found.error) == (42, "")


def version_status(state: protos.ModelVersionState, error: str = "") -> protos.GetModelStatusResponse:
    status = protos.StatusProto(error_code=protos.ErrorCode.INTERNAL if error else 0, error_message=error)
    return protos.GetModelStatusResponse(
        model_version_status=[protos.ModelVersionStatus(version=1, state=state, status=status)]
    )


def test_waiting_ends_when_the_model_is_there(stub: Any, client: StyleClient, refusal: Any) -> None:
    loading = threading.Event()

    def become_ready(_: Any) -> Any:
        first = not loading.is_set()
        loading.set()
        return version_status(protos.ModelVersionState.LOADING if first else protos.ModelVersionState.AVAILABLE)

    stub.status = refusal(grpc.StatusCode.NOT_FOUND, "Could not find any versions of model style_transfer")
    timer = threading.Timer(0.3, lambda: setattr(stub, "status", become_ready))
    timer.start()
    assert client.wait_until_ready(10).available
    assert loading.is_set()
    timer.join()


def test_waiting_ends_in_time_and_says_what_was_seen(stub: Any, client: StyleClient) -> None:
    stub.status = lambda _: version_status(protos.ModelVersionState.END, "no weights")  # pyright: ignore
    started = time.monotonic()
    with pytest.raises(ModelNotReady, match=r"version 1 is END \(INTERNAL: no weights\)"):
        client.wait_until_ready(0.6)
    assert time.monotonic() - started < 3


def test_waiting_finds_a_server_that_starts_later(stub: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with StyleClient(f"127.0.0.1:{port}") as client:
        with pytest.raises(ModelNotReady, match="no server answers"):
            client.wait_until_ready(0.5)
        server = grpc.server(ThreadPoolExecutor(2), handlers=stub.handlers())
        assert server.add_insecure_port(f"127.0.0.1:{port}") == port
        server.start()
        started = time.monotonic()
        assert client.wait_until_ready(20).available
        assert time.monotonic() - started < 5  # and not after gRPC's long back-off
        server.stop(None).wait()


STATUS = grpc.StatusCode
TEXTS: list[tuple[grpc.StatusCode, str, type[StyleServeError], str]] = [
    (STATUS.UNAVAILABLE, "Connection reset", ServerUnavailable, "Connection reset"),
    (STATUS.UNAVAILABLE, "The batch scheduling queue to which this task was submitted is full", Overloaded, "queue"),
    (STATUS.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted", Overloaded, "Threadpool"),
    (STATUS.RESOURCE_EXHAUSTED, "OOM when allocating tensor with shape[1,64,9,9]", TooLarge, "OOM"),
    (STATUS.NOT_FOUND, "Servable not found for request: Latest(nomodel)", ModelNotFound, "nomodel"),
    (STATUS.INVALID_ARGUMENT, "Unrecognized servable version label: stable", ModelNotFound, "stable"),
    (STATUS.FAILED_PRECONDITION, 'Serving signature key "nosuch" not found.', ModelNotFound, "nosuch"),
    (
        STATUS.FAILED_PRECONDITION,
        'Serving signature key "stylize_lbfgs_encoded" not found.',
        ModelNotFound,
        "the model on .* is of an older version, without L-BFGS: .*\n.*--optimizer adam",
    ),
    (STATUS.INVALID_ARGUMENT, "Expects arg[0] to be float but double is provided", RequestRefused, "to be float but"),
    (
        STATUS.INVALID_ARGUMENT,
        "assertion failed: [steps must be from 0 to 5000; got] [9000]\n\t [[{{node Assert}}]]",
        RequestRefused,
        r"refused the request: steps must be from 0 to 5000; got 9000\nAll limits .*`\.\nRequest \w{32}\.$",
    ),
    (
        STATUS.FAILED_PRECONDITION,
        "Tensors with name 'serving_default_content_image:0' from different tasks have different shapes",
        RequestRefused,
        "cannot be joined with others.*\nSend files .no --signature., or bring all pictures",
    ),
    (
        STATUS.INVALID_ARGUMENT,
        "Batching Run() input tensors must have equal 0th-dimension size",
        RequestRefused,
        "cannot be joined with others.*\nGive every input, controls included, one value for each example",
    ),
    (STATUS.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue", Overloaded, "batching queue"),
    (
        STATUS.INVALID_ARGUMENT,
        "assertion failed: [steps must be fewer: one call may take 100 megapixel-steps; got] [262.144]",
        RequestRefused,
        "megapixel-steps; got 262.144\nAll limits of the model are shown by `styleserve metadata`",
    ),
    (
        STATUS.INVALID_ARGUMENT,
        (
            "assertion failed: [steps must be from 0 to 5000; got] [9000]\n\t "
            "[[{{function_node __inference_signature_wrapper_5512}}{{node StatefulPartitionedCall/Assert_12}}]]"
        ),
        RequestRefused,
        r"^the server refused the request: steps must be from 0 to 5000; got 9000\nAll limits",
    ),
    (
        STATUS.INVALID_ARGUMENT,
        (
            "2 root error(s) found.\n  (0) INVALID_ARGUMENT: Unknown image file format. One of JPEG, PNG required.\n\t "
            "[[{{function_node __inference_1}}{{node DecodeImage}}]]\n\t [[StatefulPartitionedCall/_7]]"
        ),
        RequestRefused,
        r"^the server refused the request: 2 root .* Unknown image file format\. One of JPEG, PNG required\.\nRequest",
    ),
    (
        STATUS.INVALID_ARGUMENT,
        "{{function_node __inference_1}} Invalid PNG data, size 200 [[{",  # cut at 1,024 characters
        RequestRefused,
        r"^the server refused the request: Invalid PNG data, size 200\nRequest",
    ),
    (
        STATUS.RESOURCE_EXHAUSTED,
        "received metadata size exceeds soft limit (9670 vs. 8192); authorization:9052B x-queue:76B",
        TooLarge,
        r"^the token, or other metadata, is too large for .*\nUse a shorter token or less metadata",
    ),
    (
        STATUS.RESOURCE_EXHAUSTED,
        "received metadata size exceeds hard limit (value length 20007 vs. 16384)",
        TooLarge,
        "^the token, or other metadata, is too large",
    ),
    (STATUS.UNKNOWN, "Received http2 header with status: 431", TooLarge, "^the token, or other metadata"),
    (STATUS.UNIMPLEMENTED, "Method not found!", WrongServer, "is not TensorFlow Serving"),
    (STATUS.INTERNAL, "XLA compilation disabled", ServiceError, "INTERNAL: XLA"),
    (STATUS.CANCELLED, "gone", ServiceError, "CANCELLED: gone"),
]


@pytest.mark.parametrize(("code", "text", "kind", "message"), TEXTS, ids=lambda value: getattr(value, "name", None))
def test_statuses_become_errors(
    stub: Any,
    client: StyleClient,
    refusal: Any,
    content: Path,
    code: grpc.StatusCode,
    text: str,
    kind: type[StyleServeError],
    message: str,
) -> None:
    stub.predict = refusal(code, text)
    with pytest.raises(kind, match=message) as caught:
        client.stylize(content, content)
    assert type(caught.value) is kind
    assert caught.value.__cause__ is not None
    assert isinstance(caught.value, ServiceError)
    assert caught.value.status == code.name
    retried = kind in (ServerUnavailable, Overloaded)
    assert caught.value.tries == len(stub.requests) == (RetryPolicy().tries if retried else 1)
    assert {headers["x-request-id"] for headers in stub.headers} == {caught.value.request_id}


def test_nobody_there() -> None:
    with StyleClient("127.0.0.1:1") as client, pytest.raises(ServerUnavailable, match=r"127\.0\.0\.1:1"):
        client.status()


def test_a_name_that_does_not_resolve() -> None:
    with StyleClient("http-host.invalid:8500") as client, pytest.raises(ServerUnavailable, match="http-host"):
        client.status()


def test_no_proxy_is_asked_for_this_machine(stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with StyleClient(stub.address) as client:
        assert client.status()[0].available


def test_a_web_address_is_told_apart() -> None:
    with pytest.raises(ServerUnavailable, match="host:port"):
        StyleClient("http://127.0.0.1:8501")


def test_a_web_server_is_told_apart() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                connection.recv(1000)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with StyleClient(f"127.0.0.1:{listener.getsockname()[1]}") as client, pytest.raises(WrongServer):
            client.status()
        thread.join(5)


def test_a_deadline_is_kept(stub: Any, client: StyleClient, content: Path) -> None:
    def slow(_: Any) -> Any:
        time.sleep(1)
        return protos.PredictResponse()

    stub.predict = slow
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"within 0\.2 s"):
        client.stylize(content, content, timeout_s=0.2)
    assert time.monotonic() - started < 0.9


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf")])
def test_every_call_has_a_deadline(client: StyleClient, content: Path, timeout_s: float) -> None:
    with pytest.raises(ControlError, match="timeout"):
        client.stylize(content, content, timeout_s=timeout_s)


def test_the_deadline_grows_with_the_work() -> None:
    assert default_timeout_s(256 * 256, 100) > 10 * 0.43 * 100  # seconds a step on 2 cores in float32, measured
    assert default_timeout_s(512 * 512, 100) > 10 * 1.61 * 100
    assert default_timeout_s(512 * 512, 0) >= 30


def edited(stub: Any, **outputs: Any) -> None:
    """Lets the server replace outputs of its good replies; None removes one."""
    good = stub.predict

    def predict(request: Any) -> Any:
        reply = good(request)
        for name, tensor in outputs.items():
            if tensor is None:
                del reply.outputs[name]
            else:
                reply.outputs[name].CopyFrom(tensor)
        return reply

    stub.predict = predict


def rows(*losses: float) -> protos.TensorProto:
    return number_tensor(np.array([[[loss] * 4 for loss in losses]], np.float32))


@pytest.mark.parametrize(
    ("outputs", "kind", "message"),
    [
        ({"losses": None}, BadReply, "no 'losses'"),
        ({"losses": rows(1.0)}, BadReply, "1 rows of losses; 3 steps"),
        ({"losses": rows(1.0, np.nan, np.nan)}, NonFiniteResult, "after step 2 of 3, the total loss is nan"),
        ({"losses": number_tensor(np.zeros((3, 4), np.float32))}, BadReply, r"shape \[3, 4\]"),
        ({"losses": number_tensor(np.zeros((1, 3, 4), np.int32))}, BadReply, "is int32; it must be float32"),
        ({"losses": number_tensor(np.zeros((2, 3, 4), np.float32))}, BadReply, r"shape \[2, 3, 4\]"),
        ({"png_bytes": bytes_tensor([b"no picture"])}, BadReply, "'png_bytes' cannot be used"),
        ({"png_bytes": bytes_tensor([])}, BadReply, r"shape \[0\]"),
    ],
)
def test_replies_that_make_no_sense(
    stub: Any, client: StyleClient, content: Path, outputs: dict[str, Any], kind: type[StyleServeError], message: str
) -> None:
    edited(stub, **outputs)
    with pytest.raises(kind, match=message):
        client.stylize(content, content, steps=3)


@pytest.mark.parametrize(("steps", "own"), [(0, 0), (3, 3), (None, 100), (None, 20), (None, 130)])
def test_rows_of_requests_that_were_joined_with_ours_are_cut_off(
    stub: Any, client: StyleClient, content: Path, steps: int | None, own: int
) -> None:
    """TensorFlow Serving with batching sends as many as the longest one has.

    How many are ours only the model knows where we did not say.
    """
    edited(stub, losses=rows(*[2.0] * own, *[np.nan] * 50))
    result = client.stylize(content, content, **({} if steps is None else {"steps": steps}))
    assert result.losses.tolist() == [[2.0] * 4] * own
    assert result.steps == own


def test_more_rows_than_steps_are_refused_where_they_are_losses(stub: Any, client: StyleClient, content: Path) -> None:
    edited(stub, losses=rows(1.0, 2.0, np.nan, 3.0))
    with pytest.raises(BadReply, match="4 rows of losses; 2 steps"):
        client.stylize(content, content, steps=2)


def test_rows_without_any_number_are_no_others(stub: Any, client: StyleClient, content: Path) -> None:
    edited(stub, losses=rows(*[np.nan] * 5))
    with pytest.raises(NonFiniteResult, match="after step 1 of 5, the total loss is nan"):
        client.stylize(content, content)


def test_adam_diverged(stub: Any, client: StyleClient, content: Path) -> None:
    edited(stub, losses=rows(1.0, np.inf))
    with pytest.raises(NonFiniteResult, match="before step 2 of 2, the total loss is inf\nGive a smaller learning"):
        client.stylize(content, content, optimizer="adam")


def test_pixels_that_are_no_numbers(stub: Any, client: StyleClient, content: Path) -> None:
    edited(stub, stylized_image=number_tensor(np.full((1, 9, 9, 3), np.nan, np.float32)))
    with pytest.raises(NonFiniteResult, match="'stylized_image' holds 243 of 243"):
        client.stylize(content, content, signature="serving_default")


def test_a_picture_without_pixels(stub: Any, client: StyleClient, content: Path) -> None:
    edited(stub, stylized_image=number_tensor(np.zeros((1, 0, 0, 3), np.float32)))
    with pytest.raises(BadReply, match="has no pixels"):
        client.stylize(content, content, signature="serving_default")


def test_bytes_that_are_no_reply(stub: Any, client: StyleClient, content: Path) -> None:
    stub.predict = lambda _: b"\x0a\xff\xff\xff"  # pyright: ignore
    with pytest.raises(BadReply, match="damaged"):
        client.stylize(content, content)


def test_metadata_that_makes_no_sense(stub: Any, client: StyleClient) -> None:
    stub.metadata = lambda _: protos.GetModelMetadataResponse()  # pyright: ignore
    with pytest.raises(BadReply, match="signature_def"):
        client.metadata()


def test_large_replies_arrive(stub: Any, client: StyleClient, content: Path) -> None:
    assert MAX_MESSAGE_BYTES < 2**31  # protobuf's own limit
    edited(stub, unknown=bytes_tensor([bytes(6 * 2**20)]))  # gRPC's default is 4 MiB
    assert client.stylize(content, content).steps == 7


def test_a_server_that_answers_in_tensor_content(stub: Any, client: StyleClient, content: Path, style: Path) -> None:
    """As TensorFlow Serving does with --enable_serialization_as_tensor_content=true, for strings, too."""
    expected, described = client.stylize(content, style, steps=3), client.describe(content)
    good = stub.predict

    def predict(request: Any) -> Any:
        reply = good(request)
        for name, tensor in reply.outputs.items():
            array = to_array(tensor, name)
            if array.dtype == object:
                assert all(len(value) < 2**14 for value in array.flat)
                lengths = [[len(value) & 127 | 128, len(value) >> 7] for value in array.flat]  # varints of two bytes
                tensor.tensor_content = b"".join(map(bytes, lengths)) + b"".join(array.flat)
            else:
                tensor.tensor_content = array.tobytes()
            for field in ("float_val", "int_val", "string_val"):
                tensor.ClearField(field)
        return reply

    stub.predict = predict
    result, found = client.stylize(content, style, steps=3), client.describe(content)
    assert result.png_bytes == expected.png_bytes
    np.testing.assert_array_equal(result.losses, expected.losses)
    assert [layer.name for layer in found.layers] == [layer.name for layer in described.layers]
    np.testing.assert_array_equal(found.sobel_edges, described.sobel_edges)


def test_pictures_are_checked_before_anything_is_sent(stub: Any, client: StyleClient, content: Path) -> None:
    with pytest.raises(ImageError):
        client.stylize(content, b"no picture")
    assert stub.requests == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("content_weight", float("nan")),
        ("content_weight", float("inf")),
        ("style_weight", -1.0),
        ("total_variation_weight", 1e13),
        ("learning_rate", 1.5),
        ("steps", -1),
        ("steps", 2.5),
        ("steps", True),
        ("steps", 2**31),
        ("max_side", 15),
        ("content_weight", "1"),
        ("content_weight", None),
    ],
)
def test_controls_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(ControlError, match=f"^{name} is .*; it must be .*from") as caught:
        Controls(**{name: value})
    assert isinstance(caught.value, ValueError)


def test_controls_at_their_bounds() -> None:
    for control in contract.CONTROLS:
        lowest: Any = control.minimum if control.dtype == "float32" else int(control.minimum)
        assert Controls(**{control.name: lowest}).sent() == {control.name: lowest}
    assert Controls().sent() == {}
    assert repr(Controls().steps) == "UNSET"


def test_exit_codes_are_distinct() -> None:
    def tree(kind: type[StyleServeError]) -> list[type[StyleServeError]]:
        return [kind, *(below for child in kind.__subclasses__() for below in tree(child))]

    kinds = tree(StyleServeError)
    codes = {kind.exit_code for kind in kinds}
    assert len(codes) == len(kinds)
    assert codes | {0, 2, 130} == set(exit_codes())


def test_the_report_shows_everything(client: StyleClient, content: Path, style: Path) -> None:
    optimizers: tuple[Optimizer, ...] = ("adam", "lbfgs", "lbfgs")
    for steps, optimizer in zip((0, 1, 9), optimizers, strict=True):
        result = client.stylize(content, style, optimizer=optimizer, steps=steps)
        drawing = client.report(content, style, result)
        assert drawing.mode == "RGB"
        assert drawing.width == 1400
        assert 1000 < drawing.height < 3000
        colours = {colour for _, colour in drawing.getcolors(2**24) or []}
        for curve in ((31, 35, 40), (209, 73, 91), (40, 120, 181), (224, 160, 48)):
            assert (curve in colours) == (steps > 0) or curve == (31, 35, 40)


@pytest.mark.parametrize(
    ("name", "value", "plain"),
    [
        ("steps", np.int64(50), 50),
        ("max_side", np.uint16(256), 256),
        ("style_weight", np.float32(0.5), 0.5),
        ("style_weight", np.float64(1), 1.0),
        ("content_weight", np.int32(3), 3),
        ("learning_rate", np.float16(0.25), 0.25),
        ("total_variation_weight", Fraction(1, 4), 0.25),
    ],
    ids=repr,
)
def test_numbers_of_other_types_become_pythons_own(name: str, value: Any, plain: float) -> None:
    sent = Controls(**{name: value}).sent()[name]
    assert (sent, type(sent)) == (plain, type(plain))
    assert Controls(**{name: value}) == Controls(**{name: plain})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", np.float64(50)),
        ("steps", np.bool_(True)),
        ("steps", np.int64(-1)),
        ("steps", np.array([50])),
        ("style_weight", np.float32("nan")),
        ("style_weight", Fraction(10**400)),
        ("style_weight", 10**400),
        ("style_weight", 1j),
        ("style_weight", "1"),
    ],
    ids=str,
)
def test_what_is_no_number_in_the_range_stays_refused(name: str, value: Any) -> None:
    with pytest.raises(ControlError, match=f"^{name} is .*; it must be .*from"):
        Controls(**{name: value})
