"""The detector is what its formula says; without a change it grows by at most one per step."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml.errors import StateError
from otel_ml.monitors import FAMILY_WEIGHTS, Detector, Stream
from otel_ml.monitors.evidence import rate_increments
from otel_ml.types import FloatArray, IntArray


def _stream(name: str, family: str, logs: FloatArray, target: str | None = None) -> Stream:
    cells = tuple(f"cell{i}" for i in range(logs.shape[1]))
    law = np.full(logs.shape[1], 1 / logs.shape[1])
    return Stream("input_drift", family, target or name, name, "rows", law, logs, cells)


_A = _stream("a", "inputs", np.log(np.array([[1.5, 0.5, 1.0], [0.2, 1.4, 1.4]])))
_B = _stream("b", "inputs", np.log(np.array([[0.9, 1.1]])))
_C = _stream("c", "quality", rate_increments(0.3))
_SOURCES = {"a": 0, "b": 1, "c": 2}
_WIDTH = 4


def _detector() -> Detector:
    return Detector((_A, _B, _C), _SOURCES, _WIDTH)


def _slow(steps: list[tuple[IntArray, float]]) -> tuple[list[list[float]], list[list[int]]]:
    """M <- (M + w) exp(sum of counts times logs), by hand, and where each sum has begun."""
    levels = [[0.0] * len(s.logs) for s in (_A, _B, _C)]
    since = [[0] * len(s.logs) for s in (_A, _B, _C)]
    for row, (counts, weight) in enumerate(steps):
        for i, stream in enumerate((_A, _B, _C)):
            if not counts[i, : len(stream.law)].any():
                continue  # nothing was asked of it
            for k, logs in enumerate(stream.logs):
                if levels[i][k] < weight:
                    since[i][k] = row
                gain = math.exp(sum(float(counts[i, j]) * float(g) for j, g in enumerate(logs)))
                levels[i][k] = (levels[i][k] + weight) * gain
    return levels, since


_counts = st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=3, max_size=3)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(_counts, st.sampled_from([1.0, 0.5, 0.02])), min_size=1, max_size=12))
def test_it_equals_a_slow_implementation(steps: list[tuple[list[list[int]], float]]) -> None:
    detector = _detector()
    taken = []
    for row, (held, weight) in enumerate(steps):
        counts = np.zeros((3, _WIDTH), dtype=np.int64)
        counts[:, :3] = held
        counts[1:, 2] = 0
        detector.update(counts, row, weight)
        taken.append((counts, weight))
    levels, since = _slow(taken)
    evidence = [sum(level) / len(level) for level in levels]
    weights = [
        FAMILY_WEIGHTS["inputs"] / 2,
        FAMILY_WEIGHTS["inputs"] / 2,
        FAMILY_WEIGHTS["quality"],
    ]
    whole = FAMILY_WEIGHTS["inputs"] + FAMILY_WEIGHTS["quality"]
    total = sum(w / whole * e for w, e in zip(weights, evidence, strict=True))
    logged = [math.log(e) if e > 0 else -math.inf for e in evidence]
    np.testing.assert_allclose(detector.evidence(), logged, atol=1e-9)
    expected = math.log(total) if total > 0 else -math.inf
    assert detector.total(detector.shares()) == pytest.approx(expected, abs=1e-9)
    assert detector.evaluations == len(steps)
    for i, begun in enumerate(since):
        k = int(np.argmax(levels[i]))
        if sorted(levels[i])[-1] > sorted([0.0, *levels[i]])[-2] * (1 + 1e-9):
            assert detector.change_row(i) == begun[k]


@pytest.mark.parametrize("rate", [0.3, 0.25, 0.1, 0.0])
@pytest.mark.parametrize("weight", [1.0, 0.02])
def test_its_mean_grows_by_at_most_the_weight_over_every_path(rate: float, weight: float) -> None:
    n = 9
    mean = np.zeros(n + 1)
    for path in itertools.product((0, 1), repeat=n):
        detector = Detector((_C,), {"c": 0}, 2)
        chance = float(np.prod([rate if yes else 1 - rate for yes in path]))
        for step, yes in enumerate(path):
            detector.update(np.array([[1 - yes, yes]]), step, weight)
            mean[step + 1] += chance * math.exp(detector.total(detector.shares()))
    assert (mean <= np.arange(n + 1) * weight * (1 + 1e-9)).all()
    if rate == 0.3:  # at the end of the null the bound is met
        np.testing.assert_allclose(mean, np.arange(n + 1) * weight)


def test_every_budget_share_is_given_out() -> None:
    detector = _detector()
    assert np.exp(detector.log_weights).sum() == pytest.approx(1.0)
    assert sum(FAMILY_WEIGHTS.values()) == pytest.approx(1.0)
    # another feature does not add to the budget of its family
    more = detector.extended(_stream("a", "inputs", _A.logs, "d"), _SOURCES, 0)
    assert np.exp(more.log_weights).sum() == pytest.approx(1.0)
    assert np.exp(more.log_weights[2]) == pytest.approx(np.exp(detector.log_weights[2]))


def test_a_muted_stream_counts_as_zero_and_a_reset_one_starts_again() -> None:
    detector = _detector()
    counts = np.array([[30, 0, 0, 0], [5, 5, 0, 0], [5, 5, 0, 0]])
    for row in range(3):
        detector.update(counts, row * 50)
    before = detector.shares()
    detector.muted[0] = True
    after = detector.shares()
    assert after[0] == -np.inf
    np.testing.assert_array_equal(after[1:], before[1:])
    assert detector.total(after) < detector.total(before)
    detector.muted[0] = False
    detector.reset([0], 150)
    assert detector.evidence()[0] == -np.inf
    np.testing.assert_array_equal(detector.evidence()[1:], before[1:] - detector.log_weights[1:])
    detector.update(counts, 150)
    assert detector.change_row(0) == 150


def test_a_stream_nothing_was_counted_for_gains_nothing_by_waiting() -> None:
    detector = _detector()
    counts = np.array([[3, 3, 3, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    for row in range(10_000):
        detector.update(counts, row)
    assert detector.evidence()[1] == detector.evidence()[2] == -np.inf


def test_nothing_watched_is_no_evidence() -> None:
    detector = Detector((), {}, 1)
    detector.update(np.zeros((0, 1), dtype=np.int64), 0)
    assert detector.total(detector.shares()) == -np.inf


def test_it_stays_finite_over_many_rows_of_either_kind() -> None:
    detector = _detector()
    for counts in ([[10**6, 0, 0, 0]] * 3, [[0, 10**6, 0, 0]] * 3):
        detector.update(np.array(counts), 0)
        assert np.isfinite(detector.evidence()).all()
        assert math.isfinite(detector.total(detector.shares()))


def test_it_goes_on_after_a_restart_and_refuses_the_state_of_other_streams() -> None:
    rng = np.random.default_rng(0)
    detector = _detector()
    for row in range(5):
        detector.update(rng.integers(0, 9, (3, _WIDTH)) * np.array([1, 1, 0, 0]), row)
    detector.reset([1], 5)
    detector.muted[2] = True
    again = _detector()
    again.restore(json.loads(json.dumps(detector.to_json(), allow_nan=False)))
    for d in (detector, again):
        d.update(np.full((3, _WIDTH), 2), 6)
    np.testing.assert_array_equal(again.level, detector.level)
    np.testing.assert_array_equal(again.since, detector.since)
    np.testing.assert_array_equal(again.muted, detector.muted)
    assert again.evaluations == detector.evaluations
    other = Detector((_stream("z", "inputs", _A.logs),), {"z": 0}, 3)
    with pytest.raises(StateError, match="input_drift:z"):
        other.restore(detector.to_json())


def test_a_stream_added_later_leaves_the_evidence_of_the_others() -> None:
    detector = _detector()
    detector.update(np.full((3, _WIDTH), 3), 0)
    more = detector.extended(_stream("a", "latency", _B.logs, "late"), _SOURCES, 50)
    np.testing.assert_array_equal(more.evidence()[:3], detector.evidence())
    assert more.evidence()[3] == -np.inf
    assert more.evaluations == 1
