"""Event-time windows: each row in its own window, late ones counted, and a bad clock harmless."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml.profile import Layout, NumericCells, Profile, Windows

_LAYOUT = Layout((NumericCells("x", (0.0, 1.0)),))
_T0 = 1_700_000_000.0


def _profile(rows: int) -> Profile:
    profile = Profile(_LAYOUT)
    profile.counts[0, 1] = rows
    return profile


def _take(windows: Windows, times: list[float], now: float) -> list[tuple[float, float, Profile]]:
    position, numbers = windows.place(np.array(times, dtype=float), now)
    for i, number in enumerate(numbers.tolist()):
        rows = int((position == i).sum())
        if rows:
            windows.add(number, _profile(rows))
    return windows.close()


def _rows(windows: Windows) -> int:
    return int(windows.recent(10**9).counts.sum())


def test_a_row_belongs_to_the_window_of_its_event_time() -> None:
    windows = Windows(_LAYOUT, width=60, grace=30)
    start = _T0 - _T0 % 60
    assert _take(windows, [start, start + 59.9, start + 60, start + 89], start) == []
    closed = _take(windows, [start + 90.1], start)
    assert [(a, b, int(p.counts.sum())) for a, b, p in closed] == [(start, start + 60, 2)]
    assert windows.late == 0


def test_a_row_later_than_the_grace_is_counted_and_left_out() -> None:
    windows = Windows(_LAYOUT, width=60, grace=30)
    start = _T0 - _T0 % 60
    _take(windows, [start + 100], start)
    _take(windows, [start + 59], start)
    assert windows.late == 1
    assert _rows(windows) == 1


def test_a_clock_far_ahead_is_clamped_and_closes_nothing() -> None:
    windows = Windows(_LAYOUT, width=60, grace=30, horizon=600)
    start = _T0 - _T0 % 60
    # a replay of old rows under today's clock, with one row from the year 2100
    _take(windows, [start], start + 1e8)
    _take(windows, [4.1e9], start + 1e8)
    _take(windows, [start + 20], start + 1e8)
    assert windows.clamped == 1
    assert windows.late == 0
    assert _rows(windows) == 3


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1e300, -float("inf")])
def test_a_time_that_is_none_harms_no_other_row(bad: float) -> None:
    windows = Windows(_LAYOUT)
    _take(windows, [_T0, bad], _T0)
    _take(windows, [bad], _T0)
    _take(windows, [_T0 + 5], _T0)
    assert _rows(windows) >= 2
    assert _rows(windows) + windows.late == 4


_offsets = st.lists(st.floats(-2000, 2000), max_size=60)


@settings(max_examples=100, deadline=None)
@given(_offsets, st.lists(st.integers(1, 8), max_size=60))
def test_the_windows_together_are_all_rows_that_were_not_late(
    offsets: list[float], sizes: list[int]
) -> None:
    windows = Windows(_LAYOUT, width=60, grace=30, keep=10_000, horizon=5000)
    times = [_T0 + o for o in offsets]
    at, total = 0, 0
    closed: dict[float, int] = {}
    for size in [*sizes, 60]:
        part = times[at : at + size]
        at += size
        total += len(part)
        for start, end, profile in _take(windows, part, _T0):
            assert start not in closed
            assert end == start + 60
            closed[start] = int(profile.counts.sum())
    assert _rows(windows) + windows.late == total
    for start, rows in closed.items():
        assert rows <= sum(start <= t < start + 60 for t in times)


@settings(max_examples=50, deadline=None)
@given(_offsets, st.integers(0, 60))
def test_windows_go_on_after_a_restart(offsets: list[float], cut: int) -> None:
    times = [_T0 + o for o in offsets]
    straight, halted = Windows(_LAYOUT), Windows(_LAYOUT)
    for windows in (straight, halted):
        _take(windows, times[:cut], _T0)
    again = Windows(_LAYOUT)
    again.restore(json.loads(json.dumps(halted.to_json(), allow_nan=False)))
    for windows in (straight, again):
        _take(windows, times[cut:], _T0)
    assert again.to_json() == straight.to_json()


def test_memory_is_bounded_whatever_the_times() -> None:
    windows = Windows(_LAYOUT, keep=20)
    year = np.linspace(_T0, _T0 + 365 * 86_400, 200_000)
    position, numbers = windows.place(year, _T0 + 4e7)
    assert len(numbers) <= 20 + 3
    for i, number in enumerate(numbers.tolist()):
        windows.add(number, _profile(int((position == i).sum())))
    windows.close()
    rng = np.random.default_rng(0)
    for _ in range(200):
        _take(windows, (_T0 + 4e7 + rng.normal(0, 1e5, 20)).tolist(), _T0 + 4e7)
    held: Any = windows.to_json()
    assert len(held["closed"]) <= 20
    assert len(held["open"]) <= 20


def test_the_windows_a_long_batch_keeps_are_the_ones_it_would_have_kept_row_by_row() -> None:
    times = (_T0 + np.arange(0, 5000, 7.0)).tolist()
    whole, single = Windows(_LAYOUT, keep=5), Windows(_LAYOUT, keep=5)
    _take(whole, times, _T0 + 5000)
    for t in times:
        _take(single, [t], _T0 + 5000)
    assert whole.to_json() == single.to_json()


def test_more_windows_than_are_kept_may_close_at_once() -> None:
    windows = Windows(_LAYOUT, width=60, grace=600, keep=3)
    _take(windows, [_T0 + 60 * i for i in range(8)], _T0 + 600)
    closed = _take(windows, [_T0 + 5000], _T0 + 5000)
    assert [int(p.counts.sum()) for _, _, p in closed] == [1] * 8
    assert _rows(windows) == 3 + 1


def test_recent_takes_whole_windows_from_the_latest_back() -> None:
    windows = Windows(_LAYOUT, width=60)
    for i in range(5):
        windows.add(i, _profile(10))
    assert int(windows.recent(15).counts.sum()) == 20
    assert int(windows.recent(1).counts.sum()) == 10
    assert int(windows.recent(1000).counts.sum()) == 50
