from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml.errors import DataError
from otel_ml.stats.intervals import (
    confidence_sequence,
    difference_interval,
    log_evidence,
    ratio_interval,
    wilson,
)


def _most(runs: int, alpha: float) -> int:
    """Misses that a method with a miss rate of alpha exceeds once in 10,000 times."""
    return int(scipy.stats.binom.ppf(1 - 1e-4, runs, alpha))


def _runs(p: float, runs: int, rows: int, seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.random((runs, rows)) < p, axis=1), np.arange(1, rows + 1)


@settings(max_examples=200)
@given(st.integers(0, 500), st.integers(0, 500), st.sampled_from([0.001, 0.05, 0.3]))
def test_wilson_against_scipy(k: int, more: int, alpha: float) -> None:
    low, high = wilson(k, k + more, alpha=alpha)
    if k + more == 0:
        assert (float(low), float(high)) == (0, 1)
        return
    oracle = scipy.stats.binomtest(k, k + more).proportion_ci(1 - alpha, method="wilson")
    assert float(low) == pytest.approx(oracle.low, abs=1e-12)
    assert float(high) == pytest.approx(oracle.high, abs=1e-12)


@settings(max_examples=100)
@given(st.integers(0, 3000), st.integers(0, 3000), st.floats(0.001, 0.999))
def test_evidence_is_the_formula(k: int, more: int, p: float) -> None:
    expected = (
        scipy.special.betaln(0.5 + k, 0.5 + more)
        - scipy.special.betaln(0.5, 0.5)
        - k * math.log(p)
        - more * math.log1p(-p)
    )
    assert float(log_evidence(k, k + more, p)) == pytest.approx(expected, rel=1e-9, abs=1e-8)


@pytest.mark.parametrize("centre", [None, 0.2, 0.9])
@pytest.mark.parametrize("n", [1, 2, 7, 20])
def test_evidence_has_mean_one_when_nothing_changed(centre: float | None, n: int) -> None:
    k = np.arange(n + 1)
    for p in (0.1, 0.5, 0.77):
        evidence = np.exp(log_evidence(k, n, p, centre=centre))
        mean = float((scipy.stats.binom.pmf(k, n, p) * evidence).sum())
        assert mean == pytest.approx(1, rel=1e-9)


@settings(max_examples=150)
@given(
    st.integers(0, 400),
    st.integers(0, 400),
    st.sampled_from([0.01, 0.05, 0.5]),
    st.none() | st.floats(0, 1),
)
def test_ends_are_where_the_evidence_is_one_in_alpha(
    k: int, more: int, alpha: float, centre: float | None
) -> None:
    n = k + more
    low, high = (float(end) for end in confidence_sequence(k, n, alpha=alpha, centre=centre))
    assert 0 <= low <= high <= 1
    bound = -math.log(alpha)
    if n == 0:
        assert (low, high) == (0, 1)
        return
    assert low <= k / n <= high
    assert (low == 0) if k == 0 else (low > 0)
    assert (high == 1) if k == n else (high < 1)
    for end, inside in ((low, low + 1e-9), (high, high - 1e-9)):
        if 0 < end < 1:
            assert float(log_evidence(k, n, end, centre=centre)) == pytest.approx(bound, abs=1e-6)
            assert float(log_evidence(k, n, inside, centre=centre)) < bound


def test_the_two_groups_may_be_told_apart_by_symmetry() -> None:
    low, high = confidence_sequence([20, 80], 100)
    assert low[0] == pytest.approx(1 - high[1], abs=1e-12)
    assert high[0] == pytest.approx(1 - low[1], abs=1e-12)


