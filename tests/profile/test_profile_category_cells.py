"""Categorical columns: what is named, what is only known, what is unseen or missing."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml.profile import CategoryCells, Reference
from otel_ml.profile.cells import cells_from_json, cells_to_json
from otel_ml.profile.values import category_key, category_keys


def _column(values: list[Any]) -> Any:
    out = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        out[i] = value
    return out


def _names(cells: CategoryCells, values: list[Any]) -> list[str]:
    return [cells.labels[c] for c in cells.codes(_column(values))[0].tolist()]


class _Broken:
    def __str__(self) -> str:
        raise RuntimeError("the application's own")


@pytest.mark.parametrize(
    ("item", "key"),
    [
        (3, "3"), (3.0, "3"), ("3", "3"), (np.int8(3), "3"), (np.float32(3), "3"), (-0.0, "0"),
        (True, "True"), (np.bool_(True), "True"), (1, "1"), (0.5, "0.5"), (float("inf"), "inf"),
        (None, None), (float("nan"), None), (np.float16("nan"), None), (Decimal("1.5"), "1.5"),
        ("\ud800", "\ud800"), ("a\x00b", "a\x00b"), ([1, 2], "[1, 2]"), (b"\xff", "b'\\xff'"),
        ("x" * 10_000_000, "x" * 200), (_Broken(), "_Broken"), (2**63, str(2**63)),
    ],
)  # fmt: skip
def test_keys_of_single_values(item: object, key: str | None) -> None:
    assert category_key(item) == key


def test_an_integer_too_long_to_write_has_a_key_of_its_own() -> None:
    assert category_key(10**400) == str(10**400)[:200]
    a, b = category_key(10**5000), category_key(-(10**5000))
    assert a is not None
    assert b is not None
    assert a.startswith("0x")
    assert a != b
    assert len(a) == 200


def test_the_key_of_a_value_does_not_depend_on_its_neighbours() -> None:
    items = [1, True, 1.0, "1", 0, False, -0.0, 10**15, 1e15, None, [1], np.int64(1)]
    for order in (items, items[::-1]):
        assert category_keys(_column(order)).tolist() == [category_key(i) for i in order]


@pytest.mark.parametrize(
    "column",
    [
        np.array([1.5, np.nan, 2.0, np.inf, 1.5]),
        np.array([1, 2, 2], dtype=">i2"),
        np.array([True, False]),
        np.array([1.5, np.nan], dtype=np.longdouble),
        np.array(["a", "b"]),
        np.array([b"a"]),
        np.array(["2020-01-01", "NaT"], dtype="M8[D]"),
        np.array([]),
    ],
)
def test_keys_of_a_column_are_those_of_its_values(column: Any) -> None:
    assert category_keys(column).tolist() == [category_key(v) for v in column.tolist()]


def test_known_rare_unseen_and_missing_are_told_apart() -> None:
    values = ["a"] * 50 + ["b"] * 30 + ["rare"] * 9 + [None] * 3
    cells = CategoryCells.build("c", _column(values), min_group=10)
    assert cells.categories == ("a", "b")
    got = _names(cells, ["a", "b", "rare", "new", None, float("nan"), ["a"], "\ud800"])
    assert got == ["a", "b", "other", "unseen", "missing", "missing", "unseen", "unseen"]
    assert cells_from_json(json.loads(json.dumps(cells_to_json(cells)))) == cells


def test_categories_called_like_a_defect_are_not_taken_for_it() -> None:
    values = ["missing"] * 20 + ["unseen"] * 20 + ["other"] * 20
    cells = CategoryCells.build("c", _column(values))
    assert len(set(cells.labels)) == cells.size
    got = _names(cells, ["missing", "unseen", "other", None, "new"])
    assert got == ["'missing'", "'unseen'", "'other'", "missing", "unseen"]


def test_a_column_of_many_values_is_open_ended_and_nothing_is_unseen_in_it() -> None:
    cells = CategoryCells.build("c", _column([f"user{i}" for i in range(500)] + ["bot"] * 100))
    assert cells.open_ended
    assert cells.categories == ("bot",)
    assert not cells.rare
    assert _names(cells, ["bot", "user1", "user9999", None]) == ["bot", "other", "other", "missing"]


def test_at_most_sixteen_categories_are_named_the_rest_is_known() -> None:
    cells = CategoryCells.build("c", _column([f"c{i:02d}" for i in range(30) for _ in range(20)]))
    assert cells.categories == tuple(f"c{i:02d}" for i in range(16))
    assert _names(cells, ["c15", "c16", "c29", "c30"]) == ["c15", "other", "other", "unseen"]


@pytest.mark.parametrize("values", [[], [None] * 20, [float("nan")]])
def test_a_column_without_a_value_makes_cells_that_count(values: list[Any]) -> None:
    cells = CategoryCells.build("c", _column(values))
    assert cells.categories == ()
    assert _names(cells, ["a", None]) == ["unseen", "missing"]


# texts that no number, name or key of the file can contain by accident
_words = st.text("αβγδ", min_size=6, max_size=6)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(_words, st.integers(1, 25)), max_size=8),
    st.lists(st.tuples(_words, st.integers(1, 25)), max_size=8),
    st.integers(1, 15),
)
def test_no_category_or_group_of_fewer_rows_is_in_the_saved_file(
    feature: list[tuple[str, int]], group: list[tuple[str, int]], k: int
) -> None:
    rows = [w for w, n in feature for _ in range(n)]
    slices = [w for w, n in group for _ in range(n)]
    n = max(len(rows), len(slices), 1)
    rows, slices = rows + ["αααααα"] * (n - len(rows)), slices + ["αααααα"] * (n - len(slices))
    reference = Reference.build(
        {"feature": _column(rows)},
        slices={"slice": _column(slices)},
        predictions=np.arange(n) % 2,
        labels=np.arange(n) % 2,
        model_name="m",
        min_group=k,
    )
    text = json.dumps(reference.to_json(), ensure_ascii=False)
    in_feature, in_slice = Counter(rows), Counter(slices)
    for word in {*rows, *slices}:
        if in_feature[word] < k and in_slice[word] < k:
            assert word not in text


def test_the_file_on_disk_names_no_rare_category(tmp_path: Path) -> None:
    values = ["common"] * 100 + ["nine rows"] * 9
    Reference.build({"c": values}, model_name="m").save(tmp_path / "r.json")
    text = (tmp_path / "r.json").read_text()
    assert "common" in text
    assert "nine rows" not in text
