"""What is offered to other people's tests: it records, it waits, and it finds what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import otel_ml
from otel_ml.emit import Receiver
from otel_ml.emit.build import build_sinks
from otel_ml.semconv import attributes as a
from otel_ml.semconv import metrics as m
from otel_ml.testing import FakeModel, ManualClock, MemorySink, assert_telemetry
from otel_ml.types import Buckets, Event, MetricDef, Sample

HANG = 20.0
NAMED = {a.ML_MODEL_NAME: "m"}


def export(receiver: Receiver, *samples: Sample, events: Any = ()) -> None:
    (sink,) = build_sinks({"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint})
    assert sink.export(samples, events, start_ns=1, now_ns=2_000_000_000, timeout=HANG).ok
    sink.shutdown(1)


def test_a_manual_clock_stands_still() -> None:
    clock = ManualClock(1000.0)
    assert (clock.time(), clock.monotonic()) == (1000.0, 0.0)
    clock.advance(5)
    assert (clock.time(), clock.monotonic()) == (1005.0, 5.0)
    clock.advance(-3600)
    assert (clock.time(), clock.monotonic()) == (1005.0 - 3600, 5.0)


def test_an_engine_runs_on_it() -> None:
    clock = ManualClock()
    reference = otel_ml.Reference.build(
        {"x": np.random.default_rng(0).normal(size=1000)}, model_name="m"
    )
    engine = otel_ml.Engine(reference, clock=clock)
    # the first hundred rows tell how rows depend on each other, and nothing else
    engine.observe({"x": np.random.default_rng(1).normal(size=100)})
    engine.observe({"x": np.linspace(90, 99, 10)})
    engine.evaluate()
    engine.observe({"x": np.linspace(80, 89, 10)})
    assert engine.evaluate() == [], "neither enough rows nor enough time since the last evaluation"
    clock.advance(60)
    (opened,) = engine.evaluate()
    assert opened.at == clock.time()


def test_a_sink_keeps_the_latest_samples_and_every_event() -> None:
    sink = MemorySink()
    event = Event("ml.incident", {a.ML_INCIDENT_STATE: "opened"}, 1, "info")
    for value in (1, 2):
        samples = [
            Sample(m.ML_PREDICTIONS, NAMED, value),
            Sample(m.ML_PREDICTIONS, {**NAMED, a.ERROR_TYPE: "KeyError"}, 10),
            Sample(m.ML_INFERENCE_DURATION, NAMED, Buckets((1.0,), (2, 3), 4.0)),
        ]
        sink.export(samples, [event], start_ns=0, now_ns=1, timeout=1)
    assert sink.value(m.ML_PREDICTIONS) == 12
    assert sink.value("ml.predictions", error_type="KeyError") == 10
    assert sink.value(m.ML_INFERENCE_DURATION) == 5
    assert len(sink.events("ml.incident")) == 2
    assert len(sink.events("ml.incident", ml_incident_state="closed")) == 0
    assert sink.events("ml.reference") == []
    assert sink.wait(lambda: sink.exports == 2, 0)
    assert not sink.wait(lambda: sink.exports == 3, 0.01)
    with pytest.raises(LookupError, match=r"error_type.*KeyError"):
        sink.value(m.ML_PREDICTIONS, error_type="OSError")


def test_a_fake_model_is_a_model() -> None:
    model = FakeModel(["a", "b"])
    X = np.array([[1.0, 2.0], [-1.0, -2.0]])
    probabilities = model.predict_proba(X)
    assert probabilities.sum(axis=1).tolist() == [1.0, 1.0]
    assert model.predict(X).tolist() == ["yes", "no"]
    assert (probabilities[:, 1] >= 0.5).tolist() == [True, False]
    assert model.classes_.tolist() == ["no", "yes"]
    assert model.feature_names_in_.tolist() == ["a", "b"]
    assert not hasattr(FakeModel(), "feature_names_in_")


def test_telemetry_as_it_should_be_passes(otel_ml_receiver: Receiver) -> None:
    export(otel_ml_receiver, Sample(m.ML_PREDICTIONS, NAMED, 1))
    assert_telemetry(otel_ml_receiver)
    assert_telemetry(otel_ml_receiver.metrics)


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        (
            Sample(MetricDef("ml.nonsense", "counter", "1", "x", (), ()), {}, 1),
            "missing_metric.*ml.nonsense",
        ),
        (Sample(m.ML_PREDICTIONS, {}, 1), "required_attribute_not_present.*ml.model.name"),
        (Sample(m.ML_PREDICTIONS, {**NAMED, a.ML_LABEL_CLASS: "x"}, 1), "ml.label.class"),
        (
            Sample(m.ML_MONITORING_DROPPED, {a.ML_DROP_REASON: "laziness"}, 1),
            "laziness",
        ),
        (
            Sample(MetricDef("ml.predictions", "counter", "s", "x", (), ()), NAMED, 1),
            "unit_mismatch",
        ),
    ],
)
def test_what_departs_from_the_registry_is_listed(
    otel_ml_receiver: Receiver, sample: Sample, said: str
) -> None:
    export(otel_ml_receiver, sample)
    with pytest.raises(AssertionError, match=said):
        assert_telemetry(otel_ml_receiver)


def test_an_event_that_departs_is_listed(otel_ml_receiver: Receiver) -> None:
    export(otel_ml_receiver, events=[Event("ml.incident", NAMED, 1, "info")])
    with pytest.raises(AssertionError, match=r"ml\.incident\.id"):
        assert_telemetry(otel_ml_receiver.logs)


def test_nothing_received_is_no_success(otel_ml_receiver: Receiver) -> None:
    with pytest.raises(AssertionError, match="no telemetry"):
        assert_telemetry(otel_ml_receiver)
    with pytest.raises(AssertionError, match="no telemetry"):
        assert_telemetry([])


def test_the_plugin_serves_other_peoples_tests(tmp_path: Path) -> None:
    (tmp_path / "test_app.py").write_text(
        textwrap.dedent(
            """
            import numpy as np
            import otel_ml
            from otel_ml.testing import assert_telemetry

            def test_one(otel_ml_pipeline):
                otel_ml.observe(model="churn", scores=np.array([0.2, 0.9]))
                assert otel_ml_pipeline.flush(20)
                assert otel_ml_pipeline.sink.value("ml.predictions", ml_model_name="churn") == 2

            def test_each_has_its_own(otel_ml_pipeline):
                otel_ml.observe(model="churn", scores=np.array([0.2]))
                assert otel_ml_pipeline.flush(20)
                assert otel_ml_pipeline.sink.value("ml.predictions") == 1

            def test_settings_are_those_of_the_test(monkeypatch, otel_ml_receiver, request):
                monkeypatch.setenv("OTEL_ML_ENABLED", "false")
                pipeline = request.getfixturevalue("otel_ml_pipeline")
                otel_ml.observe(model="churn", scores=np.array([0.2]))
                assert not pipeline.queue and pipeline.flush()
                assert otel_ml_receiver.metrics == []
            """
        )
    )
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "otel_ml._pytest_plugin"],
        cwd=tmp_path,
        env={
            **environ,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
