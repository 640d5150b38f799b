from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from otel_ml.errors import DataError
from otel_ml.stats.distance import (
    chi_square,
    hellinger,
    jensen_shannon,
    ks_binned,
    psi,
    total_variation,
    wasserstein_binned,
)

Distance = Callable[[Any, Any], Any]

UNORDERED: list[Distance] = [
    psi,
    jensen_shannon,
    hellinger,
    total_variation,
    lambda p, q: chi_square(p, q).statistic,
]


def _spaced(p: Any, q: Any) -> Any:
    return wasserstein_binned(p, q, np.arange(np.shape(p)[-1]) ** 1.5)


ORDERED: list[Distance] = [ks_binned, _spaced]
BOUNDED: list[Distance] = [jensen_shannon, hellinger, total_variation, ks_binned]
# Statistics of two samples that do not change when both totals are scaled apart.
SHARES: list[Distance] = [jensen_shannon, hellinger, total_variation, ks_binned, _spaced]

_cells = st.integers(1, 12)
_counts = st.integers(0, 5) | st.integers(0, 10**9)


@st.composite
def _two(draw: st.DrawFn) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    cells = draw(_cells)
    p, q = (
        np.array(draw(st.lists(_counts, min_size=cells, max_size=cells)), np.int64)
        for _ in range(2)
    )
    assume(p.sum() and q.sum())
    return p, q


def _slow(p: NDArray[np.int64], q: NDArray[np.int64]) -> dict[str, float]:
    n, m, cells = int(p.sum()), int(q.sum()), len(p)
    smooth = [
        ((a + 0.5) / (n + cells / 2), (b + 0.5) / (m + cells / 2))
        for a, b in zip(p.tolist(), q.tolist(), strict=True)
    ]
    share = [(a / n, b / m) for a, b in zip(p.tolist(), q.tolist(), strict=True)]
    return {
        "psi": math.fsum((b - a) * math.log(b / a) for a, b in smooth),
        "hellinger": math.sqrt(math.fsum((math.sqrt(a) - math.sqrt(b)) ** 2 for a, b in share) / 2),
        "total_variation": math.fsum(abs(a - b) for a, b in share) / 2,
        "ks": max(
            abs(math.fsum(a for a, _ in share[: i + 1]) - math.fsum(b for _, b in share[: i + 1]))
            for i in range(cells)
        ),
    }


