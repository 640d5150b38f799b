"""Names in Prometheus: what otlptranslator 1.0.0 makes of each kind of metric."""

from __future__ import annotations

from typing import Literal

import pytest

from otel_ml.semconv import metrics
from otel_ml.semconv.prometheus import prometheus_label, prometheus_name, prometheus_series
from otel_ml.types import MetricDef

Instrument = Literal["counter", "updowncounter", "gauge", "histogram"]


@pytest.mark.parametrize(
    ("instrument", "name", "unit", "expected"),
    [
        # As seen in Prometheus and the Collector with the default strategy.
        ("gauge", "ml.drift.score", "1", "ml_drift_score_ratio"),
        ("gauge", "ml.drift.score", "{score}", "ml_drift_score"),
        ("gauge", "ml.fairness.selection_rate.ratio", "1", "ml_fairness_selection_rate_ratio"),
        ("updowncounter", "ml.monitor.status", "1", "ml_monitor_status"),
        ("counter", "ml.predictions", "{prediction}", "ml_predictions_total"),
        ("histogram", "ml.inference.duration", "s", "ml_inference_duration_seconds"),
        ("histogram", "ml.prediction.score", "1", "ml_prediction_score"),
        # Rules the names of this project do not use today.
        ("counter", "ml.total.bytes", "By", "ml_bytes_total"),
        ("gauge", "ml.duration.seconds", "s", "ml_duration_seconds"),
        ("gauge", "ml.rate", "By/s", "ml_rate_bytes_per_second"),
        ("gauge", "ml.rate", "{row}/s", "ml_rate_per_second"),
        ("gauge", "ml.x", "furlong", "ml_x_furlong"),
        ("gauge", "2.x", "1", "_2_x_ratio"),
    ],
)
def test_name(instrument: Instrument, name: str, unit: str, expected: str) -> None:
    assert prometheus_name(MetricDef(name, instrument, unit, "", (), ())) == expected


def test_series_of_a_histogram() -> None:
    assert prometheus_series(metrics.ML_INFERENCE_DURATION) == (
        "ml_inference_duration_seconds_bucket",
        "ml_inference_duration_seconds_count",
        "ml_inference_duration_seconds_sum",
    )
    assert prometheus_series(metrics.ML_PREDICTIONS) == ("ml_predictions_total",)


def test_names_do_not_collide() -> None:
    series = [name for metric in metrics.ALL.values() for name in prometheus_series(metric)]
    assert len(set(series)) == len(series)


@pytest.mark.parametrize(
    ("attribute", "label"),
    [
        ("ml.model.name", "ml_model_name"),
        ("ml.incident.change_row.lower", "ml_incident_change_row_lower"),
        ("error.type", "error_type"),
        ("2nd", "key_2nd"),
    ],
)
def test_label(attribute: str, label: str) -> None:
    assert prometheus_label(attribute) == label
