"""Labels are counted where they belong; those of a learned reference's own rows become its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from otel_ml.labelled import Labelled
from otel_ml.monitors.calibration import calibration
from otel_ml.monitors.performance import label_sources, performance
from otel_ml.profile import Reference
from otel_ml.profile.coder import encode
from otel_ml.profile.tables import LabelledRows, label_tables
from otel_ml.types import Batch, IntArray

_N = 4000


def _columns(rng: np.random.Generator, n: int) -> dict[str, Any]:
    return {"x": rng.normal(size=n), "g": rng.choice(np.array(["a", "b"], dtype=object), n)}


def _binary(labels: bool) -> Reference:
    rng = np.random.default_rng(0)
    columns = _columns(rng, _N)
    scores = 1 / (1 + np.exp(-columns["x"]))
    truth = (rng.random(_N) < scores).astype(int)
    made = Reference.build(
        columns,
        scores=scores,
        labels=truth if labels else None,
        sensitive=["g"],
        model_name="m",
        source="data" if labels else "traffic",
    )
    if not labels:
        return made
    layout = made.label_layout
    rows = LabelledRows(
        (scores >= 0.5).astype(np.int16),
        truth.astype(np.int16),
        scores,
        np.full(_N, np.nan),
        (layout.groups[0].codes(columns["g"]),),
    )
    return replace(made, tables=label_tables("binary", layout, rows))


def _regression() -> Reference:
    rng = np.random.default_rng(0)
    return Reference.build(
        {"x": rng.normal(size=_N)},
        predictions=rng.normal(size=_N),
        task="regression",
        model_name="m",
        source="traffic",
    )


_GIVEN = _binary(labels=True)
_LEARNED = _binary(labels=False)
_LEARNED_REGRESSION = _regression()


def _expect(
    labelled: Labelled, rng: np.random.Generator, start: int, n: int
) -> tuple[list[str], list[str], Batch]:
    """Predictions that wait for their labels; their ids and labels."""
    columns = _columns(rng, n)
    ids = [f"r{start + i}" for i in range(n)]
    if labelled.reference.task == "regression":
        values = rng.normal(size=n)
        batch = Batch(n, {"x": columns["x"]}, predictions=values, ids=ids)
        truth = [str(v) for v in (values + rng.normal(size=n)).tolist()]
    else:
        scores = 1 / (1 + np.exp(-columns["x"]))
        batch = Batch(n, columns, scores=scores, ids=ids)
        truth = ["1" if hit else "0" for hit in (rng.random(n) < scores).tolist()]
    labelled.wait(batch, encode(labelled.reference, batch), start)
    return ids, truth, batch


def _judge(
    labelled: Labelled,
    ids: Sequence[str],
    truth: Sequence[str],
    spans: Sequence[tuple[int, int]] = (),
) -> tuple[int, dict[str, list[int]]]:
    first, counts = labelled.judge(labelled.join.labels(ids, truth), spans)
    return first, {source: cells.tolist() for source, cells in counts.items()}


def _complete(labelled: Labelled) -> bool:
    """Asked anew each time: a property that changes is not narrowed by an earlier assertion."""
    return labelled.complete


def test_every_source_is_counted_and_known_beforehand() -> None:
    labelled = Labelled(_GIVEN, 1000)
    rng = np.random.default_rng(1)
    ids, truth, batch = _expect(labelled, rng, 100, 300)
    first, counts = _judge(labelled, ids, truth)
    assert first == 100
    sizes = label_sources(_GIVEN)
    assert set(counts) == set(sizes) == {
        "error:overall", "error:g=a", "error:g=b",
        "calibration:overall", "calibration:g=a", "calibration:g=b",
    }  # fmt: skip
    assert {source: len(cells) for source, cells in counts.items()} == sizes
    assert batch.scores is not None
    actual = np.array(truth) == "1"
    wrong = int(((batch.scores >= 0.5) != actual).sum())
    assert counts["error:overall"] == [300 - wrong, wrong]
    assert sum(counts["calibration:overall"][1::2]) == int(actual.sum())
    for kind in ("error", "calibration"):
        both = np.array(counts[f"{kind}:g=a"]) + np.array(counts[f"{kind}:g=b"])
        assert both.tolist() == counts[f"{kind}:overall"]
    assert sum(counts["error:g=a"]) == int((batch.features["g"] == "a").sum())


def test_labels_of_rows_of_an_incident_that_is_over_are_no_evidence() -> None:
    labelled = Labelled(_GIVEN, 1000)
    ids, truth, _ = _expect(labelled, np.random.default_rng(2), 0, 100)
    first, counts = _judge(labelled, ids, truth, [(0, 79), (95, 400)])
    assert first == 80
    assert sum(counts["error:overall"]) == 15
    assert labelled.outcomes is not None
    assert labelled.outcomes[0].sum() == 100  # all the same they are outcomes
    assert _judge(labelled, [], []) == (0, {})


def test_labels_that_are_no_class_and_rows_without_a_score_say_nothing() -> None:
    labelled = Labelled(_GIVEN, 1000)
    batch = Batch(2, {"x": np.zeros(2)}, scores=np.array([np.nan, 0.7]), ids=["a", "b"])
    labelled.wait(batch, encode(_GIVEN, batch), 0)
    _, counts = _judge(labelled, ["a", "b"], ["1", "maybe"])
    assert counts == {}


@pytest.mark.parametrize("reference", [_LEARNED, _LEARNED_REGRESSION], ids=["classes", "values"])
def test_labels_of_the_learned_rows_become_the_reference(reference: Reference) -> None:
    labelled = Labelled(reference, 10_000)
    labelled.learned(2000)
    rng = np.random.default_rng(3)
    ids, truth, _ = _expect(labelled, rng, 0, 3000)
    # labels of later rows are not what it is compared with
    later = slice(2000, 2900)
    assert _judge(labelled, ids[later], truth[later]) == (0, {})
    assert _judge(labelled, ids[:499], truth[:499]) == (0, {})
    assert not _complete(labelled)
    assert _judge(labelled, ids[499:600], truth[499:600]) == (0, {})
    assert _complete(labelled)
    assert labelled.reference.id != ""
    known = labelled.reference
    assert {int(t.counts[0].sum()) for t in known.tables} == {600}
    if known.task == "binary":
        assert known.outcomes is not None
        assert known.outcomes[0].sum() == 600
    streams = [*performance(known, 0.02), *calibration(known, 0.02)]
    assert {"performance:performance", "calibration:calibration"} <= {s.key for s in streams}
    # places for their counts were there from the beginning, and are wide enough
    before = label_sources(reference)
    assert all(len(s.law) <= before[s.source] for s in streams)
    first, counts = _judge(labelled, ids[2900:], truth[2900:])
    assert first == 2900
    assert set(counts) <= set(before)
    assert sum(counts["error:overall"]) == 100


def test_where_few_rows_get_labels_the_first_2000_become_the_reference() -> None:
    labelled = Labelled(_LEARNED, 10_000)
    labelled.learned(100)
    rng = np.random.default_rng(4)
    ids, truth, _ = _expect(labelled, rng, 0, 2500)
    _judge(labelled, ids[:1999], truth[:1999])
    assert not _complete(labelled)
    _judge(labelled, ids[1999:2000], truth[1999:2000])
    assert _complete(labelled)
    assert labelled.reference.outcomes is not None
    assert labelled.reference.outcomes[0].sum() == 2000


def test_a_reference_with_labels_waits_for_none() -> None:
    labelled = Labelled(_GIVEN, 10)
    labelled.learned(2000)
    assert _complete(labelled)
    assert not labelled.late
    assert labelled.reference is _GIVEN


def _json(labelled: Labelled) -> Any:
    return json.loads(json.dumps(labelled.to_json()))


@pytest.mark.parametrize("reference", [_GIVEN, _LEARNED, _LEARNED_REGRESSION])
@pytest.mark.parametrize("stop", [0, 300, 900, 2300])
def test_it_goes_on_where_it_was(reference: Reference, stop: int) -> None:
    labelled = Labelled(reference, 10_000)
    labelled.learned(1500)
    rng = np.random.default_rng(5)
    ids, truth, _ = _expect(labelled, rng, 0, 2600)
    _judge(labelled, ids[:stop], truth[:stop])
    again = Labelled(reference, 10_000)
    again.restore(_json(labelled))
    assert again.complete == labelled.complete
    for end in (stop + 100, stop + 300):
        part = slice(stop, end)
        assert _judge(again, ids[part], truth[part]) == _judge(labelled, ids[part], truth[part])
        stop = end
    assert _json(again) == _json(labelled)
    assert again.complete == labelled.complete


def test_a_table_of_another_shape_is_refused() -> None:
    labelled = Labelled(_LEARNED, 10_000)
    labelled.learned(600)
    ids, truth, _ = _expect(labelled, np.random.default_rng(6), 0, 600)
    _judge(labelled, ids, truth)
    data = _json(labelled)
    data["compared"]["outcomes"] = [[[1, 2], [3, 4]]]
    with pytest.raises(ValueError, match="shape"):
        Labelled(_LEARNED, 10_000).restore(data)


def test_residuals_are_added_up_and_counted() -> None:
    rng = np.random.default_rng(7)
    predicted, noise = rng.normal(size=1000), rng.normal(size=1000)
    rows = LabelledRows(
        np.full(1000, -1, dtype=np.int16),
        np.full(1000, -1, dtype=np.int16),
        predicted,
        predicted + noise,
        (),
    )
    tables = label_tables("regression", _LEARNED_REGRESSION.label_layout, rows)
    labelled = Labelled(replace(_LEARNED_REGRESSION, tables=tables), 100)
    batch = Batch(3, {"x": np.zeros(3)}, predictions=np.array([1.0, 2.0, 3.0]), ids=["a", "b", "c"])
    labelled.wait(batch, encode(labelled.reference, batch), 0)
    _, counts = _judge(labelled, ["a", "b", "c"], ["11", "2", "no number"])
    assert labelled.residuals.tolist() == [2.0, 10.0, 100.0]
    error: IntArray = np.array(counts["error:overall"])
    bias: IntArray = np.array(counts["bias:overall"])
    assert (error[0], error[-1], error.sum()) == (1, 1, 2)
    assert (bias[-1], bias.sum()) == (1, 2)
