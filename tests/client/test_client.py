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
    PRESETS,
    UNSET,
    BadReply,
    Colors,
    ContractMismatch,
    ControlError,
    Controls,
    DeadlineExceeded,
    ImageError,
    ImageFormat,
    Loss,
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
    TooLarge,
    WrongServer,
    default_timeout_s,
    load_picture,
)
from styleserve.client.errors import exit_codes
from styleserve.client.wire import messages
from styleserve.client.wire.tensors import MAX_MESSAGE_BYTES, bytes_tensor, number_tensor, to_array
from tests.client.conftest import FINGERPRINT
from tests.ports import free_port


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
    (request,) = stub.paints
    assert request.model_spec.name == contract.DEFAULT_MODEL_NAME
    assert request.model_spec.signature_name == contract.PAINT
    assert not request.model_spec.HasField("version")
    assert sent_controls(request) == {"loss": [b"painter"], "optimizer": [b"lbfgs"], "steps": [100], "max_side": [64]}
    assert request.inputs["content_bytes"].string_val == [content.read_bytes()]
    assert to_array(request.inputs["style_bytes"], "").tolist() == [[style.read_bytes()]]
    assert to_array(request.inputs["contract_version"], "").tolist() == [contract.CONTRACT_VERSION]
    assert list(request.output_filter) == ["losses", "image_bytes"]
    assert result.image.size == (64, 43)
    assert Image.open(io.BytesIO(result.image_bytes)).size == (64, 43)
    assert result.losses.shape == (100, 5)
    assert result.losses.dtype == np.float32
    assert (result.model_name, result.model_version) == ("style_transfer", 42)
    assert result.timings.call_s > 0


def test_only_set_controls_are_sent(stub: Any, client: StyleClient, content: Path, style: Path) -> None:
    client.stylize(content, style, Controls(steps=3, style_weight=0.5, max_side=32, learning_rate=UNSET, octaves=1))
    (request,) = stub.requests
    fixed = {"loss": [b"painter"], "optimizer": [b"lbfgs"]}
    assert sent_controls(request) == {"steps": [3], "style_weight": [0.5], "max_side": [32], **fixed}
    assert request.inputs["steps"].dtype == messages.DataType.DT_INT32


def test_every_control_has_its_shape_on_the_wire(stub: Any, client: StyleClient, content: Path, style: Path) -> None:
    values: dict[str, Any] = {
        "style_weight": 2.0,
        "content_weight": 3.0,
        "total_variation_weight": 4.0,
        "reference_weight": 5.0,
        "style_blend": (2.0, 1.0),
        "style_scale": 0.5,
        "style_layer_weights": (1.0, 1.0, 0.5, 0.25, 0.0),
        "start_noise": 0.25,
        "seed": 7,
        "colors": "matched",
        "loss": "tutorial",
        "optimizer": "adam",
        "steps": 3,
        "learning_rate": 0.5,
        "max_side": 32,
        "image_format": "jpeg",
    }
    assert set(values) == {control.name for control in contract.CONTROLS}
    result = client.stylize(content, [style, content], Controls(**values), reference=content)
    (request,) = stub.requests
    sent = sent_controls(request)
    assert sent["style_blend"] == [[2.0, 1.0]]
    assert sent["style_scale"] == [[0.5]]
    assert sent["style_layer_weights"] == [[1.0, 1.0, 0.5, 0.25, 0.0]]
    rows = {"style_blend", "style_scale", "style_layer_weights"}
    words = {name: [value.encode()] for name, value in values.items() if isinstance(value, str)}
    numbers = {name: [value] for name, value in values.items() if name not in words and name not in rows}
    assert {name: value for name, value in sent.items() if name not in rows} == {**numbers, **words}
    assert result.image_bytes.startswith(b"\xff\xd8")


def test_every_picture_has_its_input(
    stub: Any, client: StyleClient, picture: Image.Image, content: Path, style: Path
) -> None:
    mask = Image.linear_gradient("L")
    client.stylize(
        content,
        [style, content],
        Controls(steps=1, max_side=32),
        content_regions=[mask, None],
        style_regions=mask,
        start=picture,
        reference=style,
        reference_mask=mask,
    )
    (request,) = stub.requests
    grey = load_picture(mask).encoded
    expected: dict[str, Any] = {
        "content_bytes": [content.read_bytes()],
        "style_bytes": [[style.read_bytes(), content.read_bytes()]],
        "content_region_bytes": [[grey, b""]],
        "style_region_bytes": [[grey]],
        "start_bytes": [load_picture(picture).encoded],
        "reference_bytes": [style.read_bytes()],
        "reference_weight_bytes": [grey],
    }
    assert {name: to_array(request.inputs[name], name).tolist() for name in expected} == expected
    assert set(expected) == {field.name for field in contract.FILES}


