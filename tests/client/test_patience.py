"""The retry window of a batch, with made-up times."""

from __future__ import annotations

import math

from styleserve.client.batch.retry_window import RetryWindow


def refused(window: RetryWindow, *times_s: float) -> None:
    for time_s in times_s:
        window.rejected(time_s, time_s + 0.01)


def test_without_rejections_it_has_no_end() -> None:
    window = RetryWindow(300)
    assert window.left_s(1e9) == math.inf
    refused(window, 10)
    window.reset()
    assert window.left_s(1e9) == math.inf


def test_absent_servers_use_it_up() -> None:
    window = RetryWindow(300)
    for time_s in range(0, 300, 7):
        refused(window, time_s)
        window.rejected(time_s, time_s + 6)  # a machine that does not even refuse
    assert window.left_s(299) > 0
    assert window.left_s(301) < 0


def test_a_long_call_that_is_rejected_late_uses_none() -> None:
    """It began before the trouble, or after a server had come back."""
    window = RetryWindow(300)
    refused(window, 5)
    window.rejected(0, 1000)
    assert round(window.left_s(1000)) == 300
    refused(window, 1050)
    window.rejected(1100, 2100)
    assert round(window.left_s(2100)) == 200


def test_calls_that_ran_together_count_once() -> None:
    window = RetryWindow(300)
    refused(window, 0)
    for begun_s, ended_s in ((100, 200), (110, 210), (90, 220)):
        window.rejected(begun_s, ended_s)
    assert round(window.left_s(220)) == 200


def test_calls_that_are_always_lost_late_do_not_reset_it() -> None:
    """As behind a proxy that gives up after a minute: the pauses between them use it up."""
    window = RetryWindow(300)
    refused(window, 0)
    for number in range(31):
        window.rejected(70 * number + 10, 70 * number + 70)
    assert window.left_s(31 * 70) < 0
