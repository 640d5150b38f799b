"""Calls are compared with calls of their size; what failed from the beginning is tolerated."""

from __future__ import annotations

import json
import math
from typing import Final

import numpy as np
import pytest
from scipy.stats import chi2

from otel_ml.monitors.detector import Detector
from otel_ml.monitors.service import (
    ERROR_CELLS,
    LATENCY_CELLS,
    Errors,
    Latency,
    call_errors,
    latency,
)
from otel_ml.types import FloatArray, IntArray, Stream

_THRESHOLD: Final = math.log(2000 / 0.02)  # one per 100,000 rows, of a fiftieth of the budget
_STEP: Final = 50


def _durations(rng: np.random.Generator, sizes: IntArray, factor: float = 1.0) -> FloatArray:
    """Two milliseconds a call and a tenth of one a row, with noise."""
    return np.asarray(factor * (0.002 + 0.0001 * sizes) * rng.lognormal(0, 0.3, len(sizes)))


def _alarms(stream: Stream, steps: list[IntArray]) -> list[int]:
    detector = Detector([stream], {stream.source: 0}, len(stream.law))
    out = []
    for i, counts in enumerate(steps):
        detector.update(counts[None, :], i)
        if detector.evidence()[0] > _THRESHOLD:
            out.append(i)
            detector.reset([0], i)
    return out


def _taken(watched: Latency, durations: FloatArray, sizes: IntArray | None) -> list[IntArray]:
    """Counts of every step of fifty calls."""
    return [
        watched.counts(durations[i : i + _STEP], None if sizes is None else sizes[i : i + _STEP])[0]
        for i in range(0, len(durations), _STEP)
    ]


def _learned(rng: np.random.Generator, sizes: IntArray) -> tuple[Latency, Stream]:
    watched = Latency()
    _taken(watched, _durations(rng, sizes), sizes)
    assert watched.baseline is not None
    return watched, latency(LATENCY_CELLS, watched.baseline)


_SIZES: Final = np.array([1, 2, 5, 10, 40, 100, 500, 1000, 5000])


def test_sizes_that_change_are_no_evidence() -> None:
    found = calls = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        watched, stream = _learned(rng, rng.choice(_SIZES, 4000))
        for chosen in (_SIZES, _SIZES[:3], _SIZES[-3:]):
            sizes = rng.choice(chosen, 10_000)
            steps = _taken(watched, _durations(rng, sizes), sizes)
            assert sum(int(s.sum()) for s in steps) == 10_000
            found += len(_alarms(stream, steps))
            calls += len(sizes)
    assert chi2.ppf(0.95, 2 * (found + 1)) / 2 <= calls / 100_000


@pytest.mark.parametrize("size", [1, 40, 5000])
def test_calls_of_any_size_that_became_slow_are_found(size: int) -> None:
    rng = np.random.default_rng(size)
    watched, stream = _learned(rng, rng.choice(_SIZES, 4000))
    sizes = np.full(500, size)
    assert _alarms(stream, _taken(watched, _durations(rng, sizes, 8), sizes))


def test_sizes_seen_too_rarely_are_not_asked() -> None:
    rng = np.random.default_rng(1)
    watched, _ = _learned(rng, np.ones(1000, dtype=np.int64))
    rare = np.full(199, 5000)
    assert not sum(int(s.sum()) for s in _taken(watched, _durations(rng, rare, 50), rare))
    # the last of the first 200 is learned from, those after it are compared
    counts, durations = watched.counts(np.array([1.0, 1.0]), np.array([5000, 5000]))
    assert (int(counts.sum()), len(durations)) == (0, 0)
    assert int(watched.counts(np.array([1.0]), np.array([5000]))[0].sum()) == 1