@pytest.mark.parametrize(
    ("styles", "asked", "message"),
    [
        (2, {"controls": Controls(style_blend=(1, 2, 3))}, "style_blend has 3 values for 2 styles\nGive one for each"),
        (1, {"controls": Controls(style_scale=(1, 2))}, "style_scale has 2 values for 1 style\n"),
        (3, {"content_regions": [None, None]}, "content_regions has 2 values for 3 styles"),
        (1, {"style_regions": [b"", b""]}, "style_regions has 2 values for 1 style"),
        (0, {}, "there is no style"),
        (1, {"reference_mask": b""}, "reference_mask is given without a reference"),
        (1, {"controls": Controls(reference_weight=2)}, "reference_weight is given without a reference"),
        (1, {"controls": Controls(learning_rate=0.02)}, r"learning_rate is 0\.02, but L-BFGS has none.*\n.*r adam"),
        (1, {"controls": Controls(octaves=7, steps=9, max_side=512)}, "octaves is 7, but 512 pixels can be halved 5 t"),
    ],
    ids=str,
)
def test_choices_that_contradict_each_other(
    stub: Any, client: StyleClient, content: Path, styles: int, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(ControlError, match=message):
        client.stylize(content, [content] * styles, **asked)
    assert stub.requests == []


def test_a_model_of_another_contract(stub: Any, client: StyleClient, content: Path, refusal: Any) -> None:
    """Both versions are named, whether the model has no `paint`, tells its version, or refuses the client's."""
    explicit = Controls(steps=1, max_side=32)
    stub.predict = refusal(grpc.StatusCode.INVALID_ARGUMENT, 'Serving signature key "paint" not found.')
    with pytest.raises(ContractMismatch, match="speaks contract 1, this client 2\nExport the model again"):
        client.stylize(content, content, explicit)
    rule = contract.CONTRACT_VERSION_RULE.replace("must be 2", "must be 3")
    stub.predict = refusal(
        grpc.StatusCode.INVALID_ARGUMENT, f"assertion failed: [contract_version {rule}] [2]\n\t [[{{{{node Assert}}}}]]"
    )
    with pytest.raises(ContractMismatch, match="speaks contract 3, this client 2"):
        client.stylize(content, content, explicit)
    stub.requests.clear()
    stub.with_limits(contract_version=3)
    with pytest.raises(ContractMismatch, match="speaks contract 3, this client 2"):
        client.stylize(content, content)
    assert stub.paints == []
    assert client.metadata().contract_version == 3


def test_limits_are_asked_once_for_a_version(stub: Any, client: StyleClient, content: Path) -> None:
    for _ in range(2):
        client.stylize(content, content)
        assert len(stub.requests) - len(stub.paints) == 2
    stub.version = 43
    client.stylize(content, content)  # answered by the new version
    client.stylize(content, content)
    assert len(stub.requests) - len(stub.paints) == 4


def test_no_steps_no_losses(client: StyleClient, content: Path, style: Path) -> None:
    result = client.stylize(content, style, Controls(steps=0))
    assert result.losses.shape == (0, 5)
    assert result.steps == 0


def test_pictures_may_be_bytes(client: StyleClient, content: Path, style: Path) -> None:
    from_paths = client.stylize(content, style)
    from_bytes = client.stylize(content.read_bytes(), style.read_bytes())
    assert from_paths.image_bytes == from_bytes.image_bytes


def test_notes_name_the_picture(client: StyleClient, picture: Image.Image, content: Path, tmp_path: Path) -> None:
    picture.putalpha(100)
    picture.save(tmp_path / "glass.png")
    result = client.stylize(content, tmp_path / "glass.png")
    assert result.notes == (f"{tmp_path / 'glass.png'}: transparent parts were laid on white",)


def test_describe(stub: Any, client: StyleClient, content: Path) -> None:
    found = client.describe(content, size=96)
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
    assert to_array(stub.requests[-1].inputs["image"], "").shape == (1, 6, 64, 3)


@pytest.mark.parametrize("pin", [{"version": 7}, {"version_label": "stable"}], ids=str)
def test_a_version_can_be_asked_for(stub: Any, content: Path, style: Path, pin: dict[str, Any]) -> None:
    with StyleClient(stub.address, model_name="other", **pin) as client:
        client.stylize(content, style)
        client.status()
        client.metadata()
    for request in stub.requests:
        assert request.model_spec.name == "other"
        if request.model_spec.signature_name == contract.LIMITS:  # of the version that declared itself
            continue
        assert request.model_spec.version.value == pin.get("version", 0)
        assert request.model_spec.version_label == pin.get("version_label", "")


def test_one_way_to_ask_for_a_version() -> None:
    with pytest.raises(ValueError, match="not both"):
        StyleClient(version=1, version_label="stable")


def test_metadata(client: StyleClient) -> None:
    found = client.metadata()
    assert (found.model_name, found.model_version) == ("style_transfer", 42)
    _, signature = found.signatures
    loss, _, steps = signature.inputs
    assert (steps.name, steps.dtype, steps.shape, steps.default) == ("steps", "int32", (None,), 100)
    assert (loss.name, loss.dtype, loss.default) == ("loss", "string", "painter")


def test_metadata_has_contract_and_limits(stub: Any, client: StyleClient) -> None:
    stub.with_limits(max_side=512)
    found = client.metadata()
    assert found.limits is not None
    assert found.fingerprint == FINGERPRINT
    assert (found.limits["max_side"], found.limits["smallest_octave"], found.contract_version) == (512, 0, 2)
    assert stub.requests[-1].model_spec.version.value == 42


def test_limits_of_the_future_are_left_out(stub: Any, client: StyleClient) -> None:
    good = stub.limits

    def limits(request: Any) -> Any:
        reply = good(request)
        reply.outputs["of_the_future"].CopyFrom(number_tensor(np.array([3], np.int32)))
        reply.outputs["max_work"].CopyFrom(number_tensor(np.array([41943.04], np.float32)))
        return reply

    stub.limits = limits
    found = client.metadata().limits
    assert found is not None
    assert found["max_work"] == 41943.04
    assert set(found) == {field.name for field in contract.LIMIT_FIELDS}


def test_metadata_of_a_server_too_busy_for_limits(stub: Any, client: StyleClient, refusal: Any) -> None:
    stub.limits = refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
    found = client.metadata()
    assert (found.limits, found.contract_version) == (None, None)
    assert len(found.signatures) == 2


def test_status(client: StyleClient) -> None:
    (found,) = client.status()
    assert found.available
    assert (found.version, found.error) == (42, "")


def version_status(state: messages.ModelVersionState, error: str = "") -> messages.GetModelStatusResponse:
    status = messages.StatusProto(error_code=messages.ErrorCode.INTERNAL if error else 0, error_message=error)
    return messages.GetModelStatusResponse(
        model_version_status=[messages.ModelVersionStatus(version=1, state=state, status=status)]
    )


def test_waiting_ends_when_the_model_is_there(stub: Any, client: StyleClient, refusal: Any) -> None:
    loading = threading.Event()

    def become_ready(_: Any) -> Any:
        first = not loading.is_set()
        loading.set()
        return version_status(messages.ModelVersionState.LOADING if first else messages.ModelVersionState.AVAILABLE)

    stub.status = refusal(grpc.StatusCode.NOT_FOUND, "Could not find any versions of model style_transfer")
    timer = threading.Timer(0.3, lambda: setattr(stub, "status", become_ready))
    timer.start()
    assert client.wait_until_ready(10).available
    assert loading.is_set()
    timer.join()


def test_waiting_ends_in_time_and_says_what_was_seen(stub: Any, client: StyleClient) -> None:
    stub.status = lambda _: version_status(messages.ModelVersionState.END, "no weights")  # pyright: ignore
    started = time.monotonic()
    with pytest.raises(ModelNotReady, match=r"version 1 is END \(INTERNAL: no weights\)"):
        client.wait_until_ready(0.6)
    assert time.monotonic() - started < 3


def test_waiting_finds_a_server_that_starts_later(stub: Any) -> None:
    port = free_port()
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
        "cannot be joined with others.*\nBring all pictures",
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
        client.stylize(content, content, Controls(steps=9, max_side=32))
    assert type(caught.value) is kind
    assert caught.value.__cause__ is not None
    assert isinstance(caught.value, ServiceError)
    assert caught.value.status == code.name
    retried = kind in (ServerUnavailable, Overloaded)
    assert caught.value.tries == len(stub.requests) == (RetryPolicy().tries if retried else 1)
    assert {headers["x-request-id"] for headers in stub.headers} == {caught.value.request_id}


def test_no_server_at_the_address() -> None:
    with StyleClient("127.0.0.1:1") as client, pytest.raises(ServerUnavailable, match=r"127\.0\.0\.1:1"):
        client.status()


def test_a_name_that_does_not_resolve() -> None:
    with StyleClient("http-host.invalid:8500") as client, pytest.raises(ServerUnavailable, match="http-host"):
        client.status()


def test_no_proxy_is_asked_for_this_machine(stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with StyleClient(stub.address) as client:
        assert client.status()[0].available


def test_a_web_address_has_an_error_of_its_own() -> None:
    with pytest.raises(ServerUnavailable, match="host:port"):
        StyleClient("http://127.0.0.1:8501")


def test_a_web_server_has_an_error_of_its_own() -> None:
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
        return messages.PredictResponse()

    stub.predict = slow
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"within 0\.(2|1\d+) s"):
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


def rows(*losses: float) -> messages.TensorProto:
    return number_tensor(np.array([[[loss] * 5 for loss in losses]], np.float32))


@pytest.mark.parametrize(
    ("outputs", "kind", "message"),
    [
        ({"losses": None}, BadReply, "no 'losses'"),
        ({"losses": rows(1.0)}, BadReply, "1 rows of losses; 3 steps"),
        ({"losses": rows(1.0, np.nan, np.nan)}, NonFiniteResult, "after step 2 of 3, the total loss is nan"),
        ({"losses": number_tensor(np.zeros((3, 5), np.float32))}, BadReply, r"shape \[3, 5\]"),
        ({"losses": number_tensor(np.zeros((1, 3, 5), np.int32))}, BadReply, "is int32; it must be float32"),
        ({"losses": number_tensor(np.zeros((2, 3, 5), np.float32))}, BadReply, r"shape \[2, 3, 5\]"),
        ({"image_bytes": bytes_tensor([b"no picture"])}, BadReply, "'image_bytes' cannot be used"),
        ({"image_bytes": bytes_tensor([])}, BadReply, r"shape \[0\]"),
    ],
)
def test_replies_that_make_no_sense(
    stub: Any, client: StyleClient, content: Path, outputs: dict[str, Any], kind: type[StyleServeError], message: str
) -> None:
    edited(stub, **outputs)
    with pytest.raises(kind, match=message):
        client.stylize(content, content, Controls(steps=3))


@pytest.mark.parametrize("steps", [0, 3])
def test_rows_of_requests_that_were_joined_with_ours_are_cut_off(
    stub: Any, client: StyleClient, content: Path, steps: int
) -> None:
    """TensorFlow Serving with batching sends as many as the longest one has."""
    edited(stub, losses=rows(*[2.0] * steps, *[np.nan] * 50))
    result = client.stylize(content, content, Controls(steps=steps))
    assert result.losses.tolist() == [[2.0] * 5] * steps
    assert result.steps == steps


def test_more_rows_than_steps_are_refused_where_they_are_losses(stub: Any, client: StyleClient, content: Path) -> None:
    edited(stub, losses=rows(1.0, 2.0, np.nan, 3.0))
    with pytest.raises(BadReply, match="4 rows of losses; 2 steps"):
        client.stylize(content, content, Controls(steps=2))


def test_rows_without_any_number_are_no_others(stub: Any, client: StyleClient, content: Path) -> None:
    edited(stub, losses=rows(*[np.nan] * 5))
    with pytest.raises(NonFiniteResult, match="after step 1 of 5, the total loss is nan"):
        client.stylize(content, content, Controls(steps=5))


def test_adam_diverged(stub: Any, client: StyleClient, content: Path) -> None:
    edited(stub, losses=rows(1.0, np.inf))
    with pytest.raises(NonFiniteResult, match="before step 2 of 2, the total loss is inf\nGive a smaller learning"):
        client.stylize(content, content, Controls(optimizer="adam", steps=2))


def test_bytes_that_are_no_reply(stub: Any, client: StyleClient, content: Path) -> None:
    stub.predict = lambda _: b"\x0a\xff\xff\xff"  # pyright: ignore
    with pytest.raises(BadReply, match="damaged"):
        client.stylize(content, content)


def test_metadata_that_makes_no_sense(stub: Any, client: StyleClient) -> None:
    stub.metadata = lambda _: messages.GetModelMetadataResponse()  # pyright: ignore
    with pytest.raises(BadReply, match="signature_def"):
        client.metadata()


def test_large_replies_arrive(stub: Any, client: StyleClient, content: Path) -> None:
    assert MAX_MESSAGE_BYTES < 2**31  # protobuf's own limit
    edited(stub, unknown=bytes_tensor([bytes(6 * 2**20)]))  # gRPC's default is 4 MiB
    assert client.stylize(content, content).steps == 100


def test_a_server_that_answers_in_tensor_content(stub: Any, client: StyleClient, content: Path, style: Path) -> None:
    """As TensorFlow Serving does with --enable_serialization_as_tensor_content=true, for strings, too."""
    expected, described = client.stylize(content, style, Controls(steps=3)), client.describe(content)
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
    result, found = client.stylize(content, style, Controls(steps=3)), client.describe(content)
    assert result.image_bytes == expected.image_bytes
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
        ("style_blend", (1.0, -1.0)),
        ("style_blend", "12"),
        ("style_blend", ()),
        ("style_scale", (1.0, 9.0)),
        ("style_layer_weights", (1.0, float("nan"))),
        ("start_noise", 1.5),
        ("seed", 2**31),
        ("octaves", 0),
        ("octaves", 1.5),
    ],
)
def test_controls_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(ControlError, match=f"^{name} is .*; it must be .*from") as caught:
        Controls(**{name: value})
    assert isinstance(caught.value, ValueError)


