"""What a reference takes from outputs and labels: task, classes, decisions, counts per group."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from otel_ml.errors import DataError
from otel_ml.profile import PREDICTION, SCORE, CategoryCells, NumericCells, Reference
from otel_ml.profile.coder import decisions, encode
from otel_ml.types import Batch

_N = 600
_RNG = np.random.default_rng(3)
_X = {"x": _RNG.normal(size=_N)}
_P = _RNG.random(_N)
_K = _RNG.dirichlet(np.ones(3), _N)


@pytest.mark.parametrize(
    ("given", "task", "classes"),
    [
        ({"scores": _P}, "binary", ("0", "1")),
        ({"scores": np.column_stack([1 - _P, _P])}, "binary", ("0", "1")),
        ({"scores": _P.reshape(-1, 1)}, "binary", ("0", "1")),
        ({"scores": _K}, "multiclass", ("0", "1", "2")),
        ({"labels": _RNG.choice(["no", "yes"], _N), "scores": _P}, "binary", ("no", "yes")),
        ({"labels": _RNG.choice(list("abc"), _N)}, "multiclass", ("a", "b", "c")),
        ({"labels": _RNG.choice([2, 10, 1], _N)}, "multiclass", ("1", "2", "10")),
        ({"predictions": _RNG.normal(size=_N)}, "regression", None),
        ({"predictions": _RNG.integers(0, 500, _N)}, "regression", None),
        ({"labels": np.zeros(_N, int), "scores": _P}, "binary", ("0", "1")),
        ({"labels": ["ham"] * _N, "scores": _P}, "binary", ("not ham", "ham")),
    ],
)
def test_task_and_classes_are_inferred(given: Any, task: str, classes: Any) -> None:
    given = {k: np.asarray(v) for k, v in given.items()}
    if "labels" in given and "scores" not in given:
        given["predictions"] = given["labels"]
    reference = Reference.build(_X, model_name="m", **given)
    assert reference.task == task
    layout = reference.group_layout
    assert (None if layout is None else layout.classes) == classes


def test_the_positive_class_is_the_one_named() -> None:
    labels = _RNG.choice(["good", "bad"], _N)
    reference = Reference.build(_X, scores=_P, labels=labels, positive="bad", model_name="m")
    assert reference.group_layout is not None
    assert reference.group_layout.classes == ("good", "bad")
    with pytest.raises(DataError, match="'ugly' is not among"):
        Reference.build(_X, scores=_P, labels=labels, positive="ugly", model_name="m")


@pytest.mark.parametrize("wide", [False, True])
def test_reference_and_production_decide_alike(wide: bool) -> None:
    scores = np.column_stack([1 - _P, _P]) if wide else _P
    reference = Reference.build(_X, scores=scores, threshold=0.8, model_name="m")
    batch = Batch(_N, _X, scores=scores)
    found = decisions(reference, batch)
    assert found is not None
    assert (found == np.where(_P >= 0.8, "1", "0")).all()
    codes = encode(reference, batch).codes
    counted = [np.bincount(codes[:, j], minlength=reference.layout.width) for j in range(3)]
    np.testing.assert_array_equal(counted, reference.profile.counts)


def test_a_score_that_is_not_a_number_decides_nothing() -> None:
    scores = _P.copy()
    scores[:100] = np.nan
    reference = Reference.build(_X, scores=scores, labels=np.ones(_N, int), model_name="m")
    assert reference.outcomes is not None
    assert reference.outcomes.sum() == _N - 100
    found = decisions(reference, Batch(_N, _X, scores=scores))
    assert found is not None
    assert found[:100].tolist() == [None] * 100
    matrix = _K.copy()
    matrix[0, 1] = np.nan
    many = Reference.build(_X, scores=matrix, model_name="m")
    assert many.profile.of(PREDICTION)[-1] == 1


def test_a_class_without_a_row_keeps_its_column() -> None:
    labels = np.argmax(_K, axis=1)
    labels[labels == 1] = 0
    reference = Reference.build(_X, scores=_K, labels=labels, model_name="m")
    assert reference.group_layout is not None
    assert reference.group_layout.classes == ("0", "1", "2")
    assert reference.profile.of(PREDICTION)[:3].sum() == _N


def test_more_classes_than_are_watched_are_counted_and_not_mistaken() -> None:
    scores = np.eye(30)[np.arange(_N) % 30]
    reference = Reference.build(_X, scores=scores, model_name="m")
    found = decisions(reference, Batch(_N, _X, scores=scores))
    assert found is not None
    assert found.tolist() == [str(i % 30) for i in range(_N)]
    assert reference.group_layout is not None
    assert len(reference.group_layout.classes) == 20
    cells = reference.layout.sources[reference.layout.index[PREDICTION]]
    assert isinstance(cells, CategoryCells)
    assert reference.rows(PREDICTION) == _N


def test_a_regression_is_binned_and_numbers_may_come_as_text() -> None:
    values = _RNG.normal(100, 15, _N)
    text = np.array([repr(float(v)) for v in values], dtype=object)
    one = Reference.build(_X, predictions=values, task="regression", model_name="m")
    two = Reference.build(_X, predictions=text, task="regression", model_name="m")
    assert one.sha256 == two.sha256
    assert isinstance(one.layout.sources[1], NumericCells)
    assert SCORE not in one.layout.index
    assert one.outcomes is None
    by_score = Reference.build(_X, scores=values, task="regression", model_name="m")
    codes = encode(by_score, Batch(_N, _X, scores=values)).codes
    assert (codes[:, by_score.layout.index[PREDICTION]] >= 0).all()


def test_outcomes_are_counted_per_group_of_features_and_slices() -> None:
    sex = _RNG.choice(["f", "m"], _N)
    labels = (_RNG.random(_N) < 0.4).astype(int)
    reference = Reference.build(
        {**_X, "age": _RNG.integers(18, 90, _N)},
        scores=_P,
        labels=labels,
        slices={"sex": sex},
        sensitive=["age"],
        model_name="m",
    )
    assert reference.group_layout is not None
    assert reference.outcomes is not None
    names = reference.group_layout.names
    predicted = _P >= 0.5
    for group in ("f", "m"):
        counts = reference.outcomes[names.index(("sex", group))]
        for p in (0, 1):
            for t in (0, 1):
                assert counts[p, t] == ((sex == group) & (predicted == p) & (labels == t)).sum()
    bands = [i for i, (attribute, _) in enumerate(names) if attribute == "age"]
    assert reference.outcomes[bands].sum() == reference.outcomes[0].sum() == _N


def test_sensitivity_is_measured_and_what_is_no_number_is_left_out() -> None:
    data = {"used": _RNG.normal(size=_N), "ignored": _RNG.normal(size=_N)}
    reference = Reference.build(
        data, predict=lambda d: 1 / (1 + np.exp(-d["used"])), model_name="m"
    )
    assert reference.sensitivity["ignored"] == 0.0
    assert reference.sensitivity["used"] > 0.1
    broken = Reference.build(data, predict=lambda d: np.full(_N, np.nan), model_name="m")
    assert broken.sensitivity == {}
    assert broken.sha256


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"features": {}}, "no rows"),
        ({"features": {"x": []}}, "no rows"),
        ({"features": {"score": [1.0]}}, "name of an output"),
        ({"scores": _P[:5]}, "scores have 5 rows"),
        ({"labels": [1]}, "labels have 1 rows"),
        ({"scores": np.zeros((_N, 2, 2))}, "scores of shape"),
        ({"scores": ["high"] * _N}, "scores are not numbers"),
        ({"slices": {"sex": ["f"]}}, "slice 'sex' has 1 rows"),
        ({"categorical": ["y"]}, "`categorical`"),
        ({"numeric": ["y"]}, "`numeric`"),
    ],
)
def test_what_does_not_fit_is_said(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError) as caught:
        Reference.build(arguments.pop("features", _X), model_name="m", **arguments)
    assert says in str(caught.value)
    assert caught.value.remedy
