"""scikit-learn beyond single estimators: nesting, threads, training, later classes, pickles."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from joblib import Parallel, delayed, parallel_config
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.impute import IterativeImputer
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from otel_ml.capture import MLInstrumentor
from otel_ml.capture._scope import SCOPE, Request

X = np.random.default_rng(0).normal(size=(60, 4))
Y = (X[:, 0] > 0).astype(int)
TREE = DecisionTreeClassifier(max_depth=2)


@pytest.mark.fault("A8")
@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba"])
@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(StandardScaler(), LogisticRegression()),
        RandomForestClassifier(n_estimators=8, n_jobs=2),
        VotingClassifier([("a", TREE), ("b", LogisticRegression())], voting="soft", n_jobs=2),
        BaggingClassifier(TREE, n_estimators=4, n_jobs=2),
        StackingClassifier([("a", TREE)], LogisticRegression(), n_jobs=2),
        AdaBoostClassifier(TREE, n_estimators=3),
        CalibratedClassifierCV(TREE, cv=3),
        GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, n_jobs=2),
        make_pipeline(
            IterativeImputer(max_iter=1),
            GridSearchCV(make_pipeline(StandardScaler(), TREE), {}, n_jobs=2),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
@pytest.mark.filterwarnings("ignore")
def test_the_outermost_wins(offline: Any, model: Any, method: str) -> None:
    with parallel_config("threading"):
        model.fit(X, Y)
    model.score(X, Y)
    assert offline.calls == []
    method = method if hasattr(model, method) else "predict_proba"
    output = getattr(model, method)(X)
    (call,) = offline.calls
    assert call.model is model
    assert call.method == method
    np.testing.assert_array_equal(call.output, output)


@pytest.mark.filterwarnings("ignore")
def test_training_and_evaluation_are_silent(offline: Any) -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression())
    with parallel_config("threading"):
        GridSearchCV(model, {"logisticregression__C": [0.1, 1.0]}, n_jobs=2).fit(X, Y)
        cross_val_score(model, X, Y, n_jobs=2)
    cross_val_predict(model, X, Y, method="predict_proba")
    model.fit(X, Y).score(X, Y)
    permutation_importance(model, X, Y, n_repeats=1)
    get_scorer("roc_auc")(model, X, Y)
    VotingClassifier([("a", TREE)]).fit(X, Y).transform(X)
    IterativeImputer(RandomForestRegressor(2), max_iter=1).fit_transform(X)
    assert offline.calls == []
    assert offline.skipped == []


def test_only_serving_is_captured(instrumented: Any) -> None:
    model = LogisticRegression().fit(X, Y)
    model.predict(X)
    make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y).predict_proba(X[:5])
    assert instrumented.calls == []
    assert instrumented.skipped == [("not_serving", 60), ("not_serving", 5)]


def test_a_probability_found_inside_enriches(offline: Any) -> None:
    forest = RandomForestClassifier(n_estimators=4).fit(X, Y)
    pipe = make_pipeline(StandardScaler(), forest).fit(X, Y)
    svc = SVC().fit(X, Y)
    for model, method in ((forest, "predict_proba"), (pipe, "predict_proba")):
        offline.clear()
        model.predict(X)
        (call,) = offline.calls
        assert call.outputs is not None
        assert set(call.outputs) == {method}
        expected = getattr(model, method)(X)
        np.testing.assert_array_equal(call.outputs[method], expected)
    offline.clear()
    svc.predict(X)
    assert offline.calls[0].outputs is None


def test_an_inner_array_changed_in_place_is_not_taken_for_a_probability(offline: Any) -> None:
    model = MLPClassifier((3,), max_iter=5)
    with pytest.warns(match="Stochastic Optimizer|Maximum iterations"):
        model.fit(X, Y)
    offline.clear()
    output = model.predict_log_proba(X)
    np.testing.assert_array_equal(offline.calls[0].output, output)
    assert offline.calls[0].outputs is None


def test_available_if_keeps_telling_the_truth(offline: Any) -> None:
    without = make_pipeline(StandardScaler(), SVC()).fit(X, Y)
    voting = VotingClassifier([("a", TREE)]).fit(X, Y)
    assert not hasattr(without, "predict_proba")
    assert not hasattr(voting, "predict_proba")
    with pytest.raises(AttributeError, match="predict_proba"):
        without.predict_proba(X)
    assert hasattr(without, "decision_function")
    without.decision_function(X)
    assert offline.methods == ["decision_function"]


def test_classes_defined_later(offline: Any) -> None:
    class Threshold(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
        def fit(self, X: Any, y: Any) -> Threshold:
            self.classes_ = np.unique(y)
            self.predict(X)
            return self

        def predict(self, X: Any) -> Any:
            return (np.asarray(X)[:, 0] > 0).astype(int)

        def predict_proba(self, X: Any) -> Any:
            p = self.predict(X)
            return np.stack([1 - p, p], axis=1)

    class Above(Threshold):
        def predict(self, X: Any) -> Any:
            return super().predict(X)

    for cls in (Threshold, Above):
        offline.clear()
        model = cls().fit(X, Y)
        assert offline.calls == []
        model.predict(X)
        model.predict_proba(X)
        assert offline.methods == ["predict", "predict_proba"]
        assert all(call.model is model for call in offline.calls)
    MLInstrumentor().uninstrument()
    offline.clear()
    Above().fit(X, Y).predict(X)
    assert offline.calls == []
    assert vars(Above)["predict"].__qualname__.endswith("Above.predict")
    assert not hasattr(vars(Above)["predict"], "__wrapped__")


def test_classes_without_a_chained_init_subclass_are_found_when_instrumented_again(
    offline: Any,
) -> None:
    class Rude:
        def __init_subclass__(cls) -> None:
            """Do not call the next one."""

    class Missed(Rude, BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
        def predict(self, X: Any) -> Any:
            return X

    Missed().predict(X)
    assert offline.calls == []
    MLInstrumentor().uninstrument()
    MLInstrumentor().instrument()
    Missed().predict(X)
    assert offline.methods == ["predict"]


@pytest.mark.fault("A8")
def test_double_instrumentation_counts_once(offline: Any) -> None:
    MLInstrumentor().instrument()
    MLInstrumentor().instrument()
    LogisticRegression().fit(X, Y).predict(X)
    assert offline.methods == ["predict"]
    MLInstrumentor().uninstrument()
    MLInstrumentor().uninstrument()
    LogisticRegression().fit(X, Y).predict(X)
    assert offline.methods == ["predict"]


@pytest.mark.fault("A8")
def test_turning_off_during_a_call(offline: Any) -> None:
    def turning_off(X: Any) -> Any:
        MLInstrumentor().uninstrument()
        return X

    model = make_pipeline(FunctionTransformer(turning_off), LogisticRegression())
    MLInstrumentor().uninstrument()
    model.fit(X, Y)
    MLInstrumentor().instrument()
    model.predict(X)
    assert offline.methods == ["predict"]
    model.predict(X)
    assert offline.methods == ["predict"]


@pytest.mark.fault("A6")
def test_errors_pass_untouched_and_are_captured(offline: Any) -> None:
    with pytest.raises(NotFittedError) as plain:
        LogisticRegression().predict(X)
    assert type(plain.value) is NotFittedError
    (call,) = offline.calls
    assert (call.error, call.output, call.method) == ("NotFittedError", None, "predict")

    class Stop(BaseException):
        pass

    class Stopping(BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
        def predict(self, X: Any) -> Any:
            raise Stop

    with pytest.raises(Stop):
        Stopping().predict(X)
    assert offline.calls[1].error == "Stop"
    assert SCOPE.get() is None


@pytest.mark.fault("A1")
@pytest.mark.parametrize("failing", ["submit", "skip"])
@pytest.mark.parametrize("error", [ValueError, SystemExit, MemoryError, RecursionError])
def test_our_own_errors_never_reach_the_application(
    offline: Any,
    monkeypatch: pytest.MonkeyPatch,
    use_settings: Callable[..., Any],
    failing: str,
    error: type[BaseException],
) -> None:
    def fail(*args: object) -> None:
        raise error

    model = LogisticRegression().fit(X, Y)
    expected = model.predict(X)
    use_settings({"offline": failing == "submit"})
    offline.clear()
    monkeypatch.setattr(offline, failing, fail)
    np.testing.assert_array_equal(model.predict(X), expected)
    assert offline.skipped == ([("invalid_input", 1)] if failing == "submit" else [])


@pytest.mark.fault("A2", "B9")
def test_objects_that_must_not_be_touched(offline: Any) -> None:
    class Hostile:
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(name)

        def __len__(self) -> int:
            raise AssertionError

        def __iter__(self) -> Any:
            raise AssertionError

        def __array__(self) -> Any:
            raise AssertionError

        def __eq__(self, other: object) -> bool:
            raise AssertionError

        def __hash__(self) -> int:
            raise AssertionError

        def __bool__(self) -> bool:
            raise AssertionError

    class Echo(BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
        def predict(self, *args: Any, **kwargs: Any) -> Any:
            return Hostile()

    hostile = Hostile()
    request = Request()
    SCOPE.set(request)
    try:
        Echo().predict(hostile)
        Echo().predict()
        Echo().predict(X=hostile)
        Echo().predict(T=hostile)
        Echo().predict({Hostile: hostile, "a": hostile})
        Echo().predict([hostile, [hostile], {"a": hostile}])
    finally:
        SCOPE.set(None)
        request.close()
    assert len(offline.calls) == 6
    assert offline.skipped == []
    assert offline.calls[0].features is hostile
    assert offline.calls[1].features is None
    assert offline.calls[2].features is hostile
    assert offline.calls[3].features is hostile


@pytest.mark.fault("A5")
def test_what_the_application_changes_afterwards_does_not_matter(offline: Any) -> None:
    model = make_pipeline(StandardScaler(copy=False), LogisticRegression())
    model.fit(X.copy(), Y)
    array = X.copy()
    rows = X.tolist()
    output = model.predict(array)  # the scaler overwrites the array during the call
    assert not np.array_equal(array, X)
    expected = output.copy()
    output[:] = 9
    model.predict(rows)
    rows[0][0] = 99.0
    rows.pop()
    first, second = offline.calls
    np.testing.assert_array_equal(first.features, X)
    np.testing.assert_array_equal(first.output, expected)
    np.testing.assert_array_equal(np.array(second.features), X)


@pytest.mark.fault("B11")
def test_outputs_of_every_shape(offline: Any) -> None:
    several = MultiOutputClassifier(LogisticRegression()).fit(X, np.stack([Y, 1 - Y], axis=1))
    several.predict(X)
    several.predict_proba(X)
    LinearRegression().fit(X, X[:, :2]).predict(X)
    GaussianProcessRegressor().fit(X, X[:, 0]).predict(X[:7], return_std=True)
    shapes = [np.shape(call.output) for call in offline.calls]
    assert shapes == [(60, 2), (2, 60, 2), (60, 2), (7,)]
    assert type(offline.calls[1].output) is list


@pytest.mark.filterwarnings("ignore")
def test_bound_methods_in_threads(offline: Any) -> None:
    model = RandomForestClassifier(n_estimators=4, n_jobs=2).fit(X, Y)
    expected = model.predict(X)
    offline.clear()
    parts = Parallel(n_jobs=2, backend="threading")(delayed(model.predict)(X) for _ in range(6))
    assert offline.methods == ["predict"] * 6
    for part in parts:
        np.testing.assert_array_equal(part, expected)


def test_models_of_main_pickle_by_value_and_load_without_otel_ml(tmp_path: Path) -> None:
    """cloudpickle writes classes of ``__main__`` with their methods; ours must not go along."""
    pytest.importorskip("cloudpickle")
    root = Path(__file__).parents[2]
    writer = textwrap.dedent(
        """
        import sys; sys.path.insert(0, sys.argv[2])
        from otel_ml.capture import MLInstrumentor, _scope
        class Sink:
            n = 0
            def submit(self, captured): self.n += 1
            def skip(self, reason, n=1): self.n += n
        _scope._current_sink = sink = Sink()
        MLInstrumentor().instrument()
        import cloudpickle
        from joblib import Parallel, delayed, parallel_config
        from sklearn.base import BaseEstimator
        from sklearn.utils.metaestimators import available_if
        class Mine(BaseEstimator):
            def fit(self, X, y=None): return self
            def predict(self, X): return [sum(row) for row in X]
            @available_if(lambda self: True)
            def predict_proba(self, X): return [[0.5, 0.5] for row in X]
        model = Mine().fit([[1]])
        assert model.predict([[1, 2]]) == [3] and sink.n == 1
        assert model.predict_proba([[1, 2]]) == [[0.5, 0.5]] and sink.n == 2
        assert Mine.predict(model, [[1]]) == [1] and sink.n == 3
        assert Parallel(n_jobs=2)(delayed(model.predict)([[i]]) for i in range(2)) == [[0], [1]]
        with open(sys.argv[1], "wb") as file: cloudpickle.dump(model, file)
        """
    )
    reader = textwrap.dedent(
        """
        import pickle, sys
        sys.modules["otel_ml"] = None
        with open(sys.argv[1], "rb") as file: model = pickle.load(file)
        assert model.fit([[1]]).predict([[1, 2]]) == [3]
        assert model.predict_proba([[1]]) == [[0.5, 0.5]]
        assert "otel_ml" not in repr(vars(type(model)))
        """
    )
    for number, text in enumerate((writer, reader)):
        script = tmp_path / f"{number}.py"
        script.write_text(text)
        done = subprocess.run(
            [sys.executable, str(script), str(tmp_path / "model.pkl"), str(root)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
