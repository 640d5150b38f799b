"""The bets are e-values: their mean is at most one under the law and all tilts up to their end."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from otel_ml.monitors.evidence import (
    LOCATION_TILTS,
    UNSURE,
    Bets,
    category_bets,
    joined,
    location_bets,
    lower_rate,
    normal_scores,
    rate_bets,
    smoothed,
    spread_bets,
    tolerance,
    upper_rate,
)
from otel_ml.types import FloatArray, IntArray

_EXACT = 1e-9


def _tilted(p: FloatArray, tilt: FloatArray) -> FloatArray:
    weight = p * np.exp(tilt - tilt.max())
    return np.asarray(weight / weight.sum())


def _values(p: FloatArray, bets: Bets) -> list[FloatArray]:
    """E-value of one row by alternative and cell."""
    out = []
    for score, end in zip(bets.scores, bets.ends, strict=True):
        null = _tilted(p, end)
        out.append(np.exp(score) / float(null @ np.exp(score)))
    return out


def _growth(p: FloatArray, bets: Bets) -> list[float]:
    """Mean log e-value of a row under the alternative that each bet is on."""
    return [
        float(_tilted(p, end + score) @ np.log(e))
        for score, end, e in zip(bets.scores, bets.ends, _values(p, bets), strict=True)
    ]


def _all(counts: IntArray, floor: float) -> tuple[FloatArray, Bets]:
    p, rows = smoothed(counts), float(counts.sum())
    parts = [
        location_bets(p, rows, floor),
        spread_bets(p, rows, floor),
        category_bets(p, counts, rows, floor),
    ]
    return p, joined(parts, len(p))


_counts = arrays(
    np.int64,
    st.integers(2, 18),
    elements=st.integers(0, 3000) | st.integers(0, 3),
    fill=st.nothing(),
).filter(lambda c: c.sum() > 0)


@settings(max_examples=150, deadline=None)
@given(_counts, st.sampled_from([0.0, 0.02, 0.1]), st.floats(0.0, 1.0))
def test_no_law_between_the_reference_and_the_end_gains_on_average(
    counts: IntArray, floor: float, share: float
) -> None:
    p, bets = _all(counts, floor)
    for end, e in zip(bets.ends, _values(p, bets), strict=True):
        assert np.isfinite(e).all()
        for part in (0.0, share, 1.0):
            assert _tilted(p, part * end) @ e <= 1 + _EXACT


@settings(max_examples=100, deadline=None)
@given(_counts, st.sampled_from([0.0, 0.02, 0.1]))
def test_under_its_own_alternative_a_bet_grows(counts: IntArray, floor: float) -> None:
    p, bets = _all(counts, floor)
    assert all(g > -_EXACT for g in _growth(p, bets))  # a bet on next to nothing rounds to nought


def test_of_many_cells_and_few_rows_no_bet_is_on_the_wrong_side_of_the_law() -> None:
    counts = np.array([10, *[0] * 17])
    p = smoothed(counts)
    assert p[0] < lower_rate(10, 10, 0.0, UNSURE)
    for e in _values(p, category_bets(p, counts, 10.0, 0.0)):
        assert p @ e <= 1 + _EXACT


@st.composite
def _questions(draw: st.DrawFn) -> tuple[FloatArray, IntArray]:
    size = draw(st.integers(2, 9))
    masses = np.array(draw(st.lists(st.floats(1e-4, 1), min_size=size, max_size=size)))
    yes = np.arange(size) < draw(st.integers(1, size - 1))
    return masses / masses.sum(), yes.astype(np.int64)


@settings(max_examples=150, deadline=None)
@given(_questions(), st.floats(0.001, 0.95), st.floats(0.01, 0.99), st.floats(0, 1))
def test_a_bet_on_a_rate_is_exact_against_every_rate_of_the_null(
    question: tuple[FloatArray, IntArray], end: float, rate: float, share: float
) -> None:
    p, held = question
    yes = held > 0
    bets = rate_bets(p, yes, end, [rate])
    if abs(rate - end) <= 1e-9 or rate > 0.98:
        assert len(bets.scores) == 0
        return
    [e] = _values(p, bets)
    assert np.ptp(e[yes]) <= _EXACT * e[yes].max()  # cells that give one answer weigh the same
    assert np.ptp(e[~yes]) <= _EXACT * e[~yes].max()
    e_yes, e_no = float(e[yes][0]), float(e[~yes][0])
    assert (1 - end) * e_no + end * e_yes == pytest.approx(1.0, abs=1e-7)
    assert e_yes == pytest.approx(rate / end, rel=1e-6)
    assert e_no == pytest.approx((1 - rate) / (1 - end), rel=1e-6)
    inside = share * end if rate > end else end + share * (1 - end)
    assert (1 - inside) * e_no + inside * e_yes <= 1 + 1e-7


def test_what_cannot_be_asked_gives_no_bet() -> None:
    p, one = np.array([0.5, 0.3, 0.2]), np.array([True, False, False])
    assert len(rate_bets(p, one, 0.3, [0.3, 0.99, 0.0, 1.0]).scores) == 0
    assert len(rate_bets(p, one, 0.3, [0.5, 0.1]).scores) == 2
    assert len(rate_bets(p, one & False, 0.3, [0.5]).scores) == 0
    assert len(rate_bets(p, one | True, 0.3, [0.5]).scores) == 0
    for end in (0.0, 0.98, 1.0):
        assert len(rate_bets(p, one, end, [0.5]).scores) == 0
    for bets in (location_bets(np.ones(1), 1e3, 0.02), spread_bets(np.ones(1), 1e3, 0.02)):
        assert bets.scores.shape == bets.ends.shape == (0, 1)  # what does not vary cannot move


def test_a_category_is_bet_on_both_ways() -> None:
    counts = np.array([5000, 3000, 1500, 500])
    p = smoothed(counts)
    bets = category_bets(p, counts, 10_000.0, 0.02)
    for j in range(4):
        about = [
            _tilted(p, end + score)[j]
            for end, score in zip(bets.ends, bets.scores, strict=True)
            if np.argmax(np.abs(score)) == j
        ]
        assert sum(q > p[j] + 0.02 for q in about) == 3
        assert sum(q < p[j] - 0.02 for q in about) == 2


def test_a_category_too_rare_to_vanish_is_bet_on_upwards_only() -> None:
    counts = np.array([9990, 10])
    p = smoothed(counts)
    bets = category_bets(p, counts, 10_000.0, 0.02)
    about = [score for score in bets.scores if np.argmax(np.abs(score)) == 1]
    assert len(about) == 3
    assert all(score[1] > 0 for score in about)


def _sizes(p: FloatArray, bets: Bets) -> list[float]:
    """How far each alternative lies from the reference, in total variation."""
    return [
        0.5 * float(np.abs(_tilted(p, end + score) - p).sum())
        for end, score in zip(bets.ends, bets.scores, strict=True)
    ]


def _reach(p: FloatArray, bets: Bets) -> float:
    """Total variation of the farthest end."""
    return max(0.5 * float(np.abs(_tilted(p, end) - p).sum()) for end in bets.ends)


@pytest.mark.parametrize("floor", [0.0, 0.02, 0.05, 0.1, 0.3])
def test_alternatives_nearer_than_the_floor_are_left_out(floor: float) -> None:
    p = np.full(12, 1 / 12)
    location = location_bets(p, 1e9, floor)
    spread = spread_bets(p, 1e9, floor)
    # a tilt of spread is no longer in proportion to its total variation where it is so large
    for bets in (location, spread) if floor < 0.3 else (location,):
        assert all(size > floor for size in _sizes(p, bets))
        for end in bets.ends:  # and the null reaches as far as the floor, about
            assert 0.5 * np.abs(_tilted(p, end) - p).sum() == pytest.approx(
                floor, rel=0.12, abs=1e-4
            )
    assert len(location.scores) == {0.0: 8, 0.02: 8, 0.05: 6, 0.1: 4, 0.3: 2}[floor]


@pytest.mark.parametrize("kind", [location_bets, spread_bets])
def test_a_smaller_reference_gives_farther_ends(kind: type) -> None:
    p = np.full(12, 1 / 12)
    reach = [_reach(p, kind(p, rows, 0.02)) for rows in (300, 1000, 10_000, 1e9)]
    assert reach == sorted(reach, reverse=True)
    assert reach[0] > reach[-1] * 1.5


def test_a_smaller_reference_gives_farther_ends_of_categories() -> None:
    share = np.array([0.5, 0.3, 0.15, 0.05])
    reach: list[float] = []
    for rows in (300, 1000, 10_000, 1_000_000):
        counts = np.round(share * rows).astype(np.int64)
        p = smoothed(counts)
        reach.append(_reach(p, category_bets(p, counts, float(rows), 0.02)))
    assert reach == sorted(reach, reverse=True)
    assert reach[-1] == pytest.approx(0.02, abs=0.002)


def test_locations_and_spreads_move_what_they_name() -> None:
    p = np.random.default_rng(2).dirichlet(np.full(14, 5.0))
    z = normal_scores(p)
    assert [p @ z, p @ np.square(z)] == pytest.approx([0.0, 1.0], abs=1e-12)
    assert (np.diff(z) > 0).all()
    place = location_bets(p, 1e6, 0.02)
    tilts = ((place.ends + place.scores) @ np.sign(z)) / np.abs(z).sum()
    np.testing.assert_allclose(tilts, [sign * t for t in LOCATION_TILTS for sign in (1, -1)])
    means = [float(_tilted(p, e + s) @ z) for e, s in zip(place.ends, place.scores, strict=True)]
    assert min(means[::2]) > 0.1
    assert max(means[1::2]) < -0.1
    wide = spread_bets(p, 1e6, 0.02)
    spreads = [
        float(_tilted(p, e + s) @ np.square(z)) for e, s in zip(wide.ends, wide.scores, strict=True)
    ]
    assert min(spreads[::2]) > 1.1
    assert max(spreads[1::2]) < 0.9


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 10**6), st.floats(0, 1), st.floats(0, 0.1), st.sampled_from([1.0, 1.5, 2.0]))
def test_upper_and_lower_rate_are_wilsons_bounds_and_the_slack(
    rows: int, share: float, slack: float, z: float
) -> None:
    events = round(rows * share)
    upper, lower = upper_rate(events, rows, slack, z), lower_rate(events, rows, slack, z)
    rate = events / rows
    assert 0 <= lower <= max(rate - slack, 0.0) + _EXACT
    assert min(rate + slack, 1.0) <= upper + _EXACT
    assert 0 < upper <= 1.0
    # a bound is the rate whose own standard errors reach to what was seen
    raw = upper - slack
    if (events + 1) / (rows + 2) < raw - 1e-6 and upper < 1.0 - _EXACT:
        assert (raw - rate) ** 2 == pytest.approx(z * z * raw * (1 - raw) / rows, rel=1e-6)
    raw = lower + slack
    if lower > 1e-6:
        assert (raw - rate) ** 2 == pytest.approx(
            z * z * raw * (1 - raw) / rows, rel=1e-6, abs=1e-12
        )


def test_a_rate_of_nothing_is_not_taken_for_certain() -> None:
    assert upper_rate(0, 0, 0.01) == pytest.approx(0.51)
    assert upper_rate(0, 100, 0.0) >= 1 / 102
    assert (upper_rate(100, 100, 0.5), lower_rate(0, 0, 0.01)) == (1.0, 0.0)
    assert lower_rate(0, 100, 0.0) == pytest.approx(0.0, abs=_EXACT)


@pytest.mark.parametrize("rate", [0.05, 0.3])
def test_the_bounds_hold_as_often_as_their_standard_errors_say(rate: float) -> None:
    rng = np.random.default_rng(5)
    events = rng.binomial(500, rate, 20_000)
    above = np.mean([upper_rate(int(k), 500, 0.0, UNSURE) < rate for k in events])
    below = np.mean([lower_rate(int(k), 500, 0.0, UNSURE) > rate for k in events])
    nominal = 1 - NormalDist().cdf(UNSURE)
    # Wilson's one-sided coverage is off by up to about half a binomial step
    step = 0.5 / math.sqrt(500 * rate * (1 - rate) * 2 * math.pi)
    for missed in (above, below):
        assert abs(missed - nominal) <= step + 4 * math.sqrt(nominal / 20_000)


@settings(max_examples=100, deadline=None)
@given(
    arrays(np.int64, st.integers(1, 30), elements=st.integers(0, 10**9)),
    st.sampled_from([1.0, 4.0]),
)
def test_the_predictive_law_is_positive_and_sums_to_one(counts: IntArray, design: float) -> None:
    law = smoothed(counts, design)
    assert (law > 0).all()
    assert law.sum() == pytest.approx(1.0)
    assert (np.diff(law[np.argsort(counts, kind="stable")]) >= -1e-15).all()


def test_rows_that_repeat_one_another_say_less_about_the_law() -> None:
    counts = np.array([90, 10, 0])
    np.testing.assert_allclose(smoothed(counts, 10.0), smoothed(np.array([9, 1, 0])))


@pytest.mark.parametrize("rows", [500, 5000])
def test_the_tolerance_is_the_floor_and_the_mean_distance_of_a_sample(rows: int) -> None:
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(14))
    drawn = rng.multinomial(rows, p, size=4000) / rows
    distance = 0.5 * np.abs(drawn - p).sum(axis=1)
    se = distance.std() / 4000**0.5
    assert tolerance(p, rows, 0.0) == pytest.approx(distance.mean(), abs=5 * se + 0.05 / rows**0.5)
    assert tolerance(p, rows, 0.03) == pytest.approx(tolerance(p, rows, 0.0) + 0.03)
    assert tolerance(p, 0.0, 0.5) == 0.9
