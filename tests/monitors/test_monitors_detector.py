"""The detector is what its formula says; without a change it grows by at most one per step."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml.errors import StateError
from otel_ml.monitors import FAMILY_WEIGHTS, Detector, Stream
from otel_ml.monitors.evidence import rate_bets
from otel_ml.monitors.learned import HALF_LIVES
from otel_ml.types import FloatArray, IntArray

_WIDTH = 4


def _stream(
    name: str,
    family: str,
    law: list[float],
    scores: list[list[float]],
    ends: list[list[float]],
    weights: list[float],
    **more: Any,
) -> Stream:
    cells = tuple(f"cell{i}" for i in range(len(law)))
    bet, end = (np.array(part, dtype=np.float64).reshape(-1, len(law)) for part in (scores, ends))
    return Stream(
        "input_drift", family, name, name, "rows", np.array(law), bet, end, np.array(weights),
        cells,
        **more,
    )  # fmt: skip


_A = _stream(
    "a", "inputs", [0.2, 0.5, 0.3], [[0.6, 0.0, -0.4], [-0.9, 0.1, 0.3]],
    [[0.1, 0.0, -0.05], [-0.2, 0.0, 0.1]], [0.5, 0.2], radius=0.05, design=2.0, share=3.0,
)  # fmt: skip
_B = _stream("b", "inputs", [0.4, 0.6, 0.0], [[0.3, -0.3, 0.0]], [[0.0, 0.0, 0.0]], [1.0])
_RATE = rate_bets(np.array([0.8, 0.2]), np.array([False, True]), 0.3, [0.45, 0.9])
_C = Stream(
    "data_quality", "quality", "c", "c", "rows", np.array([0.8, 0.2]), *_RATE, np.full(2, 0.5),
    ("no", "yes"), "missing", np.array([False, True]),
)  # fmt: skip
_D = _stream("d", "inputs", [0.25, 0.25, 0.5], [], [], [], radius=0.02)
_ALL = (_A, _B, _C, _D)
_SOURCES = {"a": 0, "b": 1, "c": 2, "d": 3}
_EFFECTS = {
    ("a", 5): np.array([0.5, 0.0, -0.7]),
    ("b", 5): np.array([-1.0, 1.0, 0.0]),
    ("d", 9): np.array([0.3, 0.2, -0.1]),
    ("c", 9): np.array([0.0, 0.4]),
}


def _season(source: str, slot: int) -> FloatArray | None:
    return _EFFECTS.get((source, slot))


def _detector() -> Detector:
    return Detector(_ALL, _SOURCES, _WIDTH, _season)


def _law_at(stream: Stream, slot: int) -> list[float]:
    effect = _EFFECTS.get((stream.source, slot), np.zeros(len(stream.law)))
    law = [float(p) * math.exp(float(g)) for p, g in zip(stream.law, effect, strict=True)]
    return [p / sum(law) for p in law]


class _Slow:
    """One stream by hand: sums kept as numbers, nothing vectorised, nothing in logarithms."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        fixed = len(stream.scores)
        free = len(HALF_LIVES) if stream.radius > 0 else 0
        self.sums = [0.0] * (fixed + free)
        self.since = [0] * (fixed + free)
        rest = 1 - sum(stream.weights.tolist())
        self.weights = [*stream.weights.tolist(), *[rest / 3] * free]
        self.seen = [[0.0] * len(stream.law) for _ in range(free)]
        self.due = [[0.0] * len(stream.law) for _ in range(free)]
        self.waiting: list[list[Any]] = []

    def rows(self, counts: list[int]) -> int:
        return sum(c for c, p in zip(counts, self.stream.law.tolist(), strict=False) if p > 0)

    def learn(
        self, counts: list[int], law: list[float], damping: float, passed: float
    ) -> tuple[list[float], list[float]]:
        """What may be learned now: these rows, or those that many design effects ago."""
        n, width = self.rows(counts), len(law)
        new = [float(c) for c in counts[:width]], [n * p for p in law]
        lag = 0.0 if damping < 1.5 else min(12 * damping, 1000.0)
        if not self.waiting or self.waiting[-1][0] >= 50:
            self.waiting.append([0.0, [0.0] * width, [0.0] * width])
        last = self.waiting[-1]
        last[0] += passed
        known, due = ([0.0] * width, [0.0] * width) if lag else new
        if lag:
            last[1] = [a + b for a, b in zip(last[1], new[0], strict=True)]
            last[2] = [a + b for a, b in zip(last[2], new[1], strict=True)]
        since = 0.0
        for bucket in reversed(self.waiting):
            if since >= lag:
                known = [a + b for a, b in zip(known, bucket[1], strict=True)]
                due = [a + b for a, b in zip(due, bucket[2], strict=True)]
                bucket[1], bucket[2] = [0.0] * width, [0.0] * width
            since += bucket[0]
        return known, due

    def step(
        self,
        counts: list[int],
        row: int,
        weight: float,
        slots: dict[int, float],
        design: float,
        passed: float,
    ) -> None:
        s = self.stream
        cells = [j for j in range(len(s.law)) if s.law[j] > 0]
        n = self.rows(counts)
        damping = max(design, s.design)
        law = [sum(w * _law_at(s, slot)[j] for slot, w in slots.items()) for j in range(len(s.law))]
        known, due = self.learn(counts, law, damping, passed)
        if n == 0:
            for m in range(len(self.seen)):
                for j in cells:
                    self.seen[m][j] += known[j] / damping
                    self.due[m][j] += due[j] / damping
            return
        gains = []
        for score, end in zip(s.scores, s.ends, strict=True):
            norm = 0.0
            for slot, share in slots.items():
                null = [_law_at(s, slot)[j] * math.exp(float(end[j])) for j in cells]
                bet = [p * math.exp(float(score[j])) for p, j in zip(null, cells, strict=True)]
                norm += share * math.log(sum(bet) / sum(null))
            gains.append(sum(counts[j] * float(score[j]) for j in cells) - n * norm)
        for m, half in enumerate(HALF_LIVES[: len(self.seen)]):
            ratio = {}
            for j in cells:
                r = (self.seen[m][j] + 30 * law[j]) / (self.due[m][j] + 30 * law[j])
                ratio[j] = min(max(r, 1 / 8), 8.0)
            spread = [*ratio.values(), *[1.0] * (_WIDTH - len(cells))]
            worst = sum(law[j] * ratio[j] for j in cells) + s.radius * (max(spread) - min(spread))
            gains.append(sum(counts[j] * math.log(ratio[j] / worst) for j in cells))
            fade = 0.5 ** (1 / half)
            for j in cells:
                self.seen[m][j] = fade * self.seen[m][j] + known[j] / damping
                self.due[m][j] = fade * self.due[m][j] + due[j] / damping
        for k, gain in enumerate(gains):
            if self.sums[k] < weight:
                self.since[k] = row
            self.sums[k] = (self.sums[k] + weight) * math.exp(gain / damping)

    @property
    def evidence(self) -> float:
        return math.fsum(w * m for w, m in zip(self.weights, self.sums, strict=True))


