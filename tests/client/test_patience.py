"""What uses up a batch's patience, and what does not; times are made up."""

from __future__ import annotations

import math

from styleserve.client.batch.retry_window import Patience


def refused(patience: Patience, *times_s: float) -> None:
    for time_s in times_s:
        patience.turned_away(time_s, time_s + 0.01)


def test_without_trouble_it_lasts_for_ever() -> None:
    patience = Patience(300)
    assert patience.left_s(1e9) == math.inf
    refused(patience, 10)
    patience.renew()
    assert patience.left_s(1e9) == math.inf


def test_nobody_there_uses_it_up() -> None:
    patience = Patience(300)
    for time_s in range(0, 300, 7):
        refused(patience, time_s)
        patience.turned_away(time_s, time_s + 6)  # a machine that does not even refuse
    assert patience.left_s(299) > 0
    assert patience.left_s(301) < 0


def test_a_long_call_that_is_lost_in_the_end_used_none() -> None:
    """It began before the trouble, or in the midst of it, when a server had come back."""
    patience = Patience(300)
    refused(patience, 5)
    patience.turned_away(0, 1000)
    assert round(patience.left_s(1000)) == 300
    refused(patience, 1050)
    patience.turned_away(1100, 2100)
    assert round(patience.left_s(2100)) == 200


def test_calls_that_ran_together_count_once() -> None:
    patience = Patience(300)
    refused(patience, 0)
    for begun_s, ended_s in ((100, 200), (110, 210), (90, 220)):
        patience.turned_away(begun_s, ended_s)
    assert round(patience.left_s(220)) == 200


def test_calls_that_are_always_lost_late_do_not_renew_it() -> None:
    """As behind a proxy that gives up after a minute: the pauses between them use it up."""
    patience = Patience(300)
    refused(patience, 0)
    for number in range(31):
        patience.turned_away(70 * number + 10, 70 * number + 70)
    assert patience.left_s(31 * 70) < 0