def test_controls_at_their_bounds() -> None:
    for control in contract.CONTROLS:
        lowest: Any = control.minimum if control.dtype == "float32" else int(control.minimum)
        for value in control.choices or (lowest,):
            if control is not contract.STYLE_BLEND:
                expected = (value,) if control.per else value
                assert Controls(**{control.name: value}).sent() == {control.name: expected}
    assert Controls().sent() == {}
    assert repr(Controls().steps) == "UNSET"


@pytest.mark.parametrize("blend", [0, (0, 0)])
def test_a_blend_of_nothing_is_refused(blend: Any) -> None:
    with pytest.raises(ControlError, match=r"style_blend is 0.*; at least one share must be over 0"):
        Controls(style_blend=blend)


def test_choices_are_those_of_the_contract() -> None:
    types = {"colors": Colors, "loss": Loss, "optimizer": Optimizer, "image_format": ImageFormat}
    chosen = {control.name: control.choices for control in contract.CONTROLS if control.choices}
    assert {name: get_args(kind) for name, kind in types.items()} == chosen
    for name in chosen:
        with pytest.raises(ControlError, match=f"^{name} is 'x'; it must be one of {chosen[name][0]}, "):
            Controls(**{name: "x"})


def test_presets_are_over_written_by_what_is_set() -> None:
    assert Controls(steps=50).over(PRESETS["tutorial"]).given() == {
        "loss": "tutorial",
        "optimizer": "adam",
        "steps": 50,
        "octaves": 1,
    }
    assert PRESETS["painter"] == Controls()