_counts = st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=4, max_size=4)
_slots = st.sampled_from([{-1: 1.0}, {5: 1.0}, {9: 1.0}, {5: 0.25, 9: 0.75}, {7: 0.5, 5: 0.5}])
_designs = st.lists(st.floats(1.0, 6.0), min_size=4, max_size=4)
_step = st.tuples(_counts, st.sampled_from([1.0, 0.5, 0.02]), _slots, _designs)


@settings(max_examples=80, deadline=None)
@given(st.lists(_step, min_size=1, max_size=12))
def test_it_equals_a_slow_implementation(
    steps: list[tuple[list[list[int]], float, dict[int, float], list[float]]],
) -> None:
    detector, slow = _detector(), [_Slow(s) for s in _ALL]
    for row, (held, weight, slots, design) in enumerate(steps):
        counts = np.zeros((4, _WIDTH), dtype=np.int64)
        counts[:, :3] = held
        counts[2, 2] = 0
        detector.update(counts, row, weight, slots=slots, design=np.array(design))
        passed = max(one.rows(counts[i].tolist()) for i, one in enumerate(slow) if one.seen)
        for i, one in enumerate(slow):
            one.step(counts[i].tolist(), row, weight, slots, design[i], passed)
    evidence = [one.evidence for one in slow]
    whole = FAMILY_WEIGHTS["inputs"] + FAMILY_WEIGHTS["quality"]
    inputs = FAMILY_WEIGHTS["inputs"] / whole
    weights = [inputs * 3 / 5, inputs / 5, FAMILY_WEIGHTS["quality"] / whole, inputs / 5]
    total = sum(w * e for w, e in zip(weights, evidence, strict=True))
    logged = [math.log(e) if e > 0 else -math.inf for e in evidence]
    np.testing.assert_allclose(detector.evidence(), logged, atol=2e-5)  # ends in single precision
    expected = math.log(total) if total > 0 else -math.inf
    assert detector.total(detector.shares()) == pytest.approx(expected, abs=2e-5)
    assert detector.evaluations == len(steps)
    for i, one in enumerate(slow):
        k = int(np.argmax(one.sums))
        if (
            all(abs(m - w) > 1e-3 for m in one.sums for w in (1.0, 0.5, 0.02))
            and sorted([0.0, *one.sums])[-2] * (1 + 1e-3) < one.sums[k]
        ):
            assert detector.change_row(i) == one.since[k]


