"""Quiet under every pattern of volume that repeats; an outage and a surge are seen."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Final

import numpy as np
import pytest
from scipy.stats import chi2

from otel_ml.monitors.detector import Detector
from otel_ml.monitors.volume import VOLUME_CELLS, VOLUME_SOURCE, Interval, Volume, volume
from otel_ml.types import FloatArray, IntArray

_DAY: Final = 86_400.0
_MONDAY: Final = 20_003 * _DAY
_THRESHOLD: Final = math.log(2000 / 0.02)  # one per 100,000 rows, of a fiftieth of the budget


def _rates(
    base: float, days: float, swing: float = 0.8, weekend: float = 1.0, growth: float = 0.0
) -> FloatArray:
    """Rows per minute from a Monday on, the most at two in the afternoon."""
    minute = np.arange(int(days * 1440))
    day = minute // 1440
    hourly = 1 + swing * np.cos((minute % 1440 / 60 - 14) / 12 * np.pi)
    return np.asarray(base * hourly * np.where(day % 7 >= 5, weekend, 1.0) * (1 + growth * day))


def _poisson(rng: np.random.Generator, rates: FloatArray) -> IntArray:
    return rng.poisson(rates)


def _sessions(rng: np.random.Generator, rates: FloatArray) -> IntArray:
    """Five to fifty rows at a time."""
    starts = rng.poisson(rates / 27.5)
    rows = np.concatenate([[0], np.cumsum(rng.integers(5, 51, int(starts.sum())))])
    ends = np.cumsum(starts)
    return np.asarray(rows[ends] - rows[ends - starts])


def _bursts(rng: np.random.Generator, rates: FloatArray) -> IntArray:
    """Six times as much for up to twenty minutes, about twice a day."""
    busy = np.zeros(len(rates), dtype=bool)
    for start in np.flatnonzero(rng.random(len(rates)) < 1 / 720).tolist():
        busy[start : start + int(rng.integers(3, 21))] = True
    return rng.poisson(np.where(busy, 6.0, 1.0) * rates)


class _Run:
    """Minutes of arrivals through volume and detector, on a clock of their own."""

    def __init__(self, start: float = _MONDAY) -> None:
        self.now = start
        self.volume = Volume()
        self.detector = Detector([volume()], {VOLUME_SOURCE: 0}, len(VOLUME_CELLS))
        self.alarms: list[float] = []
        self.seen: list[Interval] = []

    def go(self, rows: IntArray) -> _Run:
        for n in rows.tolist():
            # no row, no call but that of the clock
            found = self.volume.add(n, self.now) if n else self.volume.advance(self.now)
            self.now += 60
            self.seen += found
            if not found:
                continue
            counts = np.zeros((1, len(VOLUME_CELLS)), dtype=np.int64)
            for interval in found:
                counts[0, interval.cell] += interval.worth
            self.detector.update(counts, 0)
            if self.detector.evidence()[0] > _THRESHOLD:
                self.alarms.append(self.now)
                self.detector.reset([0], 0)
        return self

    def restarted(self, away: float) -> _Run:
        again = Volume()
        again.restore(json.loads(json.dumps(self.volume.to_json())))
        self.volume = again
        self.now += away
        return self


_Arrivals = Callable[[np.random.Generator, FloatArray], IntArray]


@pytest.mark.parametrize(
    ("arrivals", "swing", "weekend", "growth"),
    [
        (_poisson, 0.0, 1.0, 0.0),
        (_poisson, 0.95, 1.0, 0.0),
        (_poisson, 0.8, 0.2, 0.0),
        (_poisson, 0.8, 0.0, 0.0),
        (_poisson, 0.8, 0.5, 0.05),
        (_sessions, 0.8, 0.4, 0.0),
        (_bursts, 0.8, 0.5, 0.0),
    ],
    ids=["even", "day and night", "weekend", "closed at weekends", "growth", "sessions", "bursts"],
)
def test_patterns_that_repeat_are_no_evidence(
    arrivals: _Arrivals, swing: float, weekend: float, growth: float
) -> None:
    found = rows = 0
    for base in (0.5, 30.0):
        rng = np.random.default_rng(int(10 * base))
        counts = arrivals(rng, _rates(base, 18, swing, weekend, growth))
        run = _Run().go(counts)
        found += len(run.alarms)
        rows += int(counts.sum())
        assert run.seen  # it was asked
    assert rows > 400_000
    assert chi2.ppf(0.95, 2 * (found + 1)) / 2 <= rows / 100_000


@pytest.mark.parametrize(("base", "hours"), [(4.0, 3.0), (100.0, 0.5)])
@pytest.mark.parametrize("left", [0.0, 0.2])
@pytest.mark.parametrize("day", [4.4, 12.5], ids=["first week", "second weekend"])
def test_an_outage_is_seen(base: float, hours: float, left: float, day: float) -> None:
    rng = np.random.default_rng(3)
    rates = _rates(base, day + 0.5, 0.5, 0.5)
    fallen = int(day * 1440)
    rates[fallen:] *= left
    run = _Run().go(_poisson(rng, rates))
    assert run.alarms
    assert 0 < run.alarms[0] - (_MONDAY + day * _DAY) <= 3600 * hours * (2 if left else 1.5)


@pytest.mark.parametrize("base", [4.0, 100.0])
def test_a_surge_is_seen(base: float) -> None:
    rng = np.random.default_rng(4)
    rates = _rates(base, 10.8, 0.5)
    rates[int(10.4 * 1440) :] *= 6
    run = _Run().go(_poisson(rng, rates))
    assert run.alarms
    assert 0 < run.alarms[0] - (_MONDAY + 10.4 * _DAY) <= 2 * 3600


def test_an_outage_under_sessions_is_seen() -> None:
    rng = np.random.default_rng(5)
    rates = _rates(30, 10.8, 0.5)
    rates[int(10.4 * 1440) :] = 0
    run = _Run().go(_sessions(rng, rates))
    assert run.alarms
    assert 0 < run.alarms[0] - (_MONDAY + 10.4 * _DAY) <= 3 * 3600


def test_the_time_of_a_restart_is_not_an_outage() -> None:
    rng = np.random.default_rng(6)
    run = _Run()
    rates = _rates(30, 16, 0.8, 0.3)
    at = 0
    for days, away in ((2.3, 700.0), (3.0, 3 * 3600.0), (4.6, 20 * 3600.0), (2.0, 65.0)):
        run.go(_poisson(rng, rates[at : at + int(days * 1440)])).restarted(away)
        at += int(days * 1440) + round(away / 60)
    run.go(_poisson(rng, rates[at:]))
    assert not run.alarms
    assert not any(interval.cell for interval in run.seen)
    # and an outage after it is seen
    run.go(np.zeros(120, dtype=np.int64))
    assert run.alarms


def test_a_first_day_says_nothing() -> None:
    rng = np.random.default_rng(7)
    run = _Run().go(_poisson(rng, np.repeat([30.0, 0.0, 500.0], 460)))
    assert not run.seen


def test_a_few_rows_an_hour_are_never_too_few() -> None:
    rng = np.random.default_rng(8)
    run = _Run().go(_poisson(rng, np.full(10 * 1440, 0.1)))
    run.go(np.zeros(1440, dtype=np.int64))
    assert run.seen
    assert not any(interval.cell for interval in run.seen)


def test_silence_takes_bounded_work_and_its_intervals_count() -> None:
    rng = np.random.default_rng(9)
    run = _Run().go(_poisson(rng, np.full(9 * 1440, 30.0)))
    silent = run.volume.advance(run.now + 90 * 3600)
    assert sum(interval.cell == 1 for interval in silent) > 1000
    assert len(silent) <= 91 * 60
    # longer than anybody would not notice: a gap in the data, nothing is known of it
    assert run.volume.advance(run.now + 90 * 3600 + 400 * _DAY) == []
    assert run.volume.add(5, run.now + 90 * 3600 + 400 * _DAY + 90) == []


def test_a_clock_that_goes_back_a_little_or_far_does_no_harm() -> None:
    volume_ = Volume()
    for minute in range(3 * 1440):
        volume_.add(20, _MONDAY + 60 * minute)
    assert volume_.add(20, _MONDAY + 3 * _DAY - 900) == []
    after = [volume_.add(20, _MONDAY + 3 * _DAY + 60 * minute) for minute in range(90)]
    assert sum(map(len, after)) > 60
    assert not any(interval.cell for found in after for interval in found)
    assert volume_.add(20, 0.0) == []
    assert volume_.add(20, 90.0) == []


def test_batches_count_like_single_rows() -> None:
    one, many = Volume(), Volume()
    rng = np.random.default_rng(10)
    counts = rng.poisson(3.0, 2 * 1440)
    for minute, n in enumerate(counts.tolist()):
        for i in range(n):
            one.add(1, _MONDAY + 60 * minute + i)
        many.add(n, _MONDAY + 60 * minute + 30)
    now = _MONDAY + 2 * _DAY + 60
    one.advance(now)
    many.advance(now)
    assert one.to_json() == many.to_json()


def test_it_goes_on_where_it_was() -> None:
    rng = np.random.default_rng(11)
    counts = rng.poisson(20.0, 4 * 1440 + 17)
    run = _Run().go(counts)
    other = _Run().go(counts).restarted(0.0)
    assert other.volume.to_json() == run.volume.to_json()
    more = rng.poisson(20.0, 600)
    assert other.go(more).seen == run.go(more).seen
    assert len(json.dumps(run.volume.to_json())) < 40_000
    with pytest.raises(ValueError, match="reshape"):
        Volume().restore({**run.volume.to_json(), "minutes": [1, 2]})