def test_exit_codes_are_distinct() -> None:
    def tree(kind: type[StyleServeError]) -> list[type[StyleServeError]]:
        return [kind, *(below for child in kind.__subclasses__() for below in tree(child))]

    kinds = tree(StyleServeError)
    codes = {kind.exit_code for kind in kinds}
    assert len(codes) == len(kinds)
    assert codes | {0, 2, 130} == set(exit_codes())


def test_the_report_shows_everything(client: StyleClient, content: Path, style: Path) -> None:
    optimizers: tuple[Optimizer, ...] = ("adam", "lbfgs", "lbfgs")
    for steps, optimizer in zip((0, 4, 9), optimizers, strict=True):
        result = client.stylize(content, style, Controls(optimizer=optimizer, steps=steps))
        drawing = client.report(content, style, result)
        assert drawing.mode == "RGB"
        assert drawing.width == 1400
        assert 1000 < drawing.height < 3000
        colours = {colour for _, colour in drawing.getcolors(2**24) or []}
        for curve in ((31, 35, 40), (209, 73, 91), (40, 120, 181), (224, 160, 48)):
            assert (curve in colours) == (steps > 0) or curve == (31, 35, 40)


def test_the_report_shows_every_style(client: StyleClient, content: Path, tmp_path: Path) -> None:
    colours = ((10, 200, 90), (90, 10, 200))
    styles = [tmp_path / f"{number}.png" for number in range(2)]
    for path, colour in zip(styles, colours, strict=True):
        Image.new("RGB", (50, 40), colour).save(path)
    for regions in (None, [Image.linear_gradient("L")] * 2):
        result = client.stylize(content, styles, Controls(steps=3), content_regions=regions)
        found = {colour for _, colour in client.report(content, styles, result).getcolors(2**24) or []}
        assert set(colours) <= found


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
