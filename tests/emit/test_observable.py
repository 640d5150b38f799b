"""Pull readers see the latest samples."""

from __future__ import annotations

import os
from typing import Any

import pytest
from opentelemetry import _logs, metrics
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest

from otel_ml.emit.observable import ObservableSink
from otel_ml.semconv import SCHEMA_URL
from otel_ml.types import Sample


@pytest.fixture
def providers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make providers with real readers the global ones, for one test."""

    class Found:
        registry = CollectorRegistry()
        memory = InMemoryMetricReader()
        logs = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]  # untyped in the SDK

        def scrape(self) -> str:
            return generate_latest(self.registry).decode()

    found = Found()
    prometheus = PrometheusMetricReader(registry=found.registry)
    meters = MeterProvider([prometheus, found.memory])
    loggers = LoggerProvider()
    loggers.add_log_record_processor(SimpleLogRecordProcessor(found.logs))
    # The API lets a global provider be set once per process, so its getters are replaced.
    monkeypatch.setattr("otel_ml.emit.observable.get_meter_provider", lambda: meters)
    monkeypatch.setattr("otel_ml.emit.observable.get_logger_provider", lambda: loggers)
    yield found
    meters.shutdown()
    loggers.shutdown()


def line(text: str, *parts: str) -> str:
    found = [row for row in text.splitlines() if all(part in row for part in parts)]
    assert len(found) == 1, (parts, text)
    return found[0].rpartition(" ")[2]


def test_a_scrape_contains_every_kind(make: Any, providers: Any) -> None:
    sink = ObservableSink()
    report = make.send(
        sink,
        make.counter(3, "ml.predictions", a="x"),
        make.counter(4, "ml.predictions", a="y"),
        make.updown(-2, "ml.monitor.status"),
        make.gauge(0.25, "ml.drift.score"),
        Sample(
            make.definition("histogram", "ml.inference.duration", "s"),
            {"ml.model.name": "m"},
            make.histogram((1, 2, 3), 4.5).value,
        ),
    )
    assert report.ok
    text = providers.scrape()
    assert line(text, "ml_predictions_total{", 'a="x"') == "3.0"
    assert line(text, "ml_predictions_total{", 'a="y"', 'ml_model_name="m"') == "4.0"
    assert line(text, "ml_monitor_status{") == "-2.0"
    assert line(text, "ml_drift_score{") == "0.25"
    name = "ml_inference_duration_bucket_total{"
    assert [line(text, name, f'le="{le}"') for le in ("0.5", "1.0", "+Inf")] == [
        "1.0",
        "3.0",
        "6.0",
    ]
    assert line(text, "ml_inference_duration_sum_seconds_total{") == "4.5"
    assert 'otel_scope_name="otel_ml"' in text


def test_the_latest_samples_replace_the_earlier_and_instruments_are_made_once(
    make: Any, providers: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sink = ObservableSink()
    make.send(sink, make.counter(3), make.gauge(1, a="gone"))
    make.send(sink, make.counter(5), make.gauge(2, a="here"))
    text = providers.scrape()
    assert line(text, "ml_test_counter_total{") == "5.0"
    assert line(text, "ml_test_gauge{") == "2.0"
    assert caplog.text == ""


def test_a_histogram_without_a_sum_shows_none(make: Any, providers: Any) -> None:
    make.send(ObservableSink(), make.histogram((1, 2, 3)))
    assert "_sum" not in providers.scrape()


def test_the_scope_carries_the_schema(make: Any, providers: Any) -> None:
    make.send(ObservableSink(), make.counter(1))
    (resource,) = providers.memory.get_metrics_data().resource_metrics
    assert resource.scope_metrics[0].scope.schema_url == SCHEMA_URL


def test_a_bad_sample_loses_only_itself(make: Any, providers: Any) -> None:
    bad = Sample(make.definition("histogram"), {}, 7)
    report = make.send(
        ObservableSink(),
        make.gauge(float("nan"), a="x"),
        make.gauge(1, a="y"),
        make.gauge(1, a=object()),
        make.histogram((1, 2)),
        bad,
    )
    assert report.dropped == {"unencodable": 4}
    assert line(providers.scrape(), "ml_test_gauge{", 'a="y"') == "1.0"


def test_a_forked_child_does_not_show_its_parents_samples(make: Any, providers: Any) -> None:
    sink = ObservableSink()
    make.send(sink, make.counter(3))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        shown = b"ml_test_counter_total{" in generate_latest(providers.registry)
        os.write(writer, b"1" if shown else b"0")
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        assert answer.read() == b"0"
    os.waitpid(child, 0)
    assert "ml_test_counter_total{" in providers.scrape()


def test_events_go_through_the_logger_provider(make: Any, providers: Any) -> None:
    sink = ObservableSink(metrics=False, logs=True)
    told = make.event(
        attributes={"members": ["a", "b"], "bad": object(), "n": 1},
        body="Look.",
        trace_id=7,
        span_id=8,
    )
    report = make.send(sink, make.counter(1), events=[told, make.event(time_ns=-1)])
    assert report.dropped == {"unencodable": 1}
    assert report.outcomes == {"logs": "success"}
    (log,) = providers.logs.get_finished_logs()
    record = log.log_record
    assert (record.event_name, record.body, record.timestamp) == ("ml.incident", "Look.", make.NOW)
    assert (record.severity_number.value, record.trace_id, record.span_id) == (13, 7, 8)
    assert dict(record.attributes) == {"members": ("a", "b"), "n": 1}
    assert "ml_test" not in providers.scrape()


def test_a_provider_that_fails_does_not_reach_the_caller(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Any:
        raise RuntimeError("no provider")

    monkeypatch.setattr("otel_ml.emit.observable.get_meter_provider", broken)
    assert not make.send(ObservableSink(), make.counter(1)).ok


def test_without_a_provider_nothing_happens(make: Any) -> None:
    assert isinstance(metrics.get_meter_provider(), object)
    assert isinstance(_logs.get_logger_provider(), object)
    sink = ObservableSink(metrics=True, logs=True)
    assert make.send(sink, make.counter(1), events=[make.event()]).ok
    sink.shutdown(1)
