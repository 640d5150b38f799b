"""What real models return becomes scores, classes and values, under the names they know."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml.intake import Converted, convert, pseudonym
from otel_ml.testing import FakeModel
from otel_ml.types import Batch, Captured

pytest.importorskip("sklearn")
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.svm import LinearSVC


def call(model: Any, method: str, X: Any, **fields: Any) -> Captured:
    output = fields.pop("output", None)
    if output is None:
        output = getattr(model, method)(X)
    return Captured(model, method, X, output, 0, fields.pop("duration_ns", 1000), **fields)


def batch(found: Converted) -> Batch:
    assert found.batch is not None, found.problem
    return found.batch


@pytest.fixture(scope="module")
def binary() -> Any:
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    names = np.array(["malignant", "benign"])
    return LogisticRegression(max_iter=10_000).fit(X, names[y]), X


@pytest.fixture(scope="module")
def multiclass() -> Any:
    X, y = load_iris(return_X_y=True)
    return RandomForestClassifier(5, random_state=0).fit(X, y), X


def test_binary_probabilities(binary: Any) -> None:
    model, X = binary
    made = batch(convert(call(model, "predict_proba", X)))
    assert made.n == len(X)
    assert list(made.features) == list(X.columns)
    assert made.scores is not None
    np.testing.assert_array_equal(made.scores, model.predict_proba(X))
    assert made.predictions is None, "the engine decides, with the threshold of the reference"


@pytest.mark.parametrize("method", ["predict_proba", "predict_log_proba"])
@pytest.mark.parametrize("positive", ["benign", "malignant", "no such class", None])
def test_the_positive_class_is_the_second_column(
    binary: Any, method: str, positive: str | None
) -> None:
    model, X = binary
    with np.errstate(divide="ignore"):  # the logarithm of zero
        made = batch(convert(call(model, method, X), positive=positive))
    column = model.classes_.tolist().index(positive) if positive in model.classes_ else 1
    assert made.scores is not None
    np.testing.assert_allclose(made.scores[:, 1], model.predict_proba(X)[:, column], atol=1e-12)


def test_predictions_and_probabilities_of_one_call_are_one_batch(binary: Any) -> None:
    model, X = binary
    outputs = {"predict_proba": model.predict_proba(X)}
    made = batch(convert(call(model, "predict", X, outputs=outputs)))
    assert made.predictions is not None
    assert made.predictions.tolist() == model.predict(X).tolist()
    assert made.scores is not None
    assert made.sizes is not None
    assert (made.n, made.sizes.tolist()) == (len(X), [len(X)])
    assert made.durations is not None
    np.testing.assert_allclose(made.durations, [1e-6])


def test_multiclass_probabilities_also_tell_the_class(multiclass: Any) -> None:
    model, X = multiclass
    made = batch(convert(call(model, "predict_proba", X)))
    assert made.scores is not None
    assert made.scores.shape == (150, 3)
    assert made.predictions is not None
    assert made.predictions.tolist() == [str(c) for c in model.predict(X)]


def test_classes_are_counted_by_their_name(multiclass: Any) -> None:
    model, X = multiclass
    made = batch(convert(call(model, "predict", X)))
    assert made.predictions is not None
    assert set(made.predictions) == {"0", "1", "2"}
    assert made.scores is None


def test_a_decision_function_has_rows_but_no_probability() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    model = LinearSVC(dual=False).fit(X, y)
    made = batch(convert(call(model, "decision_function", X)))
    assert (made.n, made.scores, made.predictions) == (len(X), None, None)
    both = call(model, "predict", X, outputs={"decision_function": model.decision_function(X)})
    made = batch(convert(both))
    assert made.predictions is not None
    assert made.scores is None


def test_regression_predicts_numbers() -> None:
    X, y = load_diabetes(return_X_y=True)
    model = LinearRegression().fit(X, y)
    made = batch(convert(call(model, "predict", X)))
    assert made.predictions is not None
    assert made.predictions.dtype == np.float64
    np.testing.assert_array_equal(made.predictions, model.predict(X))
    column = LinearRegression().fit(X, y[:, None])
    made = batch(convert(call(column, "predict", X)))
    assert made.predictions is not None
    assert made.predictions.shape == (len(X),)


def test_several_outputs_are_counted_and_not_watched() -> None:
    X, y = load_iris(return_X_y=True)
    model = MultiOutputClassifier(LogisticRegression(max_iter=1000)).fit(
        X, np.stack([y, y == 1], axis=1)
    )
    for method in ("predict", "predict_proba"):
        made = batch(convert(call(model, method, X)))
        assert (made.n, made.scores, made.predictions) == (150, None, None)
    regression = LinearRegression().fit(X, np.stack([y, y], axis=1))
    made = batch(convert(call(regression, "predict", X)))
    assert (made.n, made.predictions) == (150, None)


def test_a_sparse_matrix_is_never_made_dense(binary: Any) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    X = sparse.random(20, 30, 0.1, format="csr", random_state=0)
    model = LogisticRegression().fit(X, np.arange(20) % 2)
    made = batch(convert(call(model, "predict_proba", X)))
    assert (made.n, made.features) == (20, {})
    made = batch(convert(call(model, "predict", sparse.csr_matrix((2, 30)), output=None)))
    assert (made.n, made.features) == (2, {})


# ---- names


def test_names_come_from_the_data_then_the_model_then_the_reference() -> None:
    pd = pytest.importorskip("pandas")
    X = np.zeros((2, 2))
    named = FakeModel(["m1", "m2"])
    of = ("r1", "r2")
    frame = pd.DataFrame(X, columns=["d1", "d2"])
    assert list(batch(convert(call(named, "predict", frame), names=of)).features) == ["d1", "d2"]
    assert list(batch(convert(call(named, "predict", X), names=of)).features) == ["m1", "m2"]
    assert list(batch(convert(call(named, "predict", X.tolist()), names=of)).features) == [
        "m1",
        "m2",
    ]
    assert list(batch(convert(call(FakeModel(), "predict", X), names=of)).features) == ["r1", "r2"]
    assert list(batch(convert(call(FakeModel(), "predict", X))).features) == ["f0", "f1"]
    wide = np.zeros((2, 3))
    assert list(batch(convert(call(named, "predict", wide), names=of)).features) == [
        "f0",
        "f1",
        "f2",
    ]


def test_ignored_columns_are_left_out() -> None:
    made = batch(convert(call(FakeModel(["a", "b"]), "predict", np.zeros((2, 2))), ignore=("a",)))
    assert list(made.features) == ["b"]


# ---- rows and identity


def test_ids_of_rows(binary: Any) -> None:
    model = FakeModel()
    one = batch(convert(call(model, "predict", np.zeros((1, 2)), prediction_id="p", alias="r")))
    assert (one.ids, one.aliases) == (["p"], ["r"])
    two = batch(convert(call(model, "predict", np.zeros((2, 2)), prediction_id="p", alias="r")))
    assert (two.ids, two.aliases) == (["p-0", "p-1"], ["r-0", "r-1"])
    none = batch(convert(call(model, "predict", np.zeros((1, 2)))))
    assert (none.ids, none.aliases, none.clients) == (None, None, None)


def test_a_client_is_known_by_a_keyed_hash_only() -> None:
    made = batch(
        convert(call(FakeModel(), "predict", np.zeros((2, 2)), client="alice"), key=b"one")
    )
    assert made.clients == [pseudonym("alice", b"one")] * 2
    assert "alice" not in repr(made)
    assert pseudonym("alice", b"one") != pseudonym("alice", b"two")
    assert pseudonym("\udcff", b"one")


def test_a_failed_call_has_no_rows_and_one_error() -> None:
    made = batch(convert(Captured(FakeModel(), "predict", [[1]], None, 0, 5, error="KeyError")))
    assert (made.n, made.errors, made.durations) == (0, ("KeyError",), None)


@pytest.mark.parametrize(
    ("features", "output", "n"),
    [
        ([[1.0, 2.0]], [1], 1),
        ([[1.0, 2.0]], np.int64(1), 1),
        ([[1.0, 2.0]], np.array(1), 1),
        ([[1.0, 2.0]], 0.5, 1),
        ([[1, 2], [3, 4]], object(), 2),
        ({"a": [1, 2, 3]}, None, 3),
        (object(), [1, 2], 2),
        (object(), np.zeros((4, 5, 6)), 4),
        (np.array(3.0), [1], 1),
        ([1.0, 2.0, 3.0], [1], 1),
        (None, np.zeros(7), 7),
        ([[1], [2, 3]], [0, 1], 2),
        (np.zeros((2, 2, 2)), [0, 1], 2),
        (np.zeros((3, 2)), [0, 1], 2),
    ],
)
def test_what_has_rows_is_counted(features: Any, output: Any, n: int) -> None:
    found = convert(Captured(FakeModel(), "predict", features, output, 0))
    made = batch(found)
    assert made.n == n
    assert all(len(column) == n for column in made.features.values())


@pytest.mark.parametrize(("features", "output"), [(None, None), (object(), object()), ("x", "y")])
def test_what_has_no_rows_is_dropped(features: Any, output: Any) -> None:
    found = convert(Captured(FakeModel(), "transform", features, output, 0))
    assert (found.batch, found.problem) == (None, "output_shape")


@pytest.mark.parametrize(
    "output",
    [
        np.array([[0.2, 0.8]] * 2),
        np.zeros((3, 0)),
        np.array([["a", "b"]] * 3),
        np.zeros((3, 2), dtype=complex),
    ],
)
def test_what_are_no_probabilities_of_these_rows_are_no_scores(output: Any) -> None:
    rows, outputs = np.zeros((3, 2)), {"predict_proba": output}
    made = convert(Captured(FakeModel(), "predict", rows, ["a"] * 3, 0, outputs=outputs))
    assert batch(made).scores is None
    assert batch(made).n == 3


def test_what_is_no_probability_is_left_out_and_counted() -> None:
    output = np.array([[0.2, 0.8], [1.5, -0.5], [0.6, 0.4]])
    made = batch(convert(Captured(FakeModel(), "predict_proba", np.zeros((3, 2)), output, 0)))
    assert made.scores is not None
    np.testing.assert_array_equal(np.isnan(made.scores).all(axis=1), [False, True, False])
    assert made.invalid == 1
    given = Captured("m", "observe", None, None, 0, extra={"scores": [0.1, 7.0, -1.0, np.nan]})
    by_hand = batch(convert(given))
    assert by_hand.scores is not None
    np.testing.assert_array_equal(np.isnan(by_hand.scores), [False, True, True, True])
    assert by_hand.invalid == 2


def test_nan_probabilities_are_kept_as_missing() -> None:
    output = np.full((2, 2), np.nan)
    made = batch(convert(Captured(FakeModel(), "predict_proba", np.zeros((2, 2)), output, 0)))
    assert made.scores is not None
    assert np.isnan(made.scores).all()


@given(
    width=st.integers(1, 5),
    n=st.integers(0, 5),
    method=st.sampled_from(["predict", "predict_proba", "predict_log_proba", "score_samples"]),
    dtype=st.sampled_from(["f4", "f8", "i8", "?", "O", "U2", "M8[s]"]),
    data=st.data(),
)
def test_arrays_of_any_type_and_shape_have_their_rows(
    width: int, n: int, method: str, dtype: str, data: st.DataObject
) -> None:
    shape = data.draw(st.sampled_from([(n,), (n, width), (n, 1)]))
    output = np.zeros(shape).astype(dtype)
    made = batch(convert(Captured(FakeModel(), method, np.zeros((n, width)), output, 0)))
    assert made.n == n
    for column in (made.predictions, made.scores):
        assert column is None or len(column) == n
