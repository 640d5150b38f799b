"""Every kind of model, and every kind of input that does not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from otel_ml.engine import Budget, Engine
from otel_ml.errors import ConfigError, DataError
from otel_ml.profile import PREDICTION, Reference
from otel_ml.types import Batch


def _engine(reference: Reference) -> Engine:
    return Engine(reference, budget=Budget(1, per="100000rows"))


def _opened(engine: Engine) -> list[tuple[str, str]]:
    incidents = [c.incident for c in engine.evaluate(0.0) if c.state == "opened"]
    return [(i.culprit.monitor, i.culprit.target) for i in incidents]


def test_a_regression_is_watched_and_its_errors_are_added_up() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=4000)
    engine = _engine(
        Reference.build({"x": x}, predictions=10 + 3 * x, task="regression", model_name="m")
    )
    x = rng.normal(size=500)
    truth = 10 + 3 * x + rng.normal(0, 0.5, 500)
    ids = [str(i) for i in range(500)]
    engine.observe({"x": x}, predictions=10 + 3 * x, ids=ids)
    order = rng.permutation(500)
    engine.observe_labels([ids[i] for i in order], truth[order].tolist())
    engine.observe_labels(["0", "nobody"], ["not a number", float("nan")])
    assert engine.state is not None
    n, absolute, squares = engine.state.labelled.residuals.tolist()
    errors = truth - (10 + 3 * x)
    assert n == 500
    assert absolute == pytest.approx(np.abs(errors).sum())
    assert squares == pytest.approx(np.square(errors).sum())
    assert engine.state.labelled.join.states["conflict"] == 1
    assert _opened(engine) == []
    x = rng.normal(size=500)
    engine.observe({"x": x}, predictions=16 + 3 * x)
    assert _opened(engine) == [("prediction_drift", PREDICTION)]


def test_a_multiclass_model_is_watched_and_its_outcomes_are_counted() -> None:
    rng = np.random.default_rng(0)
    names = np.array(["cat", "dog", "eel"])

    def rows(n: int, favour: int | None = None) -> tuple[Any, Any, Any]:
        weights = np.ones((n, 3)) * 2
        if favour is not None:
            weights[:, favour] = 6
        scores = np.array([rng.dirichlet(w) for w in weights])
        return {"x": rng.normal(size=n)}, scores, names[[rng.choice(3, p=p) for p in scores]]

    columns, scores, labels = rows(3000)
    engine = _engine(
        Reference.build(columns, scores=scores, labels=labels, model_name="m", task="multiclass")
    )
    assert engine.reference is not None
    assert engine.reference.group_layout is not None
    assert engine.reference.group_layout.classes == ("cat", "dog", "eel")
    columns, scores, labels = rows(1000)
    ids = [str(i) for i in range(1000)]
    engine.observe(columns, scores=scores, ids=ids)
    engine.observe_labels(ids, labels.tolist())
    engine.observe_labels(["x"], ["fox"])  # of a class nobody knows
    assert engine.state is not None
    assert engine.state.labelled.outcomes is not None
    expected = np.zeros((3, 3), dtype=int)
    for p, t in zip(np.argmax(scores, axis=1), labels, strict=True):
        expected[p, names.tolist().index(t)] += 1
    np.testing.assert_array_equal(engine.state.labelled.outcomes[0], expected)
    assert _opened(engine) == []
    columns, scores, _ = rows(1000, favour=2)
    engine.observe(columns, scores=scores)
    assert {m for m, _ in _opened(engine)} <= {"prediction_drift", "score_drift"}
    assert engine.incidents


def test_a_label_of_an_unknown_class_is_no_outcome() -> None:
    reference = Reference.build(
        {"x": np.arange(200.0)}, scores=np.linspace(0, 1, 200), labels=[0, 1] * 100, model_name="m"
    )
    engine = _engine(reference)
    engine.observe({"x": [1.0, 2.0]}, scores=[0.2, 0.9], ids=["a", "b"])
    engine.observe_labels(["a", "b"], ["maybe", 1])
    assert engine.state is not None
    assert engine.state.labelled.outcomes is not None
    assert engine.state.labelled.outcomes[0].tolist() == [[0, 0], [0, 1]]
    assert engine.state.labelled.join.states["joined"] == 2


_X = np.random.default_rng(0).normal(size=2000)
_PLAIN = Reference.build({"x": _X, "y": _X**2}, scores=1 / (1 + np.exp(-_X)), model_name="m")


def test_columns_that_are_missing_or_new_are_named_and_the_rest_is_counted() -> None:
    engine = _engine(_PLAIN)
    engine.observe({"x": _X[:100], "z": _X[:100], "Y": _X[:100]}, scores=_X[:100])
    assert engine.schema == (("y",), ("z", "Y"))
    assert engine.state is not None
    assert engine.state.total.rows("x") == 100
    assert engine.state.total.rows("y") == 0
    engine.observe({"x": _X[:1], "y": _X[:1]})
    assert not any(engine.schema)


def test_scores_alone_are_counted() -> None:
    engine = _engine(_PLAIN)
    engine.observe(scores=np.full(60, 0.5))
    assert engine.rows == 60
    assert not any(engine.schema)
    assert engine.state is not None
    assert engine.state.total.rows("score") == 60


@pytest.mark.parametrize(
    "batch", [None, {}, {"x": []}, {"x": np.empty(0)}, Batch(0, {}), Batch(0, {"x": np.empty(0)})]
)
def test_an_empty_batch_is_nothing(batch: Any) -> None:
    engine = _engine(_PLAIN)
    before = engine.snapshot()
    engine.observe(batch)
    assert engine.rows == 0
    after = engine.snapshot()
    assert after["state"] == before["state"]


def test_text_in_a_numeric_column_is_a_defect_and_not_an_error() -> None:
    engine = _engine(_PLAIN)
    for i in range(10):
        engine.observe({"x": np.array(["12,5"] * 50, dtype=object), "y": _X[50 * i :][:50] ** 2})
    (first, *_) = [c.incident for c in engine.evaluate(0.0)]
    assert first.cause == "type_change"
    assert first.culprit.defect == "not_a_number"


_N3 = {"x": [1.0, 2.0, 3.0], "y": [1.0, 2.0, 3.0]}


@pytest.mark.parametrize(
    ("batch", "fields", "says"),
    [
        ({"x": [1.0], "y": [1.0, 2.0]}, {}, "column 'x' has 1 rows"),
        ({"x": np.zeros((3, 2))}, {}, "shape (3, 2)"),
        (_N3, {"scores": [0.5]}, "scores: 1 values for 3 rows"),
        (_N3, {"scores": ["high", "low", "low"]}, "scores are not numbers"),
        (_N3, {"scores": np.zeros((3, 2, 2))}, "scores of shape"),
        (_N3, {"predictions": [1]}, "predictions: 1 values"),
        (_N3, {"predictions": [[1, 2]] * 3}, "predictions of shape"),
        (_N3, {"ids": ["a"]}, "ids: 1 values"),
        (_N3, {"aliases": ["a"]}, "aliases: 1 values"),
        (_N3, {"clients": ["a"]}, "clients: 1 values"),
        (_N3, {"event_times": [1.0]}, "event_times: 1 values"),
        (_N3, {"event_times": ["now"] * 3}, "event_times are not numbers"),
        (_N3, {"slices": {"sex": ["f"]}}, "slice 'sex': 1 values"),
        (_N3, {"score": [0.5] * 3}, "'score' is no field"),
        (Batch(3, {"x": np.zeros(2)}), {}, "feature 'x': 2 values for 3 rows"),
        ({}, {"scores": [0.1, 0.2], "predictions": ["1"]}, "predictions: 1 values for 2 rows"),
        (object(), {}, "is no table"),
    ],
)
@pytest.mark.parametrize("learning", [False, True])
def test_a_batch_that_does_not_fit_is_refused_as_a_whole(
    batch: Any, fields: dict[str, Any], says: str, learning: bool
) -> None:
    engine = Engine(None) if learning else _engine(_PLAIN)
    before = engine.snapshot()
    with pytest.raises(DataError) as caught:
        engine.observe(batch, **fields)
    assert says in str(caught.value)
    assert caught.value.remedy
    assert engine.snapshot() == before


def test_ids_and_labels_of_different_number_are_refused() -> None:
    with pytest.raises(DataError, match="2 ids and 1 labels"):
        _engine(_PLAIN).observe_labels(["a", "b"], [1])


def test_scores_outside_of_probabilities_are_counted_but_not_calibrated() -> None:
    reference = Reference.build(
        {"x": _X}, scores=1 / (1 + np.exp(-_X)), labels=(_X > 0).astype(int), model_name="m"
    )
    engine = _engine(reference)
    engine.observe(scores=[0.25, 1.5, -0.5, np.nan, 1.0], ids=list("abcde"))
    engine.observe_labels(list("abcde"), [1] * 5)
    assert engine.state is not None
    outcomes, calibration = engine.state.labelled.recent_outcomes()
    assert calibration.sum() == 2
    assert calibration[5, 1] == 1
    assert calibration[19, 1] == 1
    assert outcomes[0].sum() == 4  # the score that is not a number decides nothing


@pytest.mark.parametrize(
    ("budget", "evaluations"),
    [
        (Budget(1, per="100000rows"), 2000),
        (Budget(4, per="100000rows"), 500),
        (Budget(1, per="10rows"), 1),
        (Budget(1, per="1d", rows_per_day=86_400), 86_400 / 50 + 8640),
        (Budget(0.5, per="30d"), 60 * (1_000_000 / 50 + 8640)),
    ],
)
def test_the_threshold_is_the_evaluations_a_false_incident_may_take(
    budget: Budget, evaluations: float
) -> None:
    assert budget.evaluations == pytest.approx(evaluations)
    assert Engine(_PLAIN, budget=budget).threshold_log10 == pytest.approx(np.log10(evaluations))


@pytest.mark.parametrize("number", [0, -1, float("nan")])
def test_a_budget_of_nothing_is_refused(number: float) -> None:
    with pytest.raises(ConfigError) as caught:
        Budget(number)
    assert caught.value.remedy