@pytest.mark.parametrize("p", [0.02, 0.3, 0.9])
def test_sequence_holds_at_every_look_and_wilson_does_not(p: float) -> None:
    runs, rows = 400, 1000
    k, n = _runs(p, runs, rows, seed=int(p * 100))
    # Every number of rows from 1 to 1,000 is a look; pairs that repeat are computed once.
    pairs, back = np.unique(k * (rows + 1) + n, return_inverse=True)
    low, high = confidence_sequence(pairs // (rows + 1), pairs % (rows + 1))
    # An interval with strict inequality: an end at p itself is not a miss.
    missed = ((low > p) | (high < p))[back].reshape(k.shape).any(axis=1).sum()
    assert missed <= _most(runs, 0.05)
    low, high = wilson(k, n)
    assert ((low > p) | (high < p)).any(axis=1).sum() > 0.4 * runs


def test_sequence_with_a_wrong_expectation_holds_too() -> None:
    runs = 400
    k, n = _runs(0.3, runs, 600, seed=9)
    pairs, back = np.unique(k * 1000 + n, return_inverse=True)
    low, high = confidence_sequence(pairs // 1000, pairs % 1000, centre=0.9, strength=500)
    assert ((low > 0.3) | (high < 0.3))[back].reshape(k.shape).any(axis=1).sum() <= _most(
        runs, 0.05
    )


def test_a_good_expectation_shortens_the_interval() -> None:
    plain = np.subtract(*confidence_sequence(800, 1000)[::-1])
    assert np.subtract(*confidence_sequence(800, 1000, centre=0.8)[::-1]) < 0.9 * plain
    # A wrong one is averaged with the prior that expects nothing, so it costs ln 2 at most.
    assert np.subtract(*confidence_sequence(800, 1000, centre=0.1)[::-1]) < 1.1 * plain


@pytest.mark.parametrize(("n", "times"), [(100, 1.68), (100_000, 2.16)])
def test_the_price_of_looking_is_as_the_notes_say(n: int, times: float) -> None:
    k = n // 2
    ratio = np.subtract(*confidence_sequence(k, n)[::-1]) / np.subtract(*wilson(k, n)[::-1])
    assert ratio == pytest.approx(times, abs=0.01)


def _least(k1: int, n1: int, k2: int, n2: int, line: Any, start: float, stop: float) -> float:
    """Return the least evidence against any pair of rates on a line, by brute force."""

    def evidence(p: Any) -> Any:
        first, second = (np.clip(rate, 0, 1) for rate in line(p))
        return log_evidence(k1, n1, first) + log_evidence(k2, n2, second)

    grid = np.linspace(start, stop, 2001)
    values = evidence(grid)
    best = int(np.argmin(values))
    found = scipy.optimize.minimize_scalar(
        evidence,
        bounds=(grid[max(best - 1, 0)], grid[min(best + 1, 2000)]),
        method="bounded",
        options={"xatol": 1e-12},
    )
    return float(min(values[best], found.fun))


_CASES = [
    (80, 100, 50, 100),
    (3, 10, 4, 12),
    (5, 1000, 20, 900),
    (0, 30, 12, 30),
    (30, 30, 12, 40),
    (30, 30, 40, 40),
    (7, 9, 3000, 4000),
]


@pytest.mark.parametrize("case", _CASES)
def test_ends_of_a_difference_are_where_the_least_evidence_is_one_in_alpha(
    case: tuple[int, int, int, int],
) -> None:
    for end in difference_interval(*case):
        d = float(end)
        if abs(d) < 1:
            least = _least(*case, lambda p, d=d: (p + d, p), max(0, -d), min(1, 1 - d))
            assert least == pytest.approx(math.log(20), abs=1e-6)


@pytest.mark.parametrize("case", _CASES)
def test_ends_of_a_ratio_are_where_the_least_evidence_is_one_in_alpha(
    case: tuple[int, int, int, int],
) -> None:
    for end in ratio_interval(*case):
        r = float(end)
        if 0 < r < math.inf:
            # Along the smaller of the two rates, so that the line stays inside the square.
            line = (lambda p, r=r: (p, p / r)) if r > 1 else (lambda p, r=r: (r * p, p))
            assert _least(*case, line, 0, 1) == pytest.approx(math.log(20), abs=1e-6)


@settings(max_examples=100)
@given(st.tuples(*[st.integers(0, 300)] * 4))
def test_invariants_of_contrasts(counts: tuple[int, int, int, int]) -> None:
    k1, more1, k2, more2 = counts
    first, second = (k1, k1 + more1), (k2, k2 + more2)
    low, high = (float(end) for end in difference_interval(*first, *second))
    assert -1 <= low <= high <= 1
    if first[1] and second[1]:
        assert low - 1e-9 <= k1 / first[1] - k2 / second[1] <= high + 1e-9
    swapped = [float(end) for end in difference_interval(*second, *first)]
    assert [-low, -high] == pytest.approx(swapped[::-1], abs=1e-9)
    mirrored = difference_interval(more1, first[1], more2, second[1])
    assert [-low, -high] == pytest.approx([float(end) for end in mirrored][::-1], abs=1e-9)
    low, high = (float(end) for end in ratio_interval(*first, *second))
    assert 0 <= low <= high
    assert (high == math.inf) == (k2 == 0)
    assert (low == 0) == (k1 == 0)
    if k2 and first[1]:
        assert low * (1 - 1e-9) <= (k1 / first[1]) / (k2 / second[1]) <= high * (1 + 1e-9)


def test_contrasts_of_empty_groups_follow_from_the_other_one() -> None:
    low, high = confidence_sequence(5, 10)
    found = difference_interval(5, 10, 0, 0)
    assert [float(end) for end in found] == pytest.approx([float(low) - 1, float(high)], abs=1e-9)
    assert [float(end) for end in difference_interval(0, 0, 0, 0)] == pytest.approx([-1, 1])
    assert [float(end) for end in ratio_interval(0, 0, 0, 0)] == [0, math.inf]
    ratio = ratio_interval(0, 0, 5, 10)
    assert [float(end) for end in ratio] == pytest.approx([0, 1 / float(low)], rel=1e-9)


def test_large_counts_stay_finite() -> None:
    n = 10**12
    for low, high in (
        difference_interval(n // 2, n, n // 4, n),
        ratio_interval(n // 2, n, n // 4, n),
        confidence_sequence(n // 2, n),
    ):
        assert math.isfinite(low)
        assert 0 < high - low < 1e-4


def test_difference_and_ratio_hold_at_every_look() -> None:
    runs, rows = 400, 300
    k1, n = _runs(0.6, runs, rows, seed=21)
    k2, _ = _runs(0.4, runs, rows, seed=22)
    low, high = difference_interval(k1, n, k2, n)
    assert ((low > 0.2) | (high < 0.2)).any(axis=1).sum() <= _most(runs, 0.05)
    low, high = ratio_interval(k1, n, k2, n)
    assert ((low > 1.5) | (high < 1.5)).any(axis=1).sum() <= _most(runs, 0.05)


@pytest.mark.parametrize("interval", [wilson, confidence_sequence])
def test_bad_counts_are_refused(interval: Any) -> None:
    for k, n in ((-1, 3), (4, 3), (math.nan, 3), (1, math.inf)):
        with pytest.raises(DataError, match="successes are not between 0 and the trials"):
            interval(k, n)
    for alpha in (0.0, 1.0, math.nan):
        with pytest.raises(DataError, match="alpha is"):
            interval(1, 3, alpha=alpha)


def test_bad_rates_are_refused() -> None:
    with pytest.raises(DataError, match="a rate is not between 0 and 1"):
        log_evidence(1, 3, 50)
    with pytest.raises(DataError, match="the centre is not between 0 and 1"):
        confidence_sequence(1, 3, centre=80)
    with pytest.raises(DataError, match="successes are not between"):
        difference_interval(1, 3, 4, 3)
    with pytest.raises(DataError, match="successes are not between"):
        ratio_interval(4, 3, 1, 3)