@pytest.mark.parametrize("rate", [0.3, 0.25, 0.1, 0.0])
@pytest.mark.parametrize("weight", [1.0, 0.02])
def test_its_mean_grows_by_at_most_the_weight_over_every_path(rate: float, weight: float) -> None:
    n = 8
    mean = np.zeros(n + 1)
    for path in itertools.product((0, 1), repeat=n):
        detector = Detector((_C,), {"c": 0}, 2)
        chance = float(np.prod([rate if yes else 1 - rate for yes in path]))
        for step, yes in enumerate(path):
            detector.update(np.array([[1 - yes, yes]]), step, weight)
            mean[step + 1] += chance * math.exp(detector.total(detector.shares()))
    assert (mean <= np.arange(n + 1) * weight * (1 + 1e-6)).all()
    if rate == 0.3:  # at the end of the null the bound is met
        np.testing.assert_allclose(mean, np.arange(n + 1) * weight, rtol=1e-6)


def test_every_budget_share_is_given_out() -> None:
    detector = _detector()
    assert np.exp(detector.log_weights).sum() == pytest.approx(1.0)
    assert sum(FAMILY_WEIGHTS.values()) == pytest.approx(1.0)
    # another feature does not add to the budget of its family
    more = detector.extended(replace(_B, target="e"), _SOURCES, 0)
    assert np.exp(more.log_weights).sum() == pytest.approx(1.0)
    assert np.exp(more.log_weights[2]) == pytest.approx(np.exp(detector.log_weights[2]))


_SOME = np.array([[30, 5, 1, 0], [20, 5, 0, 0], [20, 30, 0, 0], [30, 5, 5, 0]])


def _fed(rows: int = 3) -> Detector:
    detector = _detector()
    for row in range(rows):
        detector.update(_SOME, row * 50)
    return detector


def test_a_muted_stream_counts_as_zero() -> None:
    detector = _fed()
    before = detector.shares()
    detector.muted[0] = True
    after = detector.shares()
    assert after[0] == -np.inf
    np.testing.assert_array_equal(after[1:], before[1:])
    assert detector.total(after) < detector.total(before)
    # muted or not, it goes on counting
    one, two = _fed(5), _fed(3)
    two.muted[0] = True
    for row in (3, 4):
        two.update(_SOME, row * 50)
    np.testing.assert_array_equal(one.level, two.level)


