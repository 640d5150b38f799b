"""OTLP requests as a backend received them in, what in them departs from the registry out.

The messages are the protobuf classes of ``opentelemetry.proto``; they are only read, so nothing of
the SDK is imported. The identifiers of findings are those of ``weaver registry live-check`` where
it has the same check.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from otel_ml.semconv._checks import Finding, carried, point_faults, unknown
from otel_ml.semconv._definitions import EventDef, Registry
from otel_ml.semconv._registry import load

if TYPE_CHECKING:
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
    )
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

__all__ = ["Finding", "check"]

_SCOPE: Final = "otel_ml"
_NAMESPACE: Final = "ml."
_CUMULATIVE: Final = 2
_DATA: Final = {
    ("sum", True): "counter",
    ("sum", False): "updowncounter",
    ("gauge", False): "gauge",
    ("histogram", False): "histogram",
    ("exponential_histogram", False): "histogram",
}


def check(
    metrics: Iterable[ExportMetricsServiceRequest] = (),
    logs: Iterable[ExportLogsServiceRequest] = (),
    traces: Iterable[ExportTraceServiceRequest] = (),
    *,
    registry: Registry | None = None,
) -> list[Finding]:
    """Compare captured telemetry with the registry.

    Looked at are metrics and log records whose scope is of this project or whose name is in its
    namespace, and on spans the attributes in its namespace; the rest belongs to others.

    Parameters
    ----------
    metrics, logs, traces
        Requests, decoded.
    registry
        The definitions; this project's own by default.

    Returns
    -------
    list of Finding
        Each once, in the order found; empty where everything is as it should be.
    """
    live = _LiveCheck(registry or _own())
    found = [
        *(finding for request in metrics for finding in live.metrics(request)),
        *(finding for request in logs for finding in live.logs(request)),
        *(finding for request in traces for finding in live.traces(request)),
    ]
    return list(dict.fromkeys(found))


@cache
def _own() -> Registry:
    return load()


@dataclass(frozen=True, slots=True)
class _LiveCheck:
    registry: Registry

    def metrics(self, request: Any) -> Iterator[Finding]:
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                ours = [m for m in scope.metrics if _ours(scope, m.name)]
                if ours:
                    yield from self._origin(resource, scope)
                for metric in ours:
                    yield from self._metric(metric)

    def logs(self, request: Any) -> Iterator[Finding]:
        for resource in request.resource_logs:
            for scope in resource.scope_logs:
                ours = [r for r in scope.log_records if _event(scope, r)]
                if ours:
                    yield from self._origin(resource, scope)
                for record in ours:
                    yield from self._record(record)

    def traces(self, request: Any) -> Iterator[Finding]:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    yield from self._span(span, scope.scope.name)

    def _origin(self, resource: Any, scope: Any) -> Iterator[Finding]:
        name = scope.scope.name
        if scope.schema_url != self.registry.schema_url:
            message = f"schema_url is {scope.schema_url!r}, not {self.registry.schema_url!r}"
            yield Finding(
                "improvement", "schema_url_mismatch", "scope", name, "schema_url", message
            )
        group = self.registry.groups["ml.resource"]
        # Attributes of others are theirs; of ours, and of those we need, everything is compared.
        known = set(group.at_level("required"))
        ours = [a for a in resource.resource.attributes if _is_ours(a.key) or a.key in known]
        yield from carried("resource", name, group.attributes, ours)

    def _metric(self, metric: Any) -> Iterator[Finding]:
        definition = self.registry.metrics.get(metric.name)
        if definition is None:
            yield from unknown("metric", metric.name, "missing_metric", self.registry.metrics)
            return

        def finding(id_: str, context: str, message: str) -> Finding:
            return Finding("violation", id_, "metric", metric.name, context, message)

        if metric.unit != definition.unit:
            message = f"unit is {metric.unit!r}, not {definition.unit!r}"
            yield finding("unit_mismatch", metric.unit, message)
        kind = metric.WhichOneof("data")
        if kind is None:
            yield finding("unexpected_instrument", "none", "there are no data")
            return
        data = getattr(metric, kind)
        instrument = _DATA.get((kind, bool(getattr(data, "is_monotonic", False))), kind)
        if instrument != definition.instrument:
            message = f"data are of a {instrument}, not of a {definition.instrument}"
            yield finding("unexpected_instrument", instrument, message)
            return
        if kind != "gauge" and data.aggregation_temporality != _CUMULATIVE:
            temporality = str(data.aggregation_temporality)
            yield finding("unexpected_temporality", temporality, "data are not cumulative")
        sets: set[frozenset[tuple[str, str]]] = set()
        for point in data.data_points:
            attributes = frozenset((a.key, str(a.value)) for a in point.attributes)
            where = ", ".join(sorted(a.key for a in point.attributes))
            if attributes in sets:
                yield finding("duplicate_point", where, "two points have the same attributes")
            sets.add(attributes)
            yield from carried("metric", metric.name, definition.attributes, point.attributes)
            for id_, message in point_faults(kind, point, definition):
                yield finding(id_, where, message)

    def _record(self, record: Any) -> Iterator[Finding]:
        name = record.event_name
        definition = self.registry.events.get(name)
        if definition is None:
            yield from unknown("event", name, "missing_event", self.registry.events)
            return
        yield from carried("event", name, definition.attributes, record.attributes)
        if not record.time_unix_nano:
            message = "the time at which it happened is missing"
            yield Finding("violation", "missing_timestamp", "event", name, "time", message)
        if record.severity_text:
            message = "an event has a severity number and no text"
            text = record.severity_text
            yield Finding("improvement", "unexpected_severity_text", "event", name, text, message)
        expected = _severity(definition, _attributes(record.attributes))
        if record.severity_number not in expected:
            message = f"severity number is {record.severity_number}, not {sorted(expected)}"
            context = str(record.severity_number)
            yield Finding("violation", "severity_mismatch", "event", name, context, message)

    def _span(self, span: Any, scope: str) -> Iterator[Finding]:
        if scope.startswith(_SCOPE):
            message = "no span of our own: attributes go on the server's"
            yield Finding("violation", "unexpected_span", "span", span.name, scope, message)
        ours = [a for a in span.attributes if _is_ours(a.key)]
        if ours:
            refs = self.registry.groups["ml.server.span"].attributes
            yield from carried("span", span.name, refs, ours)


def _ours(scope: Any, name: str) -> bool:
    return bool(name.startswith(_NAMESPACE) or scope.scope.name.startswith(_SCOPE))


def _event(scope: Any, record: Any) -> bool:
    # A record without an event name and without our attributes is a line of the diagnostic log.
    if record.event_name:
        return _ours(scope, record.event_name)
    return any(_is_ours(a.key) for a in record.attributes)


def _is_ours(key: str) -> bool:
    return key.startswith(_NAMESPACE)


def _attributes(attributes: Any) -> dict[str, Any]:
    return {attribute.key: attribute.value for attribute in attributes}


def _severity(definition: EventDef, attributes: dict[str, Any]) -> set[int]:
    numbers = definition.severity_numbers
    value = attributes.get(definition.severity_attribute or "")
    if value is not None and value.string_value in numbers:
        return {numbers[value.string_value]}
    return set(numbers.values())
