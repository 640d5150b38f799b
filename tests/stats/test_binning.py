from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from otel_ml.errors import DataError
from otel_ml.stats.binning import MAX_CELLS, bin_codes, count_codes, quantile_edges, stack_edges

# Values at which comparisons go wrong if anything does.
_CORNERS = [0.0, -0.0, 5e-324, -5e-324, 1e-310, 2.0**53, 1.1, float(np.float32(1.1)), 1e308, -1e308]
_finite = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(_CORNERS)
_edges = st.lists(_finite, max_size=60).map(lambda values: np.unique(np.array(values, float)))


def _searched(matrix: NDArray[Any], edges: list[NDArray[np.float64]]) -> NDArray[np.uint8]:
    codes = np.empty(matrix.shape, np.uint8)
    for index, column in enumerate(edges):
        codes[:, index] = np.searchsorted(column, matrix[:, index].astype(float), side="left")
    return codes


@settings(max_examples=200)
@given(st.data(), st.lists(_edges, min_size=1, max_size=4))
def test_codes_are_those_of_a_binary_search(
    data: st.DataObject, edges: list[NDArray[np.float64]]
) -> None:
    near = [value for column in edges for value in column.tolist()]
    values = _finite | st.sampled_from([np.inf, -np.inf, *near, *np.nextafter(near, 1.0).tolist()])
    rows = data.draw(st.integers(0, 7))
    matrix = np.array(
        data.draw(st.lists(values, min_size=rows * len(edges), max_size=rows * len(edges)))
    )
    matrix = matrix.reshape(rows, len(edges)).astype(float)
    expected = _searched(matrix, edges)
    for ordered in (matrix, np.asfortranarray(matrix), np.repeat(matrix, 2, axis=0)[::2]):
        codes = bin_codes(ordered, edges)
        assert codes.dtype == np.uint8
        np.testing.assert_array_equal(codes, expected)
    np.testing.assert_array_equal(bin_codes(matrix, stack_edges(edges)), expected)


@pytest.mark.fault("B3", "B17")
@settings(max_examples=100)
@given(
    arrays(np.float32, (5, 2), elements=st.floats(width=32, allow_nan=False)),
    st.lists(_edges, min_size=2, max_size=2),
)
def test_float32_is_compared_exactly(
    matrix: NDArray[np.float32], edges: list[NDArray[np.float64]]
) -> None:
    edges = [np.unique(np.r_[e, matrix[0, i : i + 1].astype(float)]) for i, e in enumerate(edges)]
    edges = [column[np.isfinite(column)] for column in edges]
    np.testing.assert_array_equal(bin_codes(matrix, edges), _searched(matrix, edges))


@pytest.mark.parametrize("columns", [1, 31, 32, 200])
@pytest.mark.parametrize("bins", [2, 10, 41, 42, 256])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.bool_])
def test_every_path_agrees(columns: int, bins: int, dtype: type[Any]) -> None:
    rng = np.random.default_rng(columns * bins)
    matrix = (rng.normal(size=(257, columns)) * 3).astype(dtype)
    edges = [quantile_edges(rng.normal(size=2000) * 3, bins) for _ in range(columns)]
    edges[-1] = edges[-1][:1]
    assert len(edges[0]) in (bins - 1, 1)
    codes = bin_codes(matrix, edges)
    np.testing.assert_array_equal(codes, _searched(matrix, edges))
    counts = count_codes(codes, bins)
    expected = [np.bincount(codes[:, f], minlength=bins) for f in range(columns)]
    np.testing.assert_array_equal(counts, expected)


