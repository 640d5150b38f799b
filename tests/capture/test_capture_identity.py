"""Names and versions of models: configuration, then load path, then class."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sklearn")

import joblib
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from otel_ml import identity
from otel_ml.config import ModelSettings, Settings
from otel_ml.identity import class_names, loaded_from, remember, resolve
from otel_ml.types import ModelKey

NONE = Settings()
X, Y = [[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1]


def test_a_class_is_the_last_resort_and_has_no_version() -> None:
    assert resolve(SVC(), NONE) == (ModelKey("SVC", None), "class")
    assert resolve(object(), NONE) == (ModelKey("object", None), "class")


def test_wrappers_are_named_by_what_they_hold() -> None:
    pipe = make_pipeline(StandardScaler(), LogisticRegression())
    search = GridSearchCV(pipe, {}, cv=2)
    assert class_names(pipe) == ("LogisticRegression", "Pipeline")
    assert class_names(search) == ("GridSearchCV",)
    assert class_names(search.fit(X, Y)) == ("LogisticRegression", "Pipeline", "GridSearchCV")
    assert class_names(Pipeline([("only", "passthrough")])) == ("Pipeline",)
    endless = Pipeline([])
    endless.steps = [("again", endless)]
    assert class_names(endless)[0] == "Pipeline"


def test_no_code_of_the_model_runs() -> None:
    class Hostile:
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(name)

        def __eq__(self, other: object) -> bool:
            raise AssertionError

        def __hash__(self) -> int:
            raise AssertionError

    model = Hostile()
    remember(model, "/models/hostile.bin")
    assert resolve(model, NONE) == (ModelKey("hostile"), "load_path")


@pytest.mark.parametrize("as_file", [False, True])
def test_the_load_path_names_a_model(instrumented: Any, tmp_path: Path, as_file: bool) -> None:
    path = tmp_path / "income-2015.joblib"
    joblib.dump(LogisticRegression(), path)
    if as_file:
        with path.open("rb") as file:
            model = joblib.load(file)
    else:
        model = joblib.load(filename=path)
    assert resolve(model, NONE) == (ModelKey("income-2015"), "load_path")
    other = joblib.load(str(path))
    assert loaded_from(other) == "income-2015"


def test_bundles(instrumented: Any, tmp_path: Path) -> None:
    one, two = tmp_path / "one.joblib", tmp_path / "two.joblib"
    joblib.dump({"model": SVC(), "scaler": StandardScaler(), "columns": ["a"]}, one)
    joblib.dump((SVC(), LogisticRegression()), two)
    assert loaded_from(joblib.load(one)["model"]) == "one"
    assert [loaded_from(model) for model in joblib.load(two)] == ["two.0", "two.1"]


def test_loading_fails_as_before(instrumented: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        joblib.load(tmp_path / "missing.joblib")
    with pytest.raises(TypeError):
        joblib.load()


def test_a_path_is_forgotten_with_its_model() -> None:
    model = SVC()
    remember(model, "a/b.pkl")
    size = len(identity._STEMS)
    del model
    gc.collect()
    assert len(identity._STEMS) == size - 1
    remember(1, "a/b.pkl")
    assert loaded_from(1) is None


def test_configuration_comes_first() -> None:
    settings = Settings(
        models=(
            ModelSettings(name="by-path", version="7", match="income"),
            ModelSettings(name="by-class", match="LogisticRegression"),
            ModelSettings(name="by-wrapper", match="GridSearchCV"),
        )
    )
    loaded = LogisticRegression()
    remember(loaded, "/models/income.joblib")
    assert resolve(loaded, settings) == (ModelKey("by-path", "7"), "configuration")
    pipe = make_pipeline(StandardScaler(), LogisticRegression())
    assert resolve(pipe, settings) == (ModelKey("by-class"), "configuration")
    search = GridSearchCV(SVC(), {}, cv=2)
    assert resolve(search, settings) == (ModelKey("by-wrapper"), "configuration")
    assert resolve(SVC(), settings) == (ModelKey("SVC"), "class")


def test_a_single_entry_needs_no_match() -> None:
    one = Settings(models=(ModelSettings(name="churn", version="2"),))
    assert resolve(SVC(), one) == (ModelKey("churn", "2"), "configuration")
    nameless = Settings(models=(ModelSettings(version="2"),))
    assert resolve(SVC(), nameless) == (ModelKey("SVC", "2"), "class")


def test_a_name_given_by_hand_stays() -> None:
    settings = Settings(models=(ModelSettings(name="churn", version="2"),))
    assert resolve(ModelKey("churn"), settings) == (ModelKey("churn", "2"), "given")
    assert resolve(ModelKey("churn", "3"), settings) == (ModelKey("churn", "3"), "given")
    assert resolve(ModelKey("other"), settings) == (ModelKey("other"), "given")