@pytest.mark.parametrize("stream", [0, 1, 3])
def test_a_reset_stream_starts_again_as_if_nothing_had_been(stream: int) -> None:
    detector = _fed()
    before = detector.evidence()
    detector.reset([stream], 150)
    assert detector.evidence()[stream] == -np.inf
    others = np.arange(4) != stream
    np.testing.assert_array_equal(detector.evidence()[others], before[others])
    detector.update(_SOME, 150)
    assert detector.evidence()[stream] == _fed(1).evidence()[stream]
    assert detector.change_row(stream) == 150
    # what the others have learned is kept
    np.testing.assert_array_equal(detector.evidence()[others], _fed(4).evidence()[others])


def test_a_stream_nothing_was_counted_for_gains_nothing_by_waiting() -> None:
    detector, counts = _detector(), np.zeros((4, _WIDTH), dtype=np.int64)
    counts[0], counts[3, 3] = 3, 9  # the latter in a cell that is no part of the question
    for row in range(2000):
        detector.update(counts, row)
    assert detector.evidence()[0] > -np.inf
    assert (detector.evidence()[1:] == -np.inf).all()


def test_nothing_watched_is_no_evidence() -> None:
    detector = Detector((), {}, 1)
    detector.update(np.zeros((0, 1), dtype=np.int64), 0)
    assert detector.total(detector.shares()) == -np.inf


def test_it_stays_finite_over_many_rows_of_either_kind() -> None:
    detector = _detector()
    for counts in ([[10**6, 0, 0, 0]] * 4, [[0, 10**6, 0, 0]] * 4):
        detector.update(np.array(counts), 0)
        assert np.isfinite(detector.evidence()).all()
        assert math.isfinite(detector.total(detector.shares()))


def _random(rng: np.random.Generator) -> IntArray:
    return np.asarray(rng.integers(0, 9, (4, _WIDTH)) * np.array([1, 1, 0, 0]))


def test_it_goes_on_after_a_restart_and_refuses_the_state_of_other_streams() -> None:
    rng = np.random.default_rng(0)
    detector = _detector()
    for row in range(5):
        detector.update(_random(rng), row, slots={5: 1.0}, design=np.full(4, 1.5))
    detector.reset([1], 5)
    detector.muted[2] = True
    again = _detector()
    again.restore(json.loads(json.dumps(detector.to_json(), allow_nan=False)))
    for d in (detector, again):
        d.update(np.full((4, _WIDTH), 2), 6, slots={9: 0.5, 5: 0.5})
    np.testing.assert_array_equal(again.level, detector.level)
    np.testing.assert_array_equal(again.since, detector.since)
    np.testing.assert_array_equal(again.muted, detector.muted)
    assert again.to_json() == detector.to_json()
    other = Detector((replace(_A, target="z"),), {"a": 0}, 3)
    with pytest.raises(StateError, match="input_drift:z"):
        other.restore(detector.to_json())
    shorter = replace(_A, scores=_A.scores[:1], ends=_A.ends[:1], weights=_A.weights[:1])
    with pytest.raises(StateError, match="input_drift:a"):
        Detector((shorter, _B, _C, _D), _SOURCES, 4).restore(detector.to_json())


@pytest.mark.parametrize("late", [_B, _D])
def test_a_stream_added_later_leaves_what_the_others_know(late: Stream) -> None:
    added = replace(late, target="late", family="latency")
    detector = _fed()
    more = detector.extended(added, _SOURCES, 150)
    np.testing.assert_array_equal(more.evidence()[:4], detector.evidence())
    assert more.evidence()[4] == -np.inf
    assert more.evaluations == detector.evaluations
    for d in (detector, more):
        d.update(_SOME, 150, slots={5: 1.0})
    np.testing.assert_array_equal(more.evidence()[:4], detector.evidence())
    assert more.change_row(4) == 150