@pytest.mark.fault("B1")
@pytest.mark.parametrize("edges", [3, 60])
def test_missing_values_are_left_to_the_caller(edges: int) -> None:
    column = np.arange(float(edges))
    codes = bin_codes(np.array([[np.nan], [1.5]]), [column])
    assert codes.tolist() == [[0], [2]]


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([np.array([1.0, 1.0])], "column 0 are not finite and strictly increasing"),
        ([np.array([1.0]), np.array([2.0, 1.0])], "column 1 are not finite"),
        ([np.array([np.nan])], "column 0 are not finite"),
        ([np.array([np.inf])], "column 0 are not finite"),
        ([np.arange(float(MAX_CELLS))], "256 edges make more than 256 cells"),
    ],
)
def test_bad_edges_are_refused(edges: list[NDArray[np.float64]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        stack_edges(edges)


def test_a_matrix_of_other_columns_is_refused() -> None:
    with pytest.raises(DataError, match=r"shape \(1, 2\) does not fit edges of 1 columns"):
        bin_codes(np.zeros((1, 2)), [np.array([0.0])])


@pytest.mark.fault("B16")
@settings(max_examples=100)
@given(
    arrays(np.uint8, st.tuples(st.integers(0, 20), st.integers(1, 5)), elements=st.integers(0, 6))
)
def test_counts_add_up(codes: NDArray[np.uint8]) -> None:
    whole = count_codes(codes, 7)
    assert whole.dtype == np.int64
    assert whole.sum(axis=1).tolist() == [len(codes)] * codes.shape[1]
    half = len(codes) // 2
    np.testing.assert_array_equal(
        whole, count_codes(codes[:half], 7) + count_codes(codes[half:], 7)
    )
    np.testing.assert_array_equal(whole, count_codes(codes[::-1], 7))
    np.testing.assert_array_equal(whole, count_codes(np.asfortranarray(codes), 7))


def test_codes_beyond_the_cells_are_refused() -> None:
    with pytest.raises(DataError, match="codes from 0 to 7 do not fit 7 cells"):
        count_codes(np.array([[0, 7]]), 7)
    with pytest.raises(DataError, match="codes from -1"):
        count_codes(np.array([[0, -1]]), 7)


_any = st.floats() | st.sampled_from(_CORNERS) | st.integers(-3, 3).map(float)


@settings(max_examples=200)
@given(st.lists(_any, max_size=60), st.integers(2, 20))
def test_edges_are_increasing_values_with_no_empty_cell(values: list[float], bins: int) -> None:
    column = np.array(values, float)
    edges = quantile_edges(column, bins)
    assert len(edges) < bins
    assert np.all(np.isfinite(edges))
    assert np.all(edges[1:] > edges[:-1])
    assert not np.any(np.signbit(edges) & (edges == 0))
    finite = column[np.isfinite(column)]
    assert np.all(np.isin(edges, finite))
    if len(finite):
        counts = np.bincount(np.searchsorted(edges, finite), minlength=len(edges) + 1)
        assert counts.min() > 0
        heaviest = int(np.unique(finite, return_counts=True)[1].max())
        assert counts.max() <= -(-len(finite) // bins) + heaviest - 1
    np.testing.assert_array_equal(edges, quantile_edges(column[::-1], bins))


@settings(max_examples=100)
@given(st.lists(st.integers(-50, 50), min_size=1, max_size=80), st.integers(2, 12))
def test_edges_are_those_of_the_inverse_distribution_function(values: list[int], bins: int) -> None:
    ordered = sorted(values)
    oracle = set()
    for j in range(1, bins):
        # Smallest value with at least j / bins of the values at or below it, in whole numbers.
        oracle.add(next(v for i, v in enumerate(ordered) if (i + 1) * bins >= j * len(ordered)))
    expected = sorted(v for v in oracle if v < ordered[-1])
    assert quantile_edges(np.array(values), bins).tolist() == expected


@pytest.mark.fault("B14")
def test_degenerate_columns_have_no_edges() -> None:
    for column in ([], [3.0], [3.0] * 9, [np.nan, np.inf, -np.inf], [np.nan, 7.0, 7.0]):
        assert quantile_edges(np.array(column), 10).shape == (0,)


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(DataError, match="expected 2 to 256 bins, found 257"):
        quantile_edges(np.arange(9.0), 257)
    with pytest.raises(DataError, match="expected 2 to 256 bins, found 1"):
        quantile_edges(np.arange(9.0), 1)
    with pytest.raises(DataError, match=r"expected a column, found shape \(2, 2\)"):
        quantile_edges(np.zeros((2, 2)), 3)
