"""Every estimator scikit-learn has: captured once per call, silent in training, and unharmed."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator
from typing import Any

import joblib
import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import BaseEstimator, clone
from sklearn.utils import all_estimators
from sklearn.utils.estimator_checks import (
    _enforce_estimator_tags_X,
    _enforce_estimator_tags_y,
)

from otel_ml.capture.sklearn import PREDICTING, SklearnInstrumentor, _lineage

METHODS = sorted(PREDICTING)


def _instances() -> Iterator[Any]:
    """Yield one instance of each estimator that predicts and can be built without arguments."""
    try:
        from sklearn.utils._test_common.instance_generator import _construct_instances
    except ImportError:  # before 1.6
        from sklearn.utils.estimator_checks import _construct_instance

        def _construct_instances(cls: Any) -> Any:
            return [_construct_instance(cls)]

    from unittest import SkipTest

    for _, cls in all_estimators():
        if not any(hasattr(cls, method) for method in METHODS):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # deprecated estimators are served, too
                yield next(iter(_construct_instances(cls)))
        except (SkipTest, TypeError):
            continue


def _small(estimator: Any) -> Any:
    sizes = {"n_estimators": 3, "max_iter": 4, "n_init": 1, "n_jobs": 2, "random_state": 0, "cv": 2}
    known = estimator.get_params(deep=False)
    chosen = {key: value for key, value in sizes.items() if key in known}
    return estimator.set_params(**chosen)


def _data(estimator: Any) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 20)
    X = np.abs(rng.normal(size=(40, 4))) + y[:, None]
    return _enforce_estimator_tags_X(estimator, X), _enforce_estimator_tags_y(estimator, y)


def _state(classes: list[type]) -> dict[tuple[type, str], object]:
    found: dict[tuple[type, str], object] = {}
    for cls in classes:
        for name, value in vars(cls).items():
            if name in {"__abstractmethods__", "_abc_impl", "__doc__"}:
                continue
            found[cls, name] = value
            if type(value).__name__ == "_AvailableIfDescriptor":
                found[cls, name + ".fn"] = value.fn
    return found


ESTIMATORS = [pytest.param(e, id=type(e).__name__) for e in _instances()]


def test_the_sweep_is_wide() -> None:
    assert len(ESTIMATORS) > 100


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.filterwarnings("ignore")
def test_estimator(estimator: Any, request: pytest.FixtureRequest) -> None:
    estimator = _small(estimator)
    X, y = _data(estimator)
    try:
        plain = estimator.fit(X, y)
    except ValueError as error:
        pytest.skip(f"{type(estimator).__name__} needs data of its own: {error}")
    available = [method for method in METHODS if hasattr(plain, method)]
    document = pickle.dumps(plain)
    # Arrays may change their memory order in a pickle, which changes the last bits of a product.
    twin = pickle.loads(document)
    expected = {method: getattr(twin, method)(X) for method in available}

    recorder = request.getfixturevalue("offline")
    assert [method for method in METHODS if hasattr(plain, method)] == available
    model = clone(plain).fit(X, y)
    if hasattr(model, "score"):
        model.score(X, y)
    assert recorder.calls == [], "training and scoring are silent"
    assert recorder.skipped == []
    assert [method for method in METHODS if hasattr(model, method)] == available

    loaded = pickle.loads(pickle.dumps(model))
    again = pickle.loads(document)
    for method in available:
        recorder.clear()
        output = getattr(again, method)(X)
        _equal(output, expected[method])
        assert [(c.method, c.model is again) for c in recorder.calls] == [(method, True)]
        _equal(recorder.calls[0].output, output)
        assert recorder.calls[0].error is None
        recorder.clear()
        bound = pickle.loads(pickle.dumps(getattr(loaded, method)))
        bound(X)
        assert recorder.methods == [method]
    assert recorder.skipped == []


def _equal(left: Any, right: Any) -> None:
    if isinstance(left, list) and isinstance(right, list):
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            _equal(a, b)
        return
    if hasattr(left, "toarray"):
        left, right = left.toarray(), right.toarray()
    np.testing.assert_array_equal(left, right)


def test_uninstrument_leaves_every_class_as_it_was(offline: Any) -> None:
    SklearnInstrumentor().uninstrument()
    classes = list(_lineage(BaseEstimator))
    assert len(classes) > 200
    before = _state(classes)
    SklearnInstrumentor().instrument()
    during = _state(classes)
    assert sum(during.get(key) is not value for key, value in before.items()) > 200
    SklearnInstrumentor().uninstrument()
    after = _state(classes)
    assert before.keys() == after.keys()
    assert [key for key, value in before.items() if after[key] is not value] == []


@pytest.mark.filterwarnings("ignore")
def test_bound_methods_run_in_joblib_processes(offline: Any) -> None:
    from sklearn.linear_model import LogisticRegression

    X = np.arange(20.0)[:, None]
    model = LogisticRegression().fit(X, X[:, 0] > 9)
    expected = model.predict_proba(X[:5])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = joblib.Parallel(n_jobs=2)(
            joblib.delayed(model.predict_proba)(X[:5]) for _ in range(2)
        )
    np.testing.assert_array_equal(parts[0], expected)
    np.testing.assert_array_equal(parts[1], expected)
