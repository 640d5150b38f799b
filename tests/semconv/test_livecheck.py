"""The live-check on metrics encoded by the SDK: all names pass, and each rule finds its fault."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.resources import Resource

from otel_ml.semconv import SCHEMA_URL, SCOPE, attributes, metrics
from otel_ml.semconv._definitions import Attribute, AttributeRef
from otel_ml.semconv._registry import load
from otel_ml.semconv.livecheck import Finding, check

REGISTRY = load()
RESOURCE = Resource({"service.name": "scoring", "service.instance.id": "a"})


def example(attribute: Attribute) -> Any:
    if attribute.members:
        return attribute.members[0].value
    if attribute.examples:
        return attribute.examples[0]
    return {"boolean": True, "int": 1, "double": 0.5}[attribute.type]


def sample(refs: tuple[AttributeRef, ...]) -> dict[str, Any]:
    return {ref.attribute.key: example(ref.attribute) for ref in refs}


def record(meter: Meter, instrument: str, name: str, unit: str, carried: Mapping[str, Any]) -> None:
    if instrument == "counter":
        meter.create_counter(name, unit).add(1, dict(carried))
    elif instrument == "updowncounter":
        meter.create_up_down_counter(name, unit).add(1, dict(carried))
    elif instrument == "histogram":
        meter.create_histogram(name, unit).record(0.5, dict(carried))
    else:

        def observe(_: CallbackOptions) -> list[Observation]:
            return [Observation(0.5, dict(carried))]

        meter.create_observable_gauge(name, [observe], unit)


def collected(
    emit: Callable[[Meter], None],
    *,
    scope: str = SCOPE,
    schema_url: str = SCHEMA_URL,
    resource: Resource = RESOURCE,
    temporality: AggregationTemporality = AggregationTemporality.CUMULATIVE,
) -> ExportMetricsServiceRequest:
    reader = InMemoryMetricReader({Counter: temporality, Histogram: temporality})
    provider = MeterProvider([reader], resource, shutdown_on_exit=False)
    emit(provider.get_meter(scope, "1", schema_url))
    data = reader.get_metrics_data()
    provider.shutdown()
    assert data is not None
    request = encode_metrics(data)
    return ExportMetricsServiceRequest.FromString(request.SerializeToString())


def metric(
    name: str = "ml.monitoring.dropped",
    instrument: str = "counter",
    unit: str = "{prediction}",
    carried: Mapping[str, Any] | None = None,
    **origin: Any,
) -> ExportMetricsServiceRequest:
    given = {"ml.drop.reason": "shape"} if carried is None else carried
    return collected(lambda meter: record(meter, instrument, name, unit, given), **origin)


def ids(found: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.id, finding.context) for finding in found]


@pytest.mark.parametrize("name", list(metrics.ALL))
def test_every_metric_of_the_registry_passes(name: str) -> None:
    definition = REGISTRY.metrics[name]
    for refs in (
        definition.attributes,
        tuple(ref for ref in definition.attributes if ref.level == "required"),
    ):
        request = metric(name, definition.instrument, definition.unit, sample(refs))
        assert check([request]) == []


def test_telemetry_of_others_is_not_looked_at() -> None:
    foreign = metric("http.server.duration", "histogram", "ms", {"x": 1}, scope="fastapi")
    assert check([foreign]) == []


def test_open_enum_takes_further_values_and_a_closed_one_does_not() -> None:
    definition = REGISTRY.metrics["ml.feature.cells"]
    carried = {**sample(definition.attributes), "ml.feature.cell": "blue"}
    assert check([metric("ml.feature.cells", "counter", "{row}", carried)]) == []
    found = check([metric(carried={"ml.drop.reason": "blue"})])
    assert ids(found) == [("undefined_enum_variant", "ml.drop.reason")]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (metric("ml.dropped"), [("missing_metric", "ml.dropped")]),
        (metric("acme.x"), [("missing_metric", "acme.x")]),
        (
            metric("ml.feature.value.age"),
            [("missing_metric", "ml.feature.value.age"), ("dynamic_name", "ml.feature.value")],
        ),
        (metric("ml.f17"), [("missing_metric", "ml.f17"), ("dynamic_name", "ml.f17")]),
        (metric(unit="1"), [("unit_mismatch", "1")]),
        (metric(instrument="updowncounter"), [("unexpected_instrument", "updowncounter")]),
        (metric(instrument="gauge"), [("unexpected_instrument", "gauge")]),
        (metric(instrument="histogram"), [("unexpected_instrument", "histogram")]),
        (metric(temporality=AggregationTemporality.DELTA), [("unexpected_temporality", "1")]),
        (metric(carried={}), [("required_attribute_not_present", "ml.drop.reason")]),
        (
            metric(carried={"ml.drop.reason": "shape", "user": "u"}),
            [("missing_attribute", "user")],
        ),
        (metric(carried={"ml.drop.reason": 3}), [("type_mismatch", "ml.drop.reason")]),
        (metric(schema_url="https://x.invalid/1.0.0"), [("schema_url_mismatch", "schema_url")]),
        (
            metric(resource=Resource({"service.name": "s"})),
            [("required_attribute_not_present", "service.instance.id")],
        ),
        (
            metric(resource=RESOURCE.merge(Resource({"ml.host": "h", "host.name": "h"}))),
            [("missing_attribute", "ml.host")],
        ),
        (
            metric(resource=RESOURCE.merge(Resource({"ml.application.instance.id": 7}))),
            [("type_mismatch", "ml.application.instance.id")],
        ),
    ],
)
def test_metric_rule(
    request_: ExportMetricsServiceRequest, expected: list[tuple[str, str]]
) -> None:
    assert ids(check([request_])) == expected


def point_of(request: ExportMetricsServiceRequest) -> Any:
    data = request.resource_metrics[0].scope_metrics[0].metrics[0]
    return getattr(data, str(data.WhichOneof("data"))).data_points[0]


def damaged(
    change: Callable[[Any], object], name: str, instrument: str, unit: str
) -> list[Finding]:
    carried = sample(tuple(r for r in REGISTRY.metrics[name].attributes if r.level == "required"))
    request = metric(name, instrument, unit, carried)
    change(point_of(request))
    return check([request])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda p: p.ClearField("time_unix_nano"), ["missing_timestamp", "invalid_start_time"]),
        (lambda p: p.ClearField("start_time_unix_nano"), ["invalid_start_time"]),
        (
            lambda p: setattr(p, "start_time_unix_nano", p.time_unix_nano + 1),
            ["invalid_start_time"],
        ),
        (lambda p: setattr(p, "as_int", -1), ["invalid_value"]),
        (lambda p: setattr(p, "as_double", float("nan")), ["invalid_value"]),
        (lambda p: p.attributes.append(p.attributes[0]), ["duplicate_attribute"]),
    ],
)
def test_rule_for_points_of_counters(change: Callable[[Any], object], expected: list[str]) -> None:
    found = damaged(change, "ml.monitoring.dropped", "counter", "{prediction}")
    assert [finding.id for finding in found] == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.explicit_bounds.pop(),
        lambda p: setattr(p, "count", p.count + 1),
        lambda p: p.explicit_bounds.__setitem__(1, p.explicit_bounds[0]),
        lambda p: p.explicit_bounds.__setitem__(-1, float("inf")),
    ],
)
def test_rule_for_buckets(change: Callable[[Any], object]) -> None:
    found = damaged(change, "ml.prediction.score", "histogram", "1")
    assert {finding.id for finding in found} == {"invalid_buckets"}


def test_two_points_of_one_series_are_found() -> None:
    request = metric()
    data = request.resource_metrics[0].scope_metrics[0].metrics[0].sum
    data.data_points.append(data.data_points[0])
    assert ids(check([request])) == [("duplicate_point", "ml.drop.reason")]


def test_metric_without_data_is_found() -> None:
    request = metric()
    request.resource_metrics[0].scope_metrics[0].metrics[0].ClearField("sum")
    assert ids(check([request])) == [("unexpected_instrument", "none")]


def test_finding_is_reported_once_and_reads_as_a_sentence() -> None:
    found = check([metric(unit="1"), metric(unit="1")])
    assert [str(finding) for finding in found] == [
        "violation unit_mismatch: metric ml.monitoring.dropped: unit is '1', not '{prediction}'"
    ]


def test_attribute_constants_are_the_ones_checked() -> None:
    assert check([metric(carried={attributes.ML_DROP_REASON: attributes.MlDropReason.SHAPE})]) == []