@pytest.mark.fault("B15")
@settings(max_examples=200)
@given(_two())
def test_against_slow_references_and_scipy(
    two: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> None:
    p, q = two
    slow = _slow(p, q)
    assert float(psi(p, q)) == pytest.approx(slow["psi"], rel=1e-9, abs=1e-12)
    assert float(hellinger(p, q)) == pytest.approx(slow["hellinger"], rel=1e-9, abs=1e-9)
    assert float(total_variation(p, q)) == pytest.approx(slow["total_variation"], abs=1e-12)
    assert float(ks_binned(p, q)) == pytest.approx(slow["ks"], abs=1e-12)
    oracle = float(scipy.spatial.distance.jensenshannon(p, q, base=2))
    # scipy takes the root of a difference that may cancel to a negative number.
    assert float(jensen_shannon(p, q)) == pytest.approx(
        0 if math.isnan(oracle) else oracle, abs=1e-7
    )


@pytest.mark.fault("B15")
@settings(max_examples=100)
@given(_two(), st.floats(-1e6, 1e6), st.floats(0.001, 1e3))
def test_wasserstein_against_scipy(
    two: tuple[NDArray[np.int64], NDArray[np.int64]], start: float, step: float
) -> None:
    p, q = two
    x = start + step * np.arange(len(p)) ** 1.5
    distance = scipy.stats.wasserstein_distance(x, x, p / p.sum(), q / q.sum())
    mean = np.average(x, weights=p)
    sigma = math.sqrt(np.average((x - mean) ** 2, weights=p))
    if np.count_nonzero(p) > 1:
        found = float(wasserstein_binned(p, q, x))
        assert found == pytest.approx(distance / sigma, rel=1e-6, abs=1e-6)
    elif np.array_equal(p > 0, q > 0):
        assert float(wasserstein_binned(p, q, x)) == 0
    else:
        assert math.isnan(float(wasserstein_binned(p, q, x)))


@pytest.mark.fault("B15")
@settings(max_examples=150)
@given(_two())
def test_chi_square_against_scipy(two: tuple[NDArray[np.int64], NDArray[np.int64]]) -> None:
    p, q = two
    used = (p + q) > 0
    result = chi_square(p, q)
    assert int(result.dof) == used.sum() - 1
    if used.sum() == 1:
        assert (float(result.statistic), float(result.p_value)) == (0, 1)
        return
    oracle = scipy.stats.chi2_contingency(np.stack([p[used], q[used]]), correction=False)
    assert float(result.statistic) == pytest.approx(float(oracle.statistic), rel=1e-8, abs=1e-8)
    assert float(result.p_value) == pytest.approx(float(oracle.pvalue), rel=1e-6, abs=1e-290)


@settings(max_examples=100)
@given(_two(), st.integers(1, 1000))
def test_nothing_changed_is_zero(
    two: tuple[NDArray[np.int64], NDArray[np.int64]], times: int
) -> None:
    p, _ = two
    for distance in UNORDERED:
        assert float(distance(p, p)) == pytest.approx(0, abs=1e-15)
    for distance in SHARES:
        if distance is not _spaced or np.count_nonzero(p) > 1:
            assert float(distance(p, p * times)) == pytest.approx(0, abs=1e-7)


@pytest.mark.fault("B15")
@settings(max_examples=100)
@given(_two(), st.randoms())
def test_invariants(two: tuple[NDArray[np.int64], NDArray[np.int64]], random: Any) -> None:
    p, q = two
    order = list(range(len(p)))
    random.shuffle(order)
    for distance in UNORDERED:
        value = float(distance(p, q))
        assert math.isfinite(value)
        assert value >= 0
        assert value == pytest.approx(float(distance(q, p)), rel=1e-9, abs=1e-12)
        assert value == pytest.approx(float(distance(p[order], q[order])), rel=1e-6, abs=1e-7)
    assert float(ks_binned(p, q)) == pytest.approx(float(ks_binned(q, p)), abs=1e-12)
    for distance in BOUNDED:
        assert 0 <= float(distance(p, q)) <= 1
    variation = float(total_variation(p, q))
    assert float(ks_binned(p, q)) <= variation + 1e-12
    # Le Cam's inequalities.
    h = float(hellinger(p, q))
    assert h**2 - 1e-9 <= variation <= h * math.sqrt(max(2 - h**2, 0)) + 1e-9


@settings(max_examples=60)
@given(
    st.integers(1, 6).flatmap(
        lambda b: st.lists(st.lists(_counts, min_size=b, max_size=b), min_size=6, max_size=6)
    )
)
def test_streams_at_once_are_each_stream_alone(rows: list[list[int]]) -> None:
    p, q = np.array(rows[:3]), np.array(rows[3:])
    for distance in [*UNORDERED, *ORDERED]:
        together = distance(p, q)
        assert together.shape == (3,)
        alone = [float(distance(a, b)) for a, b in zip(p, q, strict=True)]
        np.testing.assert_allclose(together, alone, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(distance(p[0], q), [float(distance(p[0], b)) for b in q])


@pytest.mark.fault("B14")
@pytest.mark.parametrize("distance", [*UNORDERED, *ORDERED])
def test_an_empty_side_has_no_distance(distance: Distance) -> None:
    assert math.isnan(float(distance([0, 0], [1, 2])))
    assert math.isnan(float(distance([1, 2], [0, 0])))
    assert math.isnan(float(distance([0, 0], [0, 0])))
    assert math.isnan(float(distance(np.empty(0), np.empty(0))))
    mixed = distance([[0, 0], [1, 2]], [[1, 2], [1, 2]])
    assert math.isnan(mixed[0])
    assert mixed[1] == pytest.approx(0, abs=1e-15)


@pytest.mark.fault("B14")
def test_an_empty_side_has_no_p_value() -> None:
    assert math.isnan(float(chi_square([0, 0], [1, 2]).p_value))


@pytest.mark.fault("B15")
@pytest.mark.parametrize("distance", [*UNORDERED, *ORDERED])
def test_zero_cells_are_fine(distance: Distance) -> None:
    assert math.isfinite(float(distance([5, 0, 1], [0, 7, 0])))


@pytest.mark.parametrize("distance", BOUNDED)
def test_nothing_in_common_is_one(distance: Distance) -> None:
    assert float(distance([5, 3, 0, 0], [0, 0, 1, 9])) == pytest.approx(1)


@pytest.mark.fault("B15")
@pytest.mark.parametrize("distance", [*UNORDERED, *ORDERED])
@pytest.mark.parametrize(
    ("p", "q", "message"),
    [
        ([1, 2], [1, 2, 3], "not of the same cells"),
        ([1, -1], [1, 2], "negative or not finite"),
        ([1, 1], [1, math.nan], "negative or not finite"),
        ([1, math.inf], [1, 1], "negative or not finite"),
    ],
)
def test_bad_counts_are_refused(distance: Distance, p: Any, q: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        distance(p, q)


def test_bad_positions_are_refused() -> None:
    with pytest.raises(DataError, match="1 positions for 2 cells"):
        wasserstein_binned([1, 2], [1, 2], [0.0])
    with pytest.raises(DataError, match="not finite and increasing"):
        wasserstein_binned([1, 2], [1, 2], [1.0, 0.0])
    with pytest.raises(DataError, match="not finite and increasing"):
        wasserstein_binned([1, 2], [1, 2], [0.0, np.inf])


def test_behaviour_when_nothing_changed_is_as_the_notes_say() -> None:
    rng = np.random.default_rng(7)
    p = np.array([0.05, 0.1, 0.15, 0.2, 0.2, 0.15, 0.1, 0.05])
    n, m = 4000, 1000
    reference, current = rng.multinomial(n, p, 4000), rng.multinomial(m, p, 4000)
    both = 1 / n + 1 / m
    dof = len(p) - 1
    # Each mean is over 4,000 draws, so its own error is about 1 %.
    assert psi(reference, current).mean() == pytest.approx(dof * both, rel=0.05)
    squares = jensen_shannon(reference, current) ** 2
    assert squares.mean() == pytest.approx(dof * both / (8 * math.log(2)), rel=0.05)
    assert (hellinger(reference, current) ** 2).mean() == pytest.approx(dof * both / 8, rel=0.05)
    expected = np.sqrt(p * (1 - p) * both / (2 * math.pi)).sum()
    assert total_variation(reference, current).mean() == pytest.approx(expected, rel=0.05)
    p_values = chi_square(reference, current).p_value
    for level in (0.05, 0.5):
        assert (p_values <= level).mean() == pytest.approx(level, abs=0.02)
    bound = math.sqrt(-math.log(0.05 / 2) * both / 2)
    assert (ks_binned(reference, current) > bound).mean() <= 0.05


def test_a_shift_is_a_distance_in_standard_deviations() -> None:
    rng = np.random.default_rng(8)
    values = rng.normal(10, 2, 200_000)
    edges = np.linspace(0, 22, 221)
    middles = (edges[1:] + edges[:-1]) / 2
    reference = np.histogram(values, edges)[0]
    current = np.histogram(values + 1.5, edges)[0]
    assert float(wasserstein_binned(reference, current, middles)) == pytest.approx(0.75, rel=0.01)
