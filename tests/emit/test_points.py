"""Samples become OTLP metrics, the same as the official encoder would make."""

from __future__ import annotations

from typing import Any, cast

import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_ml._version import __version__
from otel_ml.emit.envelope import metrics_request
from otel_ml.emit.points import encode_samples
from otel_ml.emit.resource import encode_resource
from otel_ml.semconv import SCHEMA_URL, SCOPE
from otel_ml.types import Buckets, MetricDef, Sample

RESOURCE = Resource({"service.name": "s"})


def official(samples: list[Sample], start: int, now: int) -> Any:
    """Encode through the public data classes of the SDK and the official encoder."""
    identity = encode_resource(RESOURCE).message.attributes
    attributes = {pair.key: pair.value.string_value for pair in identity}
    metrics = []
    for sample in samples:
        definition = sample.metric
        data: Any
        if isinstance(sample.value, Buckets):
            data = Histogram(
                [
                    HistogramDataPoint(
                        dict(sample.attributes),
                        start,
                        now,
                        sum(sample.value.counts),
                        cast("float", sample.value.sum),
                        sample.value.counts,
                        sample.value.bounds,
                        cast("float", None),
                        cast("float", None),
                    )
                ],
                AggregationTemporality.CUMULATIVE,
            )
        else:
            gauge = definition.instrument == "gauge"
            first = None if gauge else start
            point = NumberDataPoint(dict(sample.attributes), cast("int", first), now, sample.value)
            data = (
                Gauge([point])
                if gauge
                else Sum(
                    [point], AggregationTemporality.CUMULATIVE, definition.instrument == "counter"
                )
            )
        metrics.append(Metric(definition.name, definition.description, definition.unit, data))
    scope = ScopeMetrics(InstrumentationScope(SCOPE, __version__, SCHEMA_URL), metrics, SCHEMA_URL)
    return encode_metrics(MetricsData([ResourceMetrics(Resource(attributes), [scope], "")]))


def test_the_request_is_that_of_the_official_encoder(make: Any) -> None:
    samples = [
        make.counter(3, **{"ml.flag": True, "ml.half": 0.5, "ml.n": 2}),
        make.updown(-2),
        make.gauge(0.25),
        make.histogram((1, 2, 3), 4.5),
    ]
    encoded = encode_samples(samples, start_ns=make.START, now_ns=make.NOW)
    request = metrics_request(encode_resource(RESOURCE), encoded.metrics)
    assert encoded.unencodable == 0
    assert request == official(samples, make.START, make.NOW)


def test_a_histogram_without_a_sum_has_none_on_the_wire(make: Any) -> None:
    samples = [make.histogram((1, 2, 3))]
    encoded = encode_samples(samples, start_ns=make.START, now_ns=make.NOW)
    point = encoded.metrics[0].histogram.data_points[0]
    assert (point.HasField("sum"), point.HasField("min"), point.count) == (False, False, 6)
    request = metrics_request(encode_resource(RESOURCE), encoded.metrics)
    assert request == official(samples, make.START, make.NOW)


def test_all_points_of_a_metric_are_in_one_message(make: Any) -> None:
    samples = [make.counter(1, a="x"), make.gauge(1), make.counter(2, a="y")]
    encoded = encode_samples(samples, start_ns=make.START, now_ns=make.NOW)
    assert [metric.name for metric in encoded.metrics] == ["ml.test.counter", "ml.test.gauge"]
    assert [point.as_int for point in encoded.metrics[0].sum.data_points] == [1, 2]


def test_a_gauge_has_no_start_and_an_updowncounter_is_not_monotonic(make: Any) -> None:
    gauge, updown = encode_samples(
        [make.gauge(1), make.updown(1)], start_ns=make.START, now_ns=make.NOW
    ).metrics
    assert gauge.gauge.data_points[0].start_time_unix_nano == 0
    assert (updown.sum.is_monotonic, updown.sum.aggregation_temporality) == (False, 2)


BAD_NUMBERS: list[Any] = [2**63, float("nan"), float("inf"), None, "1", [1], Buckets((), (1,))]


@pytest.mark.parametrize("kind", ["counter", "updown", "gauge"])
@pytest.mark.parametrize("value", BAD_NUMBERS)
def test_a_bad_number_loses_only_itself(make: Any, kind: str, value: Any) -> None:
    build = getattr(make, kind)
    samples = [build(1, a="x"), build(value, a="y"), build(2, a="z")]
    encoded = encode_samples(samples, start_ns=make.START, now_ns=make.NOW)
    data = encoded.metrics[0].gauge if kind == "gauge" else encoded.metrics[0].sum
    assert [point.as_int for point in data.data_points] == [1, 2]
    assert encoded.unencodable == 1


@pytest.mark.parametrize(
    "value",
    [
        Buckets((0.5, 1.0), (1, 2)),
        Buckets((0.5, 1.0), (1, -2, 3)),
        Buckets((0.5, 1.0), (1, 2**64, 3)),
        Buckets((0.5, 1.0), (2**63, 2**63, 2**63)),
        Buckets((1.0, 0.5), (1, 2, 3)),
        Buckets((0.5, float("inf")), (1, 2, 3)),
        Buckets((0.5, 1.0), (1, 2, 3), float("nan")),
        Buckets((0.5, 1.0), (1.5, 2, 3)),  # type: ignore[arg-type]  # what is tested
        7,
    ],
)
def test_bad_buckets_lose_only_themselves(make: Any, value: Any) -> None:
    bad = Sample(make.definition("histogram"), {"a": "y"}, value)
    samples = [make.histogram((1, 2, 3)), bad]
    encoded = encode_samples(samples, start_ns=make.START, now_ns=make.NOW)
    assert len(encoded.metrics[0].histogram.data_points) == 1
    assert encoded.unencodable == 1


def test_a_counter_below_zero_is_left_out(make: Any) -> None:
    encoded = encode_samples([make.counter(-1)], start_ns=make.START, now_ns=make.NOW)
    assert (encoded.metrics, encoded.unencodable) == ((), 1)


def test_a_boolean_is_a_number_and_a_surrogate_is_replaced(make: Any) -> None:
    samples = [make.gauge(True, **{"ml.feature.cell": "\ud800"})]
    point = (
        encode_samples(samples, start_ns=make.START, now_ns=make.NOW)
        .metrics[0]
        .gauge.data_points[0]
    )
    assert point.as_int == 1
    assert point.attributes[1].value.string_value == "\ufffd"


def test_a_metric_with_a_bad_definition_loses_only_itself(make: Any) -> None:
    bad = MetricDef(cast("str", 7), "gauge", "1", "A test.", (), ())
    encoded = encode_samples(
        [Sample(bad, {}, 1), make.gauge(2)], start_ns=make.START, now_ns=make.NOW
    )
    assert [metric.name for metric in encoded.metrics] == ["ml.test.gauge"]
    assert encoded.unencodable == 1


def test_only_the_instruments_asked_for_are_sent(make: Any) -> None:
    encoded = encode_samples(
        [make.counter(1), make.histogram((1, 2, 3))],
        start_ns=make.START,
        now_ns=make.NOW,
        instruments={"histogram"},
    )
    assert [metric.name for metric in encoded.metrics] == ["ml.test.histogram"]
