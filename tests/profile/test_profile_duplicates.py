"""Repeated rows: the vectorised window agrees with a list that is looked through by hand."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from otel_ml.errors import DataError, StateError
from otel_ml.profile.duplicates import MOST_ROWS, RowMemory


def _objects(items: list[Any]) -> NDArray[Any]:
    out = np.empty(len(items), dtype=object)
    out[:] = items
    return out


def _by_hand(rows: list[Any], capacity: int) -> list[bool]:
    return [row in rows[max(i - capacity, 0) : i] for i, row in enumerate(rows)]


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 20),
    st.lists(st.lists(st.integers(0, 25), max_size=45), max_size=8),
)
def test_the_window_is_exact_across_batches_of_any_size(
    capacity: int, batches: list[list[int]]
) -> None:
    memory = RowMemory(capacity)
    found: list[bool] = []
    for batch in batches:
        columns = {"x": np.array(batch, dtype=float), "c": _objects([f"k{b % 3}" for b in batch])}
        found += memory.repeats(columns, len(batch)).tolist()
    assert found == _by_hand([row for batch in batches for row in batch], capacity)


@pytest.mark.parametrize("size", [1, 5, 30])
def test_lags_count_back_to_the_latest_equal_row(size: int) -> None:
    rows = np.random.default_rng(4).integers(0, 12, 300).tolist()
    memory = RowMemory(20)
    found: list[int] = []
    for i in range(0, 300, size):
        part = np.array(rows[i : i + size])
        found += memory.lags({"x": part}, len(part)).tolist()
    wanted = [
        next((lag for lag in range(1, min(i, 20) + 1) if rows[i - lag] == row), 0)
        for i, row in enumerate(rows)
    ]
    assert found == wanted


@pytest.mark.parametrize("size", [1, 8, 9, 1000, 9000])
def test_the_edge_of_the_window_at_full_size(size: int) -> None:
    rows = np.random.default_rng(5).integers(0, 6000, 12_000)
    memory = RowMemory()
    parts = [rows[i : i + size].astype(float) for i in range(0, len(rows), size)]
    found = np.concatenate([memory.repeats({"x": part}, len(part)) for part in parts])
    last: dict[int, int] = {}
    wanted = []
    for i, row in enumerate(rows.tolist()):
        wanted.append(i - last.get(row, -(10**9)) <= 4096)
        last[row] = i
    assert found.tolist() == wanted
    assert 0 < sum(wanted) < len(wanted)


_EQUAL: list[tuple[Any, Any]] = [
    (0.0, -0.0),
    (1, 1.0),
    (True, 1),
    ("1", 1.0),
    ("1.0", 1),
    (np.int64(3), 3.0),
    (np.bool_(True), 1),
    (Decimal("2.5"), 2.5),
    (None, math.nan),
    (2**53, 2.0**53),
    (2**53 + 1, str(2**53 + 1)),
    ([1, 2], [1, 2]),
]
_DIFFERENT: list[tuple[Any, Any]] = [
    (0.0, None),
    (1, 2),
    ("a", "A"),
    (2**53, 2**53 + 1),
    (10**150, 10**150 + 1),
    (math.inf, -math.inf),
    ("x" * 300, "x" * 299 + "y"),
    ("", None),
    ([1, 2], [1, 3]),
]


@pytest.mark.parametrize(("a", "b"), _EQUAL)
def test_values_that_count_as_equal(a: Any, b: Any) -> None:
    for first, second in ((a, b), (b, a)):
        memory = RowMemory()
        assert memory.repeats({"x": _objects([first, second])}, 2).tolist() == [False, True]


@pytest.mark.parametrize(("a", "b"), _DIFFERENT)
def test_values_that_are_told_apart(a: Any, b: Any) -> None:
    for first, second in ((a, b), (b, a)):
        memory = RowMemory()
        assert memory.repeats({"x": _objects([first, second])}, 2).tolist() == [False, False]


@pytest.mark.parametrize(
    ("column", "items"),
    [
        (np.array([1.5, np.nan, -0.0]), [1.5, None, 0]),
        (np.array([1.5, 2.0, 3.0], dtype=np.float32), [1.5, 2, "3"]),
        (np.array([7, 2**60, 2**60 + 1]), [7.0, 2**60, 2**60 + 1]),
        (np.array([7, 2**64 - 1], dtype=np.uint64), [7, 2**64 - 1]),
        (np.array([True, False]), [True, 0]),
        (np.array([1, 2], dtype="M8[s]").astype("M8[ns]"), [1.0, 2.0]),
        (np.array(["a", "2"]), ["a", 2.0]),
        (np.array([1, np.iinfo(np.int64).min]), [1.0, np.iinfo(np.int64).min]),
    ],
)
def test_a_column_of_another_type_has_the_same_rows(column: NDArray[Any], items: list[Any]) -> None:
    memory = RowMemory()
    assert not memory.repeats({"x": column}, len(column)).any()
    assert memory.repeats({"x": _objects(items)}, len(items)).all()


def test_names_matter_and_their_order_does_not() -> None:
    memory = RowMemory()
    a, b = np.array([1.0]), np.array([2.0])
    assert not memory.repeats({"a": a, "b": b}, 1).any()
    assert not memory.repeats({"a": b, "b": a}, 1).any()
    assert not memory.repeats({"a": a}, 1).any()
    assert memory.repeats({"b": b, "a": a}, 1).all()


def test_different_rows_are_never_called_repeats() -> None:
    rng = np.random.default_rng(1)
    memory = RowMemory()
    for _ in range(20):  # neighbouring whole numbers and coarse grids: many equal bits
        grid = rng.permutation(10_000)
        columns = {"i": grid // 100, "j": (grid % 100).astype(float)}
        memory = RowMemory(10_000)
        assert not memory.repeats(columns, len(grid)).any()


def test_a_restored_memory_goes_on_alike() -> None:
    rng = np.random.default_rng(2)
    memory = RowMemory(100)
    memory.repeats({"x": rng.integers(0, 90, 250)}, 250)
    again = RowMemory(100)
    again.restore(json.loads(json.dumps(memory.to_json())))
    more = rng.integers(0, 90, 60)
    found = memory.repeats({"x": more}, 60)
    assert found.any()
    assert found.tolist() == again.repeats({"x": more}, 60).tolist()
    assert memory.to_json() == again.to_json()


def test_a_smaller_memory_keeps_the_latest_rows() -> None:
    memory = RowMemory(50)
    memory.repeats({"x": np.arange(50.0)}, 50)
    small = RowMemory(10)
    small.restore(memory.to_json())
    assert small.repeats({"x": np.array([41.0])}, 1).all()
    assert not small.repeats({"x": np.array([39.0])}, 1).any()


def test_hashes_are_the_same_in_another_process() -> None:
    program = (
        "import numpy as np; from otel_ml.profile.duplicates import RowMemory; m = RowMemory();"
        "m.repeats({'x': np.array([1.5, 2.5]), 'c': np.array(['a', 'b'], dtype=object)}, 2);"
        "print(m.to_json()['hashes'])"
    )
    memory = RowMemory()
    memory.repeats({"x": np.array([1.5, 2.5]), "c": _objects(["a", "b"])}, 2)
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == memory.to_json()["hashes"]


def test_memory_is_bounded() -> None:
    memory = RowMemory(MOST_ROWS)
    for start in range(0, 100_000, 20_000):
        memory.repeats({"x": np.arange(start, start + 20_000)}, 20_000)
    assert memory._held.base is None
    assert memory._held.nbytes == 8 * MOST_ROWS <= 128 * 1024


def test_rows_without_columns_repeat_nothing() -> None:
    memory = RowMemory()
    assert memory.repeats({}, 3).tolist() == [False] * 3
    assert memory.repeats({"x": np.empty(0)}, 0).tolist() == []


@pytest.mark.parametrize("capacity", [0, MOST_ROWS + 1])
def test_a_capacity_out_of_range_is_refused(capacity: int) -> None:
    with pytest.raises(DataError, match=f"memory of {capacity} rows"):
        RowMemory(capacity)


def test_a_column_of_another_length_is_refused() -> None:
    with pytest.raises(DataError, match=r"column 'x' has shape \(2,\), expected \(3,\)"):
        RowMemory().repeats({"x": np.zeros(2)}, 3)


@pytest.mark.parametrize("data", [{}, {"hashes": "!"}, {"hashes": "AAAA"}])
def test_damaged_state_is_refused(data: dict[str, str]) -> None:
    with pytest.raises(StateError, match="'hashes'"):
        RowMemory().restore(data)
