"""Versions: found on disk, swapped under load, addressed by number and label, configured anew."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2
from tensorflow_serving.config import file_system_storage_path_source_pb2

if TYPE_CHECKING:
    from .conftest import Target

WaitUntil = Callable[[Callable[[], bool]], None]

LOADING = get_model_status_pb2.ModelVersionStatus.LOADING
END = get_model_status_pb2.ModelVersionStatus.END
UNSEEN = get_model_status_pb2.ModelVersionStatus()


def _policy(**fields: Any) -> Any:
    policy = file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig.ServableVersionPolicy()
    if "latest" in fields:
        policy.latest.num_versions = fields["latest"]
    elif "specific" in fields:
        policy.specific.versions.extend(fields["specific"])
    else:
        policy.all.SetInParent()
    return policy


def test_a_new_version_takes_over_with_no_failed_call(
    fresh: Target, add_small_version: Callable[[int], Path], wait_until: WaitUntil
) -> None:
    assert fresh.available() == {2}
    served: list[int] = []
    failed: list[str] = []
    done = threading.Event()

    def keep_calling() -> None:
        while not done.is_set():
            call = fresh.prediction.Predict.future(fresh.blur(steps=1), timeout=60.0)
            if call.exception() is None:
                served.append(call.result().model_spec.version.value)
            else:
                failed.append(call.details())

    # It starts on version 2 and has to end there: steps enough to outlive the change, not to take long after it.
    long_call = fresh.prediction.Predict.future(fresh.blur(steps=20_000), timeout=60.0)
    caller = threading.Thread(target=keep_calling)
    caller.start()
    try:
        add_small_version(3)
        wait_until(lambda: 3 in served)
        wait_until(lambda: fresh.available() == {3})
    finally:
        done.set()
        caller.join()
    assert not failed
    assert set(served) == {2, 3}
    assert served == sorted(served)
    assert long_call.result().model_spec.version.value == 2
    wait_until(lambda: fresh.states()[2].state == END)


def test_a_broken_version_leaves_the_old_one_serving(fresh: Target, wait_until: WaitUntil) -> None:
    (fresh.base_path / "3").mkdir()
    wait_until(lambda: fresh.states().get(3, UNSEEN).state == END)
    assert fresh.states()[3].status.error_code != 0
    assert fresh.predict(fresh.blur(steps=0)).model_spec.version.value == 2
    assert fresh.available() == {2}


def test_a_version_that_is_copied_slowly(trying_again: Target, tmp_path: Path, wait_until: WaitUntil) -> None:
    """While it does not load it is LOADING, and the old one serves."""
    whole = shutil.copytree(trying_again.base_path / "1", tmp_path / "whole")
    copy = trying_again.base_path / "3"
    copy.mkdir()
    wait_until(lambda: trying_again.states().get(3, UNSEEN).state == LOADING)
    assert trying_again.predict(trying_again.blur(steps=0)).model_spec.version.value == 1
    assert trying_again.states()[3].state == LOADING
    # What is read first comes last.
    for part in sorted(whole.iterdir(), key=lambda part: part.name == "saved_model.pb"):
        part.rename(copy / part.name)
    wait_until(lambda: trying_again.available() == {3})
    assert trying_again.predict(trying_again.blur(steps=0)).model_spec.version.value == 3


def test_a_staging_directory_is_not_a_version(
    fresh: Target, add_small_version: Callable[[int], Path], wait_until: WaitUntil
) -> None:
    (fresh.base_path / ".staging-9").mkdir()
    (fresh.base_path / "9-staging").mkdir()
    add_small_version(3)
    wait_until(lambda: 3 in fresh.available())
    assert 9 not in fresh.states()


def test_zeros_in_front_of_a_version(fresh: Target, wait_until: WaitUntil) -> None:
    shutil.copytree(fresh.base_path / "1", fresh.base_path / ".staging").rename(fresh.base_path / "0003")
    wait_until(lambda: fresh.available() == {3})
    assert fresh.predict(fresh.blur(steps=0)).model_spec.version.value == 3


def test_labels_and_numbers(fresh: Target, wait_until: WaitUntil) -> None:
    fresh.reload(model_version_policy=_policy(all=True))
    wait_until(lambda: fresh.available() == {1, 2})
    fresh.reload(model_version_policy=_policy(all=True), version_labels={"stable": 1, "canary": 2})

    request = fresh.blur(steps=0)
    assert fresh.predict(request).model_spec.version.value == 2
    for label, version in (("stable", 1), ("canary", 2)):
        request.model_spec.version_label = label
        assert fresh.predict(request).model_spec.version.value == version
    request.model_spec.version.value = 1
    assert fresh.predict(request).model_spec.version.value == 1


def test_going_back_to_a_version(fresh: Target, wait_until: WaitUntil) -> None:
    fresh.reload(model_version_policy=_policy(specific=[1]))
    wait_until(lambda: fresh.available() == {1})
    assert fresh.predict(fresh.blur(steps=0)).model_spec.version.value == 1
    fresh.reload(model_version_policy=_policy(latest=2))
    wait_until(lambda: fresh.available() == {1, 2})


def test_a_label_for_a_version_that_does_not_serve(fresh: Target) -> None:
    with pytest.raises(grpc.RpcError, match="Request to assign label to version 9 of model") as caught:
        fresh.reload(version_labels={"stable": 9})
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert fresh.predict(fresh.blur(steps=0)).outputs


def test_a_bad_configuration_changes_nothing(fresh: Target) -> None:
    with pytest.raises(grpc.RpcError, match="to have an absolute path or URI; got base_path") as caught:
        fresh.reload(base_path="relative/path")
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError, match="type not supported by HandleReloadConfigRequest") as caught:
        fresh.models.HandleReloadConfigRequest(_empty_reload(), timeout=10.0)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert fresh.predict(fresh.blur(steps=0)).model_spec.version.value == 2


def test_a_renamed_model(fresh: Target) -> None:
    fresh.reload(name="painter")
    request = fresh.blur(steps=0)
    with pytest.raises(grpc.RpcError, match="Servable not found"):
        fresh.predict(request)
    request.model_spec.name = "painter"
    assert fresh.predict(request).model_spec.name == "painter"


def _empty_reload() -> Any:
    return model_management_pb2.ReloadConfigRequest()
