"""The increments are e-values: their mean is at most one under every law of the null, exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from otel_ml.monitors.evidence import (
    increments,
    location_spread,
    rate_increments,
    smoothed,
    spikes,
    tolerance,
    upper_rate,
)
from otel_ml.types import FloatArray, IntArray

_EXACT = 1e-9


def _worst(p: FloatArray, values: FloatArray, eps: float) -> float:
    """The largest mean of `values` under a law within total variation `eps` of `p`.

    The linear programme has a greedy solution: take the mass off the smallest values, and put it
    on the largest.
    """
    law: FloatArray = p.copy()
    room = min(eps, float(1 - p[np.argmax(values)]))
    moved = 0.0
    for j in np.argsort(values):
        taken = min(law[j], room - moved)
        law[j] -= taken
        moved += taken
        if moved >= room:
            break
    law[np.argmax(values)] += moved
    return float(law @ values)


@st.composite
def _laws(draw: st.DrawFn, cells: int, *, zeros: bool) -> FloatArray:
    weight = st.floats(1e-6, 1.0)
    masses = np.array(
        draw(st.lists(weight | st.just(0.0) if zeros else weight, min_size=cells, max_size=cells))
    )
    if not masses.any():
        masses[0] = 1.0
    return np.asarray(masses / masses.sum())


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(2, 20), st.floats(0.0, 0.9))
def test_no_law_of_the_ball_gains_on_average(data: st.DataObject, cells: int, eps: float) -> None:
    p = data.draw(_laws(cells, zeros=False))
    own = data.draw(st.lists(_laws(cells, zeros=True), min_size=1, max_size=4))
    alternatives = np.concatenate([location_spread(p), spikes(p), np.array(own)])
    logs = increments(p, alternatives, eps)
    assert np.isfinite(logs).all()
    for values in np.exp(logs):
        assert _worst(p, values, eps) <= 1 + _EXACT
    # any other law of the ball is no worse than the worst
    other = data.draw(_laws(cells, zeros=True))
    distance = 0.5 * np.abs(other - p).sum()
    if distance > 0:
        inside = p + min(1.0, eps / distance) * (other - p)
        assert (np.exp(logs) @ inside <= 1 + _EXACT).all()


def test_the_worst_law_is_that_of_a_linear_programme() -> None:
    from scipy.optimize import linprog

    rng = np.random.default_rng(0)
    for _ in range(20):
        b = int(rng.integers(2, 9))
        p, values, eps = (
            rng.dirichlet(np.ones(b)),
            rng.exponential(size=b),
            float(rng.random() * 0.8),
        )
        # variables: the law r and |r - p|
        eye = np.eye(b)
        upper = np.block([[eye, -eye], [-eye, -eye], [np.zeros((1, b)), np.ones((1, b))]])
        limit = np.concatenate([p, -p, [2 * eps]])
        whole = np.concatenate([np.ones(b), np.zeros(b)])[None, :]
        cost = np.concatenate([-values, np.zeros(b)])
        found = linprog(cost, A_ub=upper, b_ub=limit, A_eq=whole, b_eq=[1.0])
        assert _worst(p, values, eps) == pytest.approx(
            float(values @ np.asarray(found.x)[:b]), abs=1e-7
        )


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(2, 8), st.floats(0.0, 0.5))
def test_each_alternative_has_the_clips_that_grow_fastest(
    data: st.DataObject, cells: int, eps: float
) -> None:
    p, q = data.draw(_laws(cells, zeros=False)), data.draw(_laws(cells, zeros=False))
    ratio = q / p
    ordered = np.sort(ratio)
    best = -math.inf
    for low in ordered[: max(cells // 2, 1)]:
        for high in ordered[cells // 2 :]:
            clipped = np.maximum(np.minimum(np.maximum(ratio, low), high), 1e-12)
            e = clipped / (p @ clipped + eps * (clipped.max() - clipped.min()))
            best = max(best, float(q @ np.log(e)))
    logs = increments(p, q[None, :], eps)
    assert len(logs) == (best > 1e-4)
    if len(logs):
        assert float(q @ logs[0]) == pytest.approx(best, rel=1e-9)


def test_an_alternative_inside_the_ball_is_left_out() -> None:
    p = np.full(10, 0.1)
    near = p.copy()
    near[0], near[1] = 0.11, 0.09
    assert len(increments(p, near[None, :], 0.02)) == 0
    assert len(increments(p, near[None, :], 0.0)) == 1


@settings(max_examples=200, deadline=None)
@given(st.floats(1e-6, 0.98), st.floats(0.0, 1.0))
def test_no_rate_below_the_bound_gains_on_average(p1: float, share: float) -> None:
    e = np.exp(rate_increments(p1))
    assert len(e) >= 1
    for rate in (p1 * share, p1, 0.0):
        assert ((1 - rate) * e[:, 0] + rate * e[:, 1] <= 1 + _EXACT).all()
    assert (e[:, 1] > 1).all()
    assert (e[:, 0] < 1).all()


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 10**6), st.floats(0, 1), st.floats(0, 0.1), st.sampled_from([1.0, 2.0]))
def test_the_upper_rate_is_wilsons_bound_and_the_slack(
    rows: int, share: float, slack: float, z: float
) -> None:
    events = round(rows * share)
    bound = upper_rate(events, rows, slack, z)
    rate = events / rows
    assert min(rate + slack, 1.0) <= bound + _EXACT
    assert 0 < bound <= 1.0
    raw = bound - slack
    if (events + 1) / (rows + 2) < raw - 1e-6 and bound < 1.0 - _EXACT:
        # Wilson's bound is the rate whose own standard errors reach down to what was seen
        assert (raw - rate) ** 2 == pytest.approx(z * z * raw * (1 - raw) / rows, rel=1e-6)


@pytest.mark.parametrize("p1", [0.981, 1.0])
def test_what_is_nearly_always_so_is_not_asked_for(p1: float) -> None:
    assert rate_increments(p1).shape == (0, 2)


def test_a_rate_of_nothing_is_not_taken_for_certain() -> None:
    assert upper_rate(0, 0, 0.01) == pytest.approx(0.51)
    assert upper_rate(0, 100, 0.0) >= 1 / 102
    assert upper_rate(100, 100, 0.5) == 1.0


@settings(max_examples=100, deadline=None)
@given(arrays(np.int64, st.integers(1, 30), elements=st.integers(0, 10**9)))
def test_the_predictive_law_is_positive_and_sums_to_one(counts: IntArray) -> None:
    law = smoothed(counts)
    assert (law > 0).all()
    assert law.sum() == pytest.approx(1.0)
    assert (np.argsort(law, kind="stable") == np.argsort(counts, kind="stable")).all()


@pytest.mark.parametrize("rows", [500, 5000])
def test_the_tolerance_is_the_floor_and_the_mean_distance_of_a_sample(rows: int) -> None:
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(14))
    drawn = rng.multinomial(rows, p, size=4000) / rows
    distance = 0.5 * np.abs(drawn - p).sum(axis=1)
    se = distance.std() / 4000**0.5
    # the normal approximation of a mean absolute deviation is exact to O(1/rows)
    assert tolerance(p, rows, 0.0) == pytest.approx(distance.mean(), abs=5 * se + 0.05 / rows**0.5)
    assert tolerance(p, rows, 0.03) == pytest.approx(tolerance(p, rows, 0.0) + 0.03)


def test_alternatives_are_laws_of_both_signs() -> None:
    p = np.random.default_rng(2).dirichlet(np.ones(14))
    for laws in (location_spread(p), spikes(p)):
        assert (laws > 0).all()
        np.testing.assert_allclose(laws.sum(axis=1), 1.0)
    middle = location_spread(p) @ np.arange(14)
    assert (middle[0:8:2] > p @ np.arange(14)).all()
    assert (middle[1:8:2] < p @ np.arange(14)).all()
