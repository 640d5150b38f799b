from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from otel_ml.demo.data import COLUMNS, People
from otel_ml.demo.faults import TIMELINE, TOTAL_ROWS, Fault, phases
from otel_ml.semconv.attributes import MlIncidentCause


def fault(cause: str) -> Fault:
    return next(one for one in TIMELINE if one.cause == cause)


def changed(one: Fault, people: People) -> tuple[np.ndarray, np.ndarray]:
    before = people.features[one.start : one.end]
    kept = before.copy()
    after = one.corrupt(before, np.random.default_rng(0))
    np.testing.assert_array_equal(before, kept)  # the clean rows stay clean
    return before, after


def test_phases_cover_every_row_once() -> None:
    stretches = phases(TOTAL_ROWS)
    assert stretches[0][0] == 0
    assert stretches[-1][1] == TOTAL_ROWS
    assert all(a[1] == b[0] for a, b in pairwise(stretches))
    assert [f.cause for _, _, f in stretches if f is not None] == [f.cause for f in TIMELINE]


def test_phases_of_a_short_replay() -> None:
    assert phases(6_100) == [(0, 6_000, None), (6_000, 6_100, TIMELINE[0])]
    assert phases(100) == [(0, 100, None)]


def test_first_fault_comes_after_a_quiet_stretch() -> None:
    assert TIMELINE[0].start >= 5_000
    assert 15_000 <= TOTAL_ROWS <= 30_000


def test_causes_are_in_the_registry() -> None:
    known = {v for k, v in vars(MlIncidentCause).items() if k.isupper()}
    assert {one.cause for one in TIMELINE} <= known
    assert len({one.cause for one in TIMELINE}) == 6


@pytest.mark.parametrize(
    ("cause", "column", "share"),
    [("unit_change", "AGEP", None), ("missing_values", "SCHL", 0.3), ("new_category", "MAR", 0.15)],
)
def test_rows_change_in_one_column(
    cause: str, column: str, share: float | None, people: People
) -> None:
    before, after = changed(fault(cause), people)
    touched = ~((before == after) | (np.isnan(before) & np.isnan(after)))
    index = COLUMNS.index(column)
    assert not np.delete(touched, index, axis=1).any()
    if share is None:
        np.testing.assert_array_equal(after[:, index], before[:, index] * 12)
    else:
        assert abs(touched[:, index].mean() - share) < 0.05


def test_new_code_was_never_seen(people: People) -> None:
    assert not (people.features[:, COLUMNS.index("MAR")] == 6).any()


def test_labels_change_for_one_group_only(people: People) -> None:
    one = fault("subgroup_performance_drop")
    rows, labels = people.features[one.start : one.end], people.labels[one.start : one.end]
    flipped = one.mislabel(rows, labels, np.random.default_rng(0)) != labels
    women = rows[:, COLUMNS.index("SEX")] == 2
    assert not flipped[~women].any()
    assert 0.4 < flipped[women].mean() < 0.5
    assert one.in_labels
    assert not fault("unit_change").in_labels
