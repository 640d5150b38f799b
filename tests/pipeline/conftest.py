"""A pipeline whose telemetry stays in memory, calls of a real model, and the books of both."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otel_ml._pytest_plugin import otel_ml_pipeline, otel_ml_receiver
from otel_ml.profile import Reference
from otel_ml.semconv import metrics as m
from otel_ml.testing import FakeModel, MemoryPipeline
from otel_ml.types import Captured

__all__ = ["otel_ml_pipeline", "otel_ml_receiver"]

HANG = 20.0  # seconds; a guard, not a measure


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


class Calls:
    """Calls of a model, as the capturing layer would hand them over."""

    def __init__(self) -> None:
        self.model = FakeModel(["a", "b"])

    def of(self, rows: Any, **fields: Any) -> Captured:
        method = fields.pop("method", "predict_proba")
        model = fields.pop("model", self.model)
        output = fields.pop("output", None)
        if output is None and "error" not in fields:
            output = getattr(model, method)(np.asarray(rows))
        return Captured(model, method, rows, output, time.time_ns(), 1_000_000, **fields)

    def some(self, n: int, seed: int = 0) -> Captured:
        return self.of(np.random.default_rng(seed).normal(size=(n, 2)))


@pytest.fixture
def calls() -> Calls:
    return Calls()


class Books:
    """What the telemetry says became of the predictions, once everything is exported."""

    def __init__(self, pipeline: MemoryPipeline) -> None:
        assert pipeline.flush(HANG)
        sink = pipeline.sink
        self.captured = sink.value(m.ML_MONITORING_CAPTURED)
        predictions = sink.samples(m.ML_PREDICTIONS)
        self.counted = sum(float(s.value) for s in predictions if isinstance(s.value, (int, float)))
        self.dropped = {
            str(s.attributes["ml.drop.reason"]): float(s.value)
            for s in sink.samples(m.ML_MONITORING_DROPPED)
            if s.value and isinstance(s.value, (int, float))
        }

    @property
    def balanced(self) -> bool:
        lost = sum(n for reason, n in self.dropped.items() if reason != "not_serving")
        return bool(self.captured == self.counted + lost)


@pytest.fixture
def books() -> Callable[[MemoryPipeline], Books]:
    return Books


@pytest.fixture
def reference_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a reference of the model in `Calls`."""

    def write(name: str = "FakeModel", version: str | None = None, **options: Any) -> Path:
        rows = np.random.default_rng(5).normal(size=(3000, 2))
        model = FakeModel()
        scores = model.predict_proba(rows)[:, 1]
        columns: Mapping[str, Any] = {"a": rows[:, 0], "b": rows[:, 1]}
        built: dict[str, Any] = {
            "scores": scores,
            "labels": model.predict(rows),
            "positive": "yes",
            "model_name": name,
            "model_version": version,
            **options,
        }
        path = tmp_path / f"{name}-reference.json"
        Reference.build({**columns, **built.pop("also", {})}, **built).save(path)
        return path

    return write
