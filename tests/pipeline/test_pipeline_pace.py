"""What waits is looked at seldom; what is much, or large, is not kept waiting."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from otel_ml import buffer
from otel_ml.buffer import Pipeline
from otel_ml.frame import INLINE
from otel_ml.snapshot import is_large
from otel_ml.worker import Worker

HANG = 20.0
SILENT = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("METRICS", "LOGS", "TRACES")}


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    """Return a pipeline that looks at its queue once an hour, unless it is woken."""
    monkeypatch.setattr(buffer, "_PAUSE", 3600.0)
    monkeypatch.setattr(Worker, "rest", lambda self, least, most: most)
    pipeline = Pipeline(environ=SILENT)
    yield pipeline
    assert pipeline.shutdown(HANG)


def until_taken(pipeline: Pipeline) -> None:
    deadline = time.monotonic() + HANG
    while pipeline.queue:
        assert time.monotonic() < deadline, "the worker does not look"
        time.sleep(0.01)


def test_a_large_input_is_let_go(patient: Pipeline, calls: Any) -> None:
    for _ in range(20):
        patient.submit(calls.some(1))
    assert not patient._wake.hinted
    assert len(patient.queue) == 20
    patient.submit(calls.some(1_000))
    until_taken(patient)
    patient.submit(calls.some(1_000))  # and so is the next
    until_taken(patient)


def test_a_quarter_of_the_queue_is_taken_at_once(patient: Pipeline, calls: Any) -> None:
    for _ in range(patient.capacity // 4 - 1):
        patient.submit(calls.some(1))
    assert len(patient.queue) == patient.capacity // 4 - 1
    patient.submit(calls.some(1))
    until_taken(patient)


def frame(features: object, output: object, *row: float) -> list[Any]:
    return [object(), "predict", features, output, 0, None, None, None, None, None, *row]


@pytest.mark.parametrize(
    ("call", "large"),
    [
        (frame(INLINE, np.zeros(1), 1.0, 2.0), False),
        (frame(np.zeros((1, 30)), np.zeros(1)), False),
        (frame(np.zeros((1_000, 30)), np.zeros(1_000)), True),
        (frame([[1.0]] * 30, np.zeros(30)), False),
        (frame([[1.0]] * 300, np.zeros(300)), True),
        (frame(object(), np.zeros(3)), False),
        (frame(object(), np.zeros(300)), True),
    ],
)
def test_what_is_large(call: list[Any], large: bool) -> None:
    assert is_large(call) is large
