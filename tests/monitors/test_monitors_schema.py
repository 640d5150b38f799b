"""A column that vanishes, appears or is renamed is seen at once; usual gaps and extras are not."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from otel_ml.monitors.detector import Detector
from otel_ml.monitors.schema import SCHEMA_CELLS, SCHEMA_SOURCE, Schema, schema
from otel_ml.profile import Reference

_OK, _MISSING, _NEW, _BOTH = range(4)
_rng = np.random.default_rng(0)
_REFERENCE = Reference.build(
    {
        "age": _rng.normal(40, 10, 2000),
        "city": _rng.choice(["a", "b"], 2000),
        "income": np.where(_rng.random(2000) < 0.3, np.nan, _rng.normal(size=2000)),
        "empty": np.full(2000, np.nan),
    },
    model_name="m",
)
_THRESHOLD = math.log(2000 / 0.02)  # one per 100,000 rows, of a fiftieth of the budget


def _evaluations(cells: list[int]) -> int | None:
    """Evaluations of fifty rows until the stream alarms."""
    detector = Detector([schema()], {SCHEMA_SOURCE: 0}, len(SCHEMA_CELLS))
    for i, cell in enumerate(cells):
        counts = np.zeros((1, len(SCHEMA_CELLS)), dtype=np.int64)
        counts[0, cell] = 50
        detector.update(counts, 50 * i)
        if detector.evidence()[0] > _THRESHOLD:
            return i + 1
    return None


@pytest.mark.parametrize("cell", [_MISSING, _NEW, _BOTH])
def test_it_alarms_within_two_evaluations_also_after_a_long_time(cell: int) -> None:
    assert _evaluations([cell] * 2) is not None
    found = _evaluations([_OK] * 5000 + [cell] * 2)
    assert found is not None
    assert found > 5000


def test_no_row_of_another_kind_is_no_evidence() -> None:
    assert _evaluations([_OK] * 20_000) is None


def test_one_row_in_two_hundred_is_tolerated() -> None:
    detector = Detector([schema()], {SCHEMA_SOURCE: 0}, len(SCHEMA_CELLS))
    rng = np.random.default_rng(1)
    for i in range(20_000):  # a million rows
        counts = np.array([rng.multinomial(50, [0.995, 0.003, 0.001, 0.001])])
        detector.update(counts, 50 * i)
        assert detector.evidence()[0] < _THRESHOLD


def test_every_kind_of_change_is_named() -> None:
    watched = Schema(_REFERENCE)
    assert watched.cell(50, (), ()) == _OK
    assert watched.cell(50, ("age",), ()) == _MISSING
    assert (watched.missing, watched.new) == (("age",), ())
    assert watched.cell(50, (), ("height",)) == _NEW
    assert watched.cell(50, ("city",), ("town",)) == _BOTH
    assert (watched.missing, watched.new) == (("city",), ("town",))
    assert watched.cell(50, (), ()) == _OK
    assert (watched.missing, watched.new) == ((), ())


def test_columns_that_were_there_from_the_beginning_are_no_change() -> None:
    watched = Schema(_REFERENCE)
    cells = [watched.cell(1, (), ("id", "time")) for _ in range(60)]
    assert set(cells) == {_OK}
    assert watched.cell(1, (), ("id", "time", "height")) == _NEW
    assert watched.new == ("height",)


def test_a_column_renamed_before_the_first_row_is_both() -> None:
    assert Schema(_REFERENCE).cell(50, ("city",), ("town",)) == _BOTH


def test_a_value_that_is_often_missing_may_be_left_out_of_single_rows() -> None:
    watched = Schema(_REFERENCE)
    rng = np.random.default_rng(2)
    cells = [watched.cell(1, ("income",) * (rng.random() < 0.3), ()) for _ in range(20_000)]
    assert cells.count(_MISSING) <= 2
    # but not of all
    gone = [watched.cell(1, ("income",), ()) for _ in range(50)]
    assert gone[-1] == _MISSING
    assert watched.cell(50, ("income",), ()) == _MISSING


def test_what_never_has_a_value_can_be_left_out() -> None:
    watched = Schema(_REFERENCE)
    assert {watched.cell(50, ("empty",), ()) for _ in range(20)} == {_OK}


def test_names_are_bounded() -> None:
    watched = Schema(_REFERENCE)
    watched.cell(50, (), ())
    watched.cell(50, ("age",), tuple(f"c{i}" for i in range(5000)))
    assert len(watched.new) == 20
    crowded = Schema(_REFERENCE)
    crowded.cell(1, (), tuple(f"c{i}" for i in range(5000)))
    assert len(crowded.to_json()["always"]) == 1000


def test_it_goes_on_after_a_restart() -> None:
    watched = Schema(_REFERENCE)
    watched.cell(50, (), ("id",))
    for _ in range(5):
        watched.cell(1, ("income",), ("id",))
    again = Schema(_REFERENCE)
    again.restore(json.loads(json.dumps(watched.to_json())))
    steps = [("income",)] * 20 + [()] + [("income",)] * 3
    for missing in steps:
        assert again.cell(1, missing, ("id",)) == watched.cell(1, missing, ("id",))
