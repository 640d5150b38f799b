"""Numeric columns: every value falls into the cell a slow scalar rule names."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from otel_ml.profile.cells import (
    NumericCells,
    cells_from_json,
    cells_to_json,
    fixed_cells,
    moments,
)
from otel_ml.profile.values import numeric_values

_CORNERS = [0.0, -0.0, 5e-324, -5e-324, 1e308, -1e308, 1.7976931348623157e308, 2.0**63, 1e15]
_numbers = st.floats() | st.sampled_from([*_CORNERS, math.nan, math.inf, -math.inf])


def _cell(cells: NumericCells, value: float) -> str:
    """The cell of one value, by the words of the docstring."""
    if math.isnan(value):
        return "missing"
    if math.isinf(value):
        return "infinite"
    if value <= cells.bounds[0]:
        return "below_range"
    for i in range(1, len(cells.bounds)):
        if value <= cells.bounds[i]:
            return cells.labels[i]
    return "above_range"


def _names(cells: NumericCells, column: NDArray[Any]) -> list[str]:
    return [cells.labels[c] for c in cells.codes(column)[0].tolist()]


@settings(max_examples=200, deadline=None)
@given(st.lists(_numbers, max_size=60), st.lists(_numbers, max_size=30))
def test_codes_follow_the_scalar_rule_whatever_the_reference(
    reference: list[float], values: list[float]
) -> None:
    cells = NumericCells.build("x", np.array(reference, dtype=float))
    assert all(math.isfinite(b) for b in cells.bounds)
    assert list(cells.bounds) == sorted(set(cells.bounds))
    assert len(set(cells.labels)) == cells.size
    column = np.array(values + reference, dtype=float)
    codes, found = cells.codes(column)
    assert [cells.labels[c] for c in codes.tolist()] == [_cell(cells, v) for v in column.tolist()]
    finite = np.isfinite(column)
    np.testing.assert_array_equal(found[finite], column[finite])
    assert np.isnan(found[~finite]).all()
    assert np.isfinite(moments(found)).all()
    assert cells_from_json(cells_to_json(cells)) == cells


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400))
def test_the_reference_itself_lies_within_the_range_but_for_its_ends(values: list[float]) -> None:
    column = np.array(values)
    names = _names(NumericCells.build("x", column), column)
    assert names.count("below_range") <= 0.001 * len(values) + 1
    assert names.count("above_range") <= 0.001 * len(values) + 1
    assert not {"missing", "infinite", "not_a_number"} & set(names)


@pytest.mark.parametrize(
    "values",
    [
        [-1.7e308, 1.7e308] * 50,  # the spread overflows
        [1.7976931348623157e308] * 50,  # the largest float
        [-1.7976931348623157e308, 0.0, 1.0],
        (1e15 - np.arange(1.0, 101.0)).tolist(),  # nine digits do not tell them apart
        [0.0, 5e-324] * 50,
        [7.0] * 20,
        [-0.0, 0.0],
    ],
)
def test_bounds_are_finite_and_increase_at_the_limits_of_floats(values: list[float]) -> None:
    cells = NumericCells.build("x", np.array(values))
    assert np.isfinite(cells.bounds).all()
    assert list(cells.bounds) == sorted(set(cells.bounds))
    names = _names(cells, np.array(values))
    assert names.count("below_range") + names.count("above_range") <= 1


def test_a_constant_column_has_one_cell_for_its_value_and_one_on_either_side() -> None:
    cells = NumericCells.build("x", np.full(100, 3.0))
    assert _names(cells, np.array([2.0, 3.0, 4.0])) == [
        "below_range",
        cells.labels[1],
        "above_range",
    ]


@pytest.mark.parametrize("values", [[], [math.nan] * 5, [math.inf, -math.inf]])
def test_a_column_without_a_number_makes_cells_that_count(values: list[float]) -> None:
    cells = NumericCells.build("x", np.array(values))
    assert _names(cells, np.array([math.nan, math.inf])) == ["missing", "infinite"]


_FLOATS = [np.float16, np.float32, np.float64, np.longdouble, ">f4", ">f8"]
_INTS = [np.int8, np.uint8, np.int32, ">i4", np.int64, np.uint64, bool]


@pytest.mark.parametrize("dtype", [*_FLOATS, *_INTS])
def test_every_numeric_dtype_is_counted_like_float64(dtype: Any) -> None:
    cells = fixed_cells("x", [0.0, 1.0, 100.0])
    column = np.array([0, 1, 0, 1], dtype=dtype)
    codes, values = cells.codes(column)
    assert codes.tolist() == [0, 1, 0, 1]
    assert values.dtype == np.float64
    assert values.tolist() == [0.0, 1.0, 0.0, 1.0]


def test_numbers_beyond_float64_are_infinite_and_poison_nothing() -> None:
    cells = fixed_cells("x", [0.0, 1.0])
    column = np.array([2**63, 10**400, -(10**400), 2**64 - 1, Decimal("1e999")], dtype=object)
    assert _names(cells, column) == [
        "above_range",
        "infinite",
        "infinite",
        "above_range",
        "infinite",
    ]
    assert _names(cells, np.array([2**64 - 1], dtype=np.uint64)) == ["above_range"]
    huge = np.array([1e300], dtype=np.longdouble) * np.longdouble(1e300)
    assert _names(cells, huge) == ["infinite"]


def test_objects_are_numbers_where_they_say_so_and_a_defect_where_not() -> None:
    column = np.array(
        [True, np.bool_(False), Decimal("0.5"), Fraction(1, 4), "0.75", " 1e0 ", "3,5", "NaN",
         "", "none", None, math.nan, np.float32(0.5), [1], {"a": 1}, 1j, "\ud800", "a\x00b", b"1",
         Decimal("sNaN"), "9" * 10_000_000],
        dtype=object,
    )  # fmt: skip
    values, text = numeric_values(column)
    assert values[:6].tolist() == [1.0, 0.0, 0.5, 0.25, 0.75, 1.0]
    assert np.flatnonzero(text).tolist() == [6, 13, 14, 15, 16, 17, 19]
    assert np.flatnonzero(np.isnan(values) & ~text).tolist() == [7, 8, 9, 10, 11]
    assert values[18] == 1.0
    assert values[20] == math.inf


@pytest.mark.parametrize("unit", ["Y", "D", "s", "ms", "us", "ns"])
def test_times_become_seconds_and_nat_is_missing(unit: str) -> None:
    values, text = numeric_values(np.array(["1970-01-01", "NaT", "2020-01-01"], f"M8[{unit}]"))
    assert values[0] == 0.0
    assert np.isnan(values[1])
    assert values[2] == 1577836800.0
    assert not text.any()
    assert numeric_values(np.array([90, "NaT"], "m8[m]"))[0][0] == 5400.0


def test_years_beyond_the_range_of_nanoseconds_keep_their_order() -> None:
    values, _ = numeric_values(np.array(["0001-01-01", "1970-01-01", "9999-12-31"], "M8[D]"))
    assert values.tolist() == [-62135596800.0, 0.0, 253402214400.0]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats() | st.sampled_from(_CORNERS), max_size=50))
def test_moments_are_finite_and_those_of_the_clipped_values(values: list[float]) -> None:
    column = np.array(values, dtype=float)
    column[np.isinf(column)] = np.nan
    kept = [min(max(v, -1e100), 1e100) for v in column.tolist() if not math.isnan(v)]
    n, total, squares = moments(column).tolist()
    assert n == len(kept)
    scale = math.fsum(abs(v) for v in kept)
    assert total == pytest.approx(math.fsum(kept), rel=1e-12, abs=1e-12 * scale)
    assert squares == pytest.approx(math.fsum(v * v for v in kept), rel=1e-12)
