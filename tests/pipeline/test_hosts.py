"""Whose telemetry it is: names, versions, references, and what happens when they do not fit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import otel_ml
from otel_ml import config, pipeline
from otel_ml.hosts import namespace_of
from otel_ml.semconv import metrics as m
from otel_ml.testing import FakeModel, MemoryPipeline

HANG = 20.0


class OtherModel(FakeModel):
    """Another class."""


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., MemoryPipeline]]:
    """Start a pipeline under a configuration."""
    running: list[MemoryPipeline] = []

    def begin(settings: Any = None, **environ: str) -> MemoryPipeline:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        config.reset()
        if settings:
            assert config.configure(settings).config_error is None
        made = MemoryPipeline()
        pipeline.replace(made)
        running.append(made)
        return made

    before = pipeline.replace(None)
    yield begin
    pipeline.replace(before)
    for each in running:
        each.shutdown(HANG)
    config.reset()


def named(running: MemoryPipeline) -> dict[tuple[Any, Any], float]:
    assert running.flush(HANG)
    return {
        (s.attributes["ml.model.name"], s.attributes.get("ml.model.version")): float(s.value)  # type: ignore[arg-type]  # a counter
        for s in running.sink.samples(m.ML_PREDICTIONS)
    }


def state_of(running: MemoryPipeline) -> set[Any]:
    return {
        s.attributes["ml.reference.state"]
        for s in running.sink.samples(m.ML_REFERENCE_LEARNING_RATIO)
    }


def test_a_reference_names_the_model_the_configuration_does_not(
    start: Any, calls: Any, reference_file: Any
) -> None:
    running = start(OTEL_ML_REFERENCE=str(reference_file("churn", "7")))
    for _ in range(3):
        running.submit(calls.some(2))
    assert named(running) == {("churn", "7"): 6}
    assert state_of(running) == {"frozen"}


def test_a_configured_name_with_its_reference_gets_the_version(
    start: Any, calls: Any, reference_file: Any
) -> None:
    running = start(OTEL_ML_REFERENCE=str(reference_file("churn", "7")), OTEL_ML_MODEL_NAME="churn")
    running.submit(calls.some(2))
    running.submit(calls.some(2))
    assert named(running) == {("churn", "7"): 4}


def test_models_are_told_apart_by_class(start: Any, calls: Any, reference_file: Any) -> None:
    running = start(
        {
            "models": [
                {"name": "one", "match": "FakeModel", "reference": str(reference_file("one"))},
                {"name": "two", "match": "OtherModel", "version": "2"},
            ]
        }
    )
    running.submit(calls.some(2))
    running.submit(calls.of(np.zeros((3, 2)), model=OtherModel()))
    assert named(running) == {("one", None): 2, ("two", "2"): 3}
    frozen = running.sink.samples(m.ML_REFERENCE_LEARNING_RATIO, ml_model_name="one")
    assert [s.attributes["ml.reference.state"] for s in frozen] == ["frozen"]


def test_entries_of_two_versions_each_have_their_reference(start: Any, reference_file: Any) -> None:
    running = start(
        {
            "models": [
                {"name": "m", "version": "1", "match": "x"},
                {"name": "m", "version": "2", "reference": str(reference_file("m", "2"))},
            ]
        }
    )
    otel_ml.observe(model="m", version="2", scores=[0.5])
    otel_ml.observe(model="m", version="1", scores=[0.5])
    assert named(running) == {("m", "2"): 1, ("m", "1"): 1}
    for version, state in (("2", "frozen"), ("1", "learning")):
        (found,) = running.sink.samples(m.ML_REFERENCE_LEARNING_RATIO, ml_model_version=version)
        assert found.attributes["ml.reference.state"] == state


@pytest.mark.parametrize("way", ["configured", "given", "version"])
def test_a_reference_of_another_model_is_refused_with_a_clear_error(
    start: Any, calls: Any, reference_file: Any, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    path = str(reference_file("churn", "7"))
    if way == "configured":
        running = start(OTEL_ML_REFERENCE=path, OTEL_ML_MODEL_NAME="fraud")
        running.submit(calls.some(5))
        name: tuple[str, str | None] = ("fraud", None)
    elif way == "version":
        running = start(
            OTEL_ML_REFERENCE=path, OTEL_ML_MODEL_NAME="churn", OTEL_ML_MODEL_VERSION="8"
        )
        running.submit(calls.some(5))
        name = ("churn", "8")
    else:
        running = start(OTEL_ML_REFERENCE=path)
        otel_ml.observe(model="fraud", scores=[0.5] * 5)
        name = ("fraud", None)
    assert named(running) == {name: 5}
    assert state_of(running) == {"learning"}
    (record,) = [r for r in caplog.records if r.levelname == "ERROR"]
    said = record.getMessage()
    assert path in said
    assert "remedy" in said
    assert ("'7'" in said and "'8'" in said) if way == "version" else "'fraud'" in said


@pytest.mark.parametrize("damage", ["missing", "no json", "changed", "empty", "folder"])
def test_a_reference_that_cannot_be_read_is_said_once(
    start: Any, calls: Any, reference_file: Any, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    path: Path = reference_file()
    if damage == "changed":
        data = json.loads(path.read_text())
        data["threshold"] = 0.75
        path.write_text(json.dumps(data))
    elif damage == "no json":
        path.write_text("{")
    elif damage == "empty":
        path.write_text("")
    else:
        path.unlink()
        if damage == "folder":
            path.mkdir()
    running = start(OTEL_ML_REFERENCE=str(path))
    for _ in range(3):
        running.submit(calls.some(5))
    assert named(running) == {("FakeModel", None): 15}
    assert state_of(running) == {"learning"}
    assert len([r for r in caplog.records if str(path) in r.getMessage()]) == 1


def test_beyond_the_most_models_predictions_are_counted_as_dropped(start: Any, books: Any) -> None:
    running = start()
    for i in range(53):
        otel_ml.observe(model=f"m{i}", scores=[0.5, 0.5])
    found = books(running)
    assert found.dropped == {"overflow": 6}
    assert found.counted == 100
    otel_ml.observe(model="m1", scores=[0.5])
    assert books(running).counted == 101


def test_what_was_learned_is_kept_across_restarts(
    start: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    environ = {"OTEL_ML_STATE_DIR": str(tmp_path / "state"), "OTEL_ML_LEARN_ROWS": "200"}
    first = start(**environ)
    for _ in range(2):
        x = rng.normal(size=150)
        otel_ml.observe(model="m", version="1", features={"x": x}, scores=1 / (1 + np.exp(-x)))
    assert first.flush(HANG)
    (kept,) = (tmp_path / "state").glob("reference-*.json")
    states = [e.attributes["ml.reference.state"] for e in first.sink.events("ml.reference")]
    assert states == ["learning", "frozen"]
    ids = {s.attributes["ml.reference.id"] for s in first.sink.samples(m.ML_FEATURE_VALUE)}

    second = start()
    otel_ml.observe(model="m", version="1", features={"x": [0.0]}, scores=[0.5])
    otel_ml.observe(model="m", version="2", features={"x": [0.0]}, scores=[0.5])
    assert second.flush(HANG)
    assert {s.attributes["ml.reference.id"] for s in second.sink.samples(m.ML_FEATURE_VALUE)} == ids
    by_version = {
        (e.attributes["ml.model.version"], e.attributes["ml.reference.state"])
        for e in second.sink.events("ml.reference")
    }
    assert by_version == {("1", "frozen"), ("2", "learning")}

    kept.write_text("damaged")
    third = start()
    otel_ml.observe(model="m", version="1", features={"x": [0.0]}, scores=[0.5])
    assert third.flush(HANG)
    assert state_of(third) == {"learning"}
    assert str(kept) in caplog.text


def test_a_state_directory_that_cannot_be_written_costs_only_the_keeping(
    start: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file")
    running = start(OTEL_ML_STATE_DIR=str(tmp_path / "state"), OTEL_ML_LEARN_ROWS="100")
    scores = np.linspace(0, 1, 150)
    otel_ml.observe(model="m", features={"a": scores * 2}, scores=scores)
    assert named(running) == {("m", None): 150}
    assert "frozen" in state_of(running)
    assert "not kept" in caplog.text


def test_namespace_tells_services_and_environments_apart() -> None:
    staging = "service.namespace=shop, deployment.environment.name=staging,service.name=a"
    assert namespace_of({"OTEL_RESOURCE_ATTRIBUTES": staging}) == "shop/a/staging"
    named = {"OTEL_RESOURCE_ATTRIBUTES": staging, "OTEL_SERVICE_NAME": "b"}
    assert namespace_of(named) == "shop/b/staging"
    assert namespace_of({"OTEL_SERVICE_NAME": "b"}) == "b"
    assert namespace_of({"OTEL_RESOURCE_ATTRIBUTES": "nonsense"}) == ""
