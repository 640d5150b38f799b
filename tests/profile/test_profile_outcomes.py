"""Confusion counts per group, against a slow loop."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml.profile import OVERALL, CategoryCells, GroupLayout, Groups, NumericCells
from otel_ml.types import IntArray

_SEX = Groups("sex", CategoryCells("sex", ("f", "m")))
_AGE = Groups("age", NumericCells("age", (0.0, 30.0, 60.0)))
_values = st.sampled_from(["no", "yes", "maybe", None])
_rows = st.lists(
    st.tuples(
        _values,
        _values,
        st.sampled_from(["f", "m", "x", None]),
        st.floats(-10, 99) | st.just(np.nan),
    ),
    max_size=60,
)


@settings(max_examples=100, deadline=None)
@given(_rows, st.integers(0, 60))
def test_counts_are_those_of_a_slow_loop_and_add_up(
    rows: list[tuple[str | None, str | None, str | None, float]], cut: int
) -> None:
    layout = GroupLayout(("no", "yes"), (_SEX, _AGE))

    def count(part: list[tuple[str | None, str | None, str | None, float]]) -> IntArray:
        columns = list(zip(*part, strict=True)) or [(), (), (), ()]
        arrays = [np.array(c, dtype=object) for c in columns]
        groups = [_SEX.codes(arrays[2]), _AGE.codes(arrays[3])]
        return layout.count(layout.class_codes(arrays[0]), layout.class_codes(arrays[1]), groups)

    slow = {
        (a, g, p, t): 0 for a, g in layout.names for p in layout.classes for t in layout.classes
    }
    for predicted, actual, sex, age in rows:
        if predicted not in layout.classes or actual not in layout.classes:
            continue
        slow[OVERALL, OVERALL, predicted, actual] += 1
        if sex in ("f", "m"):
            slow["sex", sex, predicted, actual] += 1
        if not np.isnan(age):
            band = next(
                (
                    label
                    for label, top in zip(_AGE.labels, (0.0, 30.0, 60.0), strict=False)
                    if age <= top
                ),
                "above_range",
            )
            slow["age", band, predicted, actual] += 1
    counted = count(rows)
    got = {
        (a, g, p, t): int(counted[i, j, k])
        for i, (a, g) in enumerate(layout.names)
        for j, p in enumerate(layout.classes)
        for k, t in enumerate(layout.classes)
    }
    assert got == slow
    np.testing.assert_array_equal(count(rows[:cut]) + count(rows[cut:]), counted)


def test_the_layout_comes_back_from_json() -> None:
    layout = GroupLayout(("0", "1", "2"), (_SEX, _AGE))
    again = GroupLayout.from_json(json.loads(json.dumps(layout.to_json())))
    assert again == layout
    assert again.names == layout.names
    assert layout.zeros().shape == (1 + 2 + 4, 3, 3)


def test_a_class_called_none_is_not_a_missing_label() -> None:
    layout = GroupLayout(("None", "some"), ())
    assert layout.class_codes(np.array(["None", None, "some"], dtype=object)).tolist() == [0, -1, 1]


def test_bands_too_close_for_six_digits_have_names_of_their_own() -> None:
    column = 1.7e9 + np.arange(1000.0)
    names = Groups("t", NumericCells.build("t", column, bins=4)).labels
    assert len(set(names)) == len(names)
