"""Learned alternatives are e-values against a ball of laws, chosen before the rows they judge."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml.monitors import Detector, Stream
from otel_ml.monitors.learned import HALF_LIVES, Learned
from otel_ml.types import FloatArray

_MEMORIES = len(HALF_LIVES)


def _stream(law: FloatArray, radius: float) -> Stream:
    b = len(law)
    return Stream(
        "input_drift",
        "inputs",
        "x",
        "x",
        "rows",
        law,
        np.zeros((0, b)),
        np.zeros((0, b)),
        np.zeros(0),
        tuple("abcdefghijkl"[:b]),
        radius=radius,
    )


def _learned(law: FloatArray, radius: float, width: int | None = None) -> Learned:
    return Learned([_stream(law, radius)], width or len(law))


def _step(learned: Learned, seen: FloatArray, law: FloatArray, design: float = 1.0) -> FloatArray:
    return learned.gains(seen[None, :], np.array([seen.sum()]), law[None, :], np.array([design]))


def _copy(learned: Learned, law: FloatArray, radius: float) -> Learned:
    other = _learned(law, radius)
    other.take(learned)
    return other


def _worst(p: FloatArray, values: FloatArray, eps: float) -> float:
    """The largest mean of `values` under a law within total variation `eps` of `p`.

    The linear programme has a greedy solution: take the mass off the smallest values, and put it
    on the largest.
    """
    law: FloatArray = p.copy()
    room = min(eps, float(1 - p[np.argmax(values)]))
    moved = 0.0
    for j in np.argsort(values):
        taken = min(float(law[j]), room - moved)
        law[j] -= taken
        moved += taken
        if moved >= room:
            break
    law[np.argmax(values)] += moved
    return float(law @ values)


def test_the_worst_law_is_that_of_a_linear_programme() -> None:
    from scipy.optimize import linprog

    rng = np.random.default_rng(0)
    for _ in range(20):
        b = int(rng.integers(2, 9))
        p, values = rng.dirichlet(np.ones(b)), rng.exponential(size=b)
        eps = float(rng.random() * 0.8)
        # variables: the law r and |r - p|
        eye = np.eye(b)
        upper = np.block([[eye, -eye], [-eye, -eye], [np.zeros((1, b)), np.ones((1, b))]])
        limit = np.concatenate([p, -p, [2 * eps]])
        whole = np.concatenate([np.ones(b), np.zeros(b)])[None, :]
        cost = np.concatenate([-values, np.zeros(b)])
        found = linprog(cost, A_ub=upper, b_ub=limit, A_eq=whole, b_eq=[1.0])
        best = float(values @ np.asarray(found.x)[:b])
        assert _worst(p, values, eps) == pytest.approx(best, abs=1e-7)


@st.composite
def _laws(draw: st.DrawFn) -> FloatArray:
    size = draw(st.integers(2, 12))
    masses = np.array(draw(st.lists(st.floats(1e-5, 1), min_size=size, max_size=size)))
    return np.asarray(masses / masses.sum())


@settings(max_examples=100, deadline=None)
@given(_laws(), st.floats(1e-6, 0.9), st.integers(0, 10**6), st.integers(0, 8))
def test_after_any_past_no_law_of_the_ball_gains_on_average(
    law: FloatArray, radius: float, seed: int, steps: int
) -> None:
    rng = np.random.default_rng(seed)
    learned = _learned(law, radius)
    for _ in range(steps):
        _step(learned, rng.multinomial(50, rng.dirichlet(np.ones(len(law)))).astype(float), law)
    hour = rng.dirichlet(np.ones(len(law))) + 1e-6  # the past need not have been of this hour
    for now in (law, hour / hour.sum()):
        values = np.array(
            [np.exp(_step(_copy(learned, law, radius), row, now)) for row in np.eye(len(law))]
        )
        for k in range(_MEMORIES):
            assert _worst(now, values[:, k], radius) <= 1 + 1e-9


@settings(max_examples=50, deadline=None)
@given(_laws(), st.integers(0, 10**6))
def test_what_a_row_is_worth_was_fixed_before_it_came(law: FloatArray, seed: int) -> None:
    """So the evidence of many rows is the sum over single rows, whatever the others are."""
    rng = np.random.default_rng(seed)
    learned = _learned(law, 0.05)
    for _ in range(3):
        _step(learned, rng.multinomial(50, rng.dirichlet(np.ones(len(law)))).astype(float), law)
    single = np.array([_step(_copy(learned, law, 0.05), row, law) for row in np.eye(len(law))])
    for _ in range(3):
        seen = rng.multinomial(50, rng.dirichlet(np.ones(len(law)))).astype(float)
        np.testing.assert_allclose(
            _step(_copy(learned, law, 0.05), seen, law), seen @ single, atol=1e-8
        )


def test_over_every_path_the_mean_of_the_product_stays_at_one() -> None:
    """Exhaustively: two cells, evaluations of one row, nine of them, and the worst law."""
    n, law = 9, np.array([0.7, 0.3])
    for rate in (0.2, 0.3, 0.35, 0.4):  # 0.1 around the law
        mean = np.zeros((n + 1, _MEMORIES))
        for path in itertools.product((0, 1), repeat=n):
            learned, product = _learned(law, 0.1), np.zeros(_MEMORIES)
            chance = math.prod(rate if yes else 1 - rate for yes in path)
            for step, yes in enumerate(path):
                product = product + _step(learned, np.array([1.0 - yes, yes]), law)
                mean[step + 1] += chance * np.exp(product)
        assert (mean[1:] <= 1 + 1e-9).all()
        assert (mean[1:] > 0.3).all()


@pytest.mark.parametrize("rate", [0.3, 0.4, 0.5])
@pytest.mark.parametrize("design", [1.0, 3.0])
def test_over_every_path_a_detectors_mean_grows_by_at_most_one(rate: float, design: float) -> None:
    """Against laws within 0.1 of the reference, and however much is damped."""
    n, rows, stream = 5, 3, _stream(np.array([0.6, 0.4]), 0.1)
    mean = np.zeros(n + 1)
    binomial = [math.comb(rows, k) * rate**k * (1 - rate) ** (rows - k) for k in range(rows + 1)]
    for path in itertools.product(range(rows + 1), repeat=n):
        detector = Detector((stream,), {"x": 0}, 2)
        chance = math.prod(binomial[k] for k in path)
        for step, yes in enumerate(path):
            detector.update(np.array([[rows - yes, yes]]), step, design=np.array([design]))
            mean[step + 1] += chance * math.exp(detector.total(detector.shares()))
    assert (mean <= np.arange(n + 1) * (1 + 1e-9)).all()
    assert mean[n] > 0.3 * n


def test_it_learns_a_shape_nobody_foresaw() -> None:
    rng = np.random.default_rng(3)
    law = np.full(12, 1 / 12)
    comb = np.where(np.arange(12) % 2, 1.4, 0.6) / 12  # mean and spread stay as they are
    total = np.zeros(_MEMORIES)
    learned = _learned(law, 0.02)
    for _ in range(60):
        total += _step(learned, rng.multinomial(50, comb).astype(float), law)
    # the most that anybody could gain per row who knows the law and the ball
    bound = 3000 * float(comb @ np.log(comb / law))
    assert (total > 0.3 * bound).all()
    assert (total < bound).all()


def test_the_long_memory_gains_where_the_short_one_only_loses() -> None:
    rng = np.random.default_rng(4)
    law = np.full(12, 1 / 12)
    comb = np.where(np.arange(12) % 2, 1.15, 0.85) / 12
    total = np.zeros(_MEMORIES)
    learned = _learned(law, 0.01)
    for _ in range(1500):
        total += _step(learned, rng.multinomial(50, comb).astype(float), law)
    assert total[-1] > 20
    assert total[-1] > total[0]


def test_dependent_rows_count_for_less() -> None:
    law = np.full(4, 0.25)
    seen = np.array([40.0, 4.0, 3.0, 3.0])
    once, many = _learned(law, 0.01), _learned(law, 0.01)
    _step(once, seen, law)
    _step(many, seen, law, design=1.25)
    np.testing.assert_allclose(many.seen * 1.25, once.seen)
    np.testing.assert_allclose(many.expected * 1.25, once.expected)
    np.testing.assert_allclose(
        _step(_copy(many, law, 0.01), seen, law, design=1.25) * 1.25,
        _step(_copy(many, law, 0.01), seen, law),
    )


def test_rows_that_may_be_of_the_same_session_are_learned_from_later() -> None:
    law = np.full(4, 0.25)
    seen = np.array([40.0, 4.0, 3.0, 3.0])
    learned = _learned(law, 0.01)
    for _ in range(3):  # 12 x 10 rows must have passed since
        assert (_step(learned, seen, law, design=10.0) <= 0).all()
    assert not learned.seen.any()
    _step(learned, seen, law, design=10.0)
    np.testing.assert_allclose(learned.seen[0], seen / 10 * np.ones((3, 1)))
    copy = _copy(learned, law, 0.01)
    assert (_step(learned, seen, law, design=10.0) == _step(copy, seen, law, design=10.0)).all()
    assert learned.to_json() == copy.to_json()


@pytest.mark.parametrize("interleaved", [1, 8])
def test_sessions_longer_than_an_evaluation_do_not_alarm(interleaved: int) -> None:
    """Sessions of 40 equal rows, ten rows an evaluation: 300 streams, 120 evaluations' worth.

    A sum crosses 2,000 in at most 120 / 2,000 of the streams; 34 of 300 would be the exact upper
    99.9 % limit of that.
    """
    rng = np.random.default_rng(7)
    streams, cells, rows, steps = 300, 12, 10, 600
    law = np.full((streams, cells), 1 / cells)
    learned = Learned([_stream(law[0], 0.02)] * streams, cells)
    level = np.full((streams, 3), -np.inf)
    crossed = np.zeros(streams, dtype=bool)
    current = rng.integers(cells, size=(streams, interleaved))
    left = rng.integers(1, 41, size=(streams, interleaved))
    every = np.arange(streams)
    for _ in range(steps):
        seen = np.zeros((streams, cells))
        for _ in range(rows):
            which = rng.integers(interleaved, size=streams)
            seen[every, current[every, which]] += 1
            left[every, which] -= 1
            over = left[every, which] == 0
            current[every[over], which[over]] = rng.integers(cells, size=int(over.sum()))
            left[every[over], which[over]] = 40
        gains = learned.gains(seen, seen.sum(axis=1), law, np.full(streams, 40.0), rows / 50)
        level = np.logaddexp(level, np.log(rows / 50)) + gains.reshape(streams, 3)
        crossed |= level.max(axis=1) > np.log(2000)
    assert crossed.sum() <= 34


def test_nothing_counted_is_nothing_learned_or_forgotten() -> None:
    law = np.full(4, 0.25)
    learned = _learned(law, 0.01)
    _step(learned, np.array([40.0, 4.0, 3.0, 3.0]), law)
    before = learned.to_json()
    assert (_step(learned, np.zeros(4), law) == 0).all()
    assert learned.to_json() == before


def test_cells_that_are_not_asked_about_have_no_say() -> None:
    law = np.array([0.5, 0.5, 0.0, 0.0])
    wide, narrow = _learned(law, 0.01), _learned(law[:2], 0.01)
    for seen in ([40.0, 10.0], [30.0, 20.0], [45.0, 5.0]):
        one = _step(wide, np.array([*seen, 0.0, 0.0]), law)
        np.testing.assert_allclose(one, _step(narrow, np.array(seen), law[:2]), atol=1e-12)


def test_it_is_reset_taken_over_and_restored() -> None:
    law = np.full((2, 3), 1 / 3)
    streams = [_stream(law[0], 0.02)] * 2
    learned = Learned(streams, 3)
    seen = np.array([[30.0, 10.0, 10.0], [5.0, 5.0, 40.0]])
    learned.gains(seen, seen.sum(axis=1), law, np.ones(2))
    again = Learned(streams, 3)
    again.restore(json.loads(json.dumps(learned.to_json(), allow_nan=False)))
    np.testing.assert_array_equal(again.seen, learned.seen)
    np.testing.assert_array_equal(again.expected, learned.expected)
    more = Learned([*streams, streams[0]], 3)
    more.take(learned)
    np.testing.assert_array_equal(more.seen[:2], learned.seen)
    assert not more.seen[2].any()
    learned.reset(np.array([1]))
    assert not learned.seen[1].any()
    assert not learned.expected[1].any()
    np.testing.assert_array_equal(learned.seen[0], again.seen[0])