def test_calls_of_one_size_keep_their_durations() -> None:
    rng = np.random.default_rng(2)
    watched, _ = _learned(rng, np.ones(400, dtype=np.int64))
    given = rng.lognormal(-6, 1, 100)
    np.testing.assert_allclose(watched.counts(given, np.ones(100, dtype=np.int64))[1], given)
    np.testing.assert_allclose(watched.counts(given, None)[1], given)


def test_a_slow_start_is_not_the_baseline() -> None:
    rng = np.random.default_rng(3)
    sizes = np.ones(400, dtype=np.int64)
    cold, warm = Latency(), Latency()
    durations = _durations(rng, sizes)
    _taken(warm, durations, sizes)
    durations[:20] = 30.0
    _taken(cold, durations, sizes)
    assert cold.baseline is not None
    assert warm.baseline is not None
    assert cold.baseline.tolist() == warm.baseline.tolist()
    # nor are the first calls after a restart slow
    cold.warm_up()
    assert int(cold.counts(np.full(20, 30.0), None)[0].sum()) == 0
    assert int(cold.counts(np.full(20, 30.0), None)[0].sum()) == 20


def test_durations_that_are_none_are_left_out() -> None:
    rng = np.random.default_rng(4)
    watched, _ = _learned(rng, np.ones(400, dtype=np.int64))
    odd = np.array([0.0, -1.0, math.nan, math.inf, 0.01])
    assert watched.counts(odd, None)[1].tolist() == pytest.approx([0.01])
    assert watched.counts(np.zeros(0), None)[0].sum() == 0


def test_latency_goes_on_after_a_restart() -> None:
    rng = np.random.default_rng(5)
    sizes = rng.choice(_SIZES, 700)
    watched = Latency()
    durations = _durations(rng, sizes)
    for i in range(0, 700, 70):
        part = slice(i, i + 70)
        again = Latency()
        again.restore(json.loads(json.dumps(watched.to_json())))
        counts, taken = watched.counts(durations[part], sizes[part])
        same, equal = again.counts(durations[part], sizes[part])
        assert counts.tolist() == same.tolist()
        np.testing.assert_allclose(taken, equal)
        watched = again
    assert watched.known


def _failures(rng: np.random.Generator, rate: float, steps: int) -> list[IntArray]:
    failed = rng.binomial(_STEP, rate, steps)
    return [np.array([_STEP - n, n]) for n in failed.tolist()]


def _watching(rng: np.random.Generator, rate: float) -> Errors:
    errors = Errors()
    while not errors.known:
        failed = int(rng.random() < rate)
        assert not errors.add(1 - failed, failed)
    return errors


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.1, 0.3])
def test_errors_that_are_usual_are_no_evidence(rate: float) -> None:
    found = calls = 0
    for seed in range(20):
        rng = np.random.default_rng([seed, int(1000 * rate)])
        errors = _watching(rng, rate)
        found += len(_alarms(errors.stream(), _failures(rng, rate, 400)))
        calls += 400 * _STEP
    assert chi2.ppf(0.95, 2 * (found + 1)) / 2 <= calls / 100_000


@pytest.mark.parametrize(("usual", "now"), [(0.0, 0.1), (0.01, 0.15), (0.1, 0.3), (0.3, 0.7)])
def test_more_errors_than_usual_are_found(usual: float, now: float) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        errors = _watching(rng, usual)
        assert _alarms(errors.stream(), _failures(rng, now, 20))


def test_a_service_that_never_answered_is_not_tolerated() -> None:
    errors = Errors()
    assert not errors.add(0, 500)
    assert errors.add(0, 50)
    assert _alarms(errors.stream(), [np.array([0, _STEP])] * 2)


def test_without_an_error_a_hundred_calls_are_enough() -> None:
    errors = Errors()
    assert not errors.add(100, 0)
    assert errors.known
    again = Errors()
    again.restore(json.loads(json.dumps(errors.to_json())))
    assert again.add(1, 1)
    assert (again.calls, again.failed) == (100, 0)
    assert len(call_errors().law) == len(ERROR_CELLS)
