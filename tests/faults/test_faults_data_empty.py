"""Nothing at all, and one odd prediction among others: what was there is counted, exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import otel_ml
from otel_ml.profile import Reference
from otel_ml.semconv import metrics as m
from tests.faults.oracles import faulty


@pytest.mark.fault("B4")
@pytest.mark.parametrize(
    "features", [np.zeros((0, 3)), [], {"a": []}, pd.DataFrame({"a": []})], ids=str
)
def test_an_empty_batch_is_no_prediction(features: Any) -> None:
    with faulty() as trial:
        trial.observe(0, features=features, scores=[], predictions=[])
        trial.observe(0, features=features)
        trial.observe(0, predictions=[])


@pytest.mark.fault("B8", "B11")
@pytest.mark.parametrize(
    "odd", ["\ud800", b"\x80", 1j, [1], {}, None, 10**400, object(), np.zeros(2)]
)
def test_one_odd_prediction_does_not_lose_its_neighbours(odd: Any) -> None:
    with faulty() as trial:
        trial.observe(3, features=[[1.0]] * 3, predictions=["a", odd, "b"])
        assert trial.books().counted == trial.given
        assert trial.sink.value(m.ML_PREDICTIONS, ml_model_name="m") == 3


@pytest.mark.fault("B10")
def test_the_difference_is_told_by_name(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    path = tmp_path / "reference.json"
    columns = {"a": rng.normal(size=2000), "b": rng.choice(["x", "y"], 2000)}
    Reference.build(columns, scores=rng.random(2000), model_name="m").save(path)
    with faulty(settings={"models": [{"name": "m", "reference": str(path)}]}) as trial:
        for _ in range(40):
            renamed = {"other": rng.normal(size=60), "b": rng.choice(["x", "y"], 60)}
            trial.observe(60, features=renamed, scores=rng.random(60))
        trial.books()
        (event,) = trial.sink.events("ml.incident")
        told = str(event)
        assert "missing: a" in told
        assert "new: other" in told


@pytest.mark.fault("B12")
@pytest.mark.parametrize("kind", ["logits", "negative", "sum", "nan"])
def test_no_calibration_is_made_of_them(probabilities: dict[str, Any], kind: str) -> None:
    rng = np.random.default_rng(4)
    n = 2000
    scores = {
        "logits": rng.normal(scale=4, size=n),
        "negative": -rng.random(n) - 0.1,
        "sum": np.full((n, 2), 0.9),
        "nan": np.full(n, np.nan),
    }[kind]
    with faulty(settings=probabilities) as trial:
        ids = [f"i{i}" for i in range(n)]
        trial.observe(n, features={"a": rng.normal(size=n)}, scores=scores, ids=ids)
        # those few logits that could be probabilities mean what they say
        told = (rng.random(n) < scores).tolist() if kind == "logits" else [True] * n
        labels = ["1" if yes else "0" for yes in told]
        trial.call(otel_ml.record_labels, ids=ids, labels=labels, model="m")
        trial.books()
        events = trial.sink.events("ml.incident")
        found = [e for e in events if "calibration" in str(e.attributes)]
        assert not found or kind == "sum", found


@pytest.fixture(scope="module")
def probabilities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    path = tmp_path_factory.mktemp("reference") / "reference.json"
    scores = rng.random(4000)
    labels = np.where(rng.random(4000) < scores, "1", "0")
    columns = {"a": rng.normal(size=4000)}
    Reference.build(columns, scores=scores, labels=labels, model_name="m").save(path)
    return {"models": [{"name": "m", "reference": str(path)}]}
