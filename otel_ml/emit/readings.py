"""OTLP requests in, plain values out: latest series, histograms and events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
)

from otel_ml.types import Buckets

__all__ = [
    "Attributes",
    "add_buckets",
    "attributes_of",
    "find_buckets",
    "find_events",
    "find_series",
    "matches",
]

Attributes: TypeAlias = dict[str, Any]
_DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA


def attributes_of(pairs: Iterable[KeyValue]) -> Attributes:
    """Decode attributes."""
    return {pair.key: _value(pair.value) for pair in pairs}


def find_series(
    requests: Sequence[ExportMetricsServiceRequest], name: str
) -> list[tuple[Attributes, float]]:
    """Return the latest value of each series of a number metric; deltas are added up.

    The attributes of the resource are among those of the series.
    """
    found: dict[object, tuple[Attributes, float]] = {}
    for resource, metric in _metrics(requests, name):
        points: Iterable[NumberDataPoint] = (
            metric.gauge.data_points if metric.HasField("gauge") else metric.sum.data_points
        )
        delta = metric.sum.aggregation_temporality == _DELTA
        for point in points:
            attributes = resource | attributes_of(point.attributes)
            value = point.as_int if point.HasField("as_int") else point.as_double
            key = _key(attributes)
            before = found[key][1] if delta and key in found else 0
            found[key] = (attributes, before + value)
    return list(found.values())


def find_buckets(
    requests: Sequence[ExportMetricsServiceRequest], name: str
) -> list[tuple[Attributes, Buckets]]:
    """Return the latest histogram of each series; deltas are added up."""
    found: dict[object, tuple[Attributes, Buckets]] = {}
    for resource, metric in _metrics(requests, name):
        delta = metric.histogram.aggregation_temporality == _DELTA
        for point in metric.histogram.data_points:
            attributes = resource | attributes_of(point.attributes)
            key = _key(attributes)
            before = found[key][1] if delta and key in found else None
            found[key] = (attributes, _buckets(point, before))
    return list(found.values())


def find_events(
    requests: Sequence[ExportLogsServiceRequest], name: str | None
) -> list[dict[str, Any]]:
    """Return the events of a name, or all of them, in the order of arrival."""
    return [
        {
            "name": record.event_name,
            "time_ns": record.time_unix_nano,
            "severity": int(record.severity_number),
            "body": _value(record.body),
            "trace_id": record.trace_id.hex(),
            "span_id": record.span_id.hex(),
            "attributes": attributes_of(record.attributes),
            "resource": attributes_of(resource.resource.attributes),
        }
        for request in requests
        for resource in request.resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
        if record.event_name and name in (None, record.event_name)
    ]


def matches(found: Attributes, wanted: Mapping[str, Any]) -> bool:
    """Return whether the attributes have the wanted values; ``_`` stands for ``.`` in names."""
    if not wanted:
        return True
    by_name = {key.replace(".", "_"): value for key, value in found.items()}
    return all(by_name.get(key.replace(".", "_")) == value for key, value in wanted.items())


def add_buckets(left: Buckets, right: Buckets, name: str) -> Buckets:
    """Add two histograms of the metric `name`, which must have the same bounds."""
    if left.bounds != right.bounds:
        raise ValueError(f"{name}: histograms with different bounds match; name more attributes")
    total = None if left.sum is None or right.sum is None else left.sum + right.sum
    counts = tuple(a + b for a, b in zip(left.counts, right.counts, strict=True))
    return Buckets(left.bounds, counts, total)


def _metrics(
    requests: Sequence[ExportMetricsServiceRequest], name: str
) -> Iterator[tuple[Attributes, Metric]]:
    for request in requests:
        for resource in request.resource_metrics:
            shared = attributes_of(resource.resource.attributes)
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == name:
                        yield shared, metric


def _buckets(point: HistogramDataPoint, before: Buckets | None) -> Buckets:
    bounds, counts = tuple(point.explicit_bounds), tuple(point.bucket_counts)
    total = point.sum if point.HasField("sum") else None
    if before is None or before.bounds != bounds:
        return Buckets(bounds, counts, total)
    if total is not None and before.sum is not None:
        total += before.sum
    counts = tuple(a + b for a, b in zip(before.counts, counts, strict=True))
    return Buckets(bounds, counts, total)


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return attributes_of(value.kvlist_value.values)
    return getattr(value, kind)


def _key(attributes: Attributes) -> object:
    return tuple(sorted((key, repr(value)) for key, value in attributes.items()))
