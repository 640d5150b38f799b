"""The live-check on events and spans encoded by the SDK: names pass, each rule finds its fault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_ml.semconv import SCHEMA_URL, SCOPE, events
from otel_ml.semconv._definitions import Attribute, AttributeRef
from otel_ml.semconv._registry import load
from otel_ml.semconv.livecheck import Finding, check

REGISTRY = load()
RESOURCE = Resource({"service.name": "scoring", "service.instance.id": "a"})
NOW = 1_700_000_000_000_000_000


def example(attribute: Attribute) -> Any:
    if attribute.members:
        return attribute.members[0].value
    if attribute.examples:
        return attribute.examples[0]
    return {"boolean": True, "int": 1, "double": 0.5}[attribute.type]


def sample(refs: tuple[AttributeRef, ...]) -> dict[str, Any]:
    return {ref.attribute.key: example(ref.attribute) for ref in refs}


def ids(found: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.id, finding.context) for finding in found]


def logged(
    name: str | None = "ml.reference",
    carried: Mapping[str, Any] | None = None,
    severity: SeverityNumber = SeverityNumber.INFO,
    scope: str = SCOPE,
    **more: Any,
) -> ExportLogsServiceRequest:
    exporter = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    provider = LoggerProvider(RESOURCE, shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    provider.get_logger(scope, "1", SCHEMA_URL).emit(
        timestamp=NOW,
        event_name=name,
        severity_number=severity,
        attributes={"ml.model.name": "m", "ml.reference.state": "learning"}
        if carried is None
        else carried,
        **more,
    )
    request = encode_logs(exporter.get_finished_logs())
    provider.shutdown()
    return ExportLogsServiceRequest.FromString(request.SerializeToString())


def traced(carried: Mapping[str, Any], scope: str = "fastapi") -> ExportTraceServiceRequest:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer(scope).start_as_current_span("POST /predict") as span:
        span.set_attributes(carried)
    request = encode_spans(exporter.get_finished_spans())
    return ExportTraceServiceRequest.FromString(request.SerializeToString())


def incident(severity: str) -> dict[str, Any]:
    refs = REGISTRY.events[events.ML_INCIDENT].attributes
    return {**sample(refs), "ml.incident.severity": severity}


@pytest.mark.parametrize(
    ("severity", "number"),
    [
        ("info", SeverityNumber.INFO),
        ("warning", SeverityNumber.WARN),
        ("critical", SeverityNumber.ERROR),
    ],
)
def test_incident_of_each_severity_passes(severity: str, number: SeverityNumber) -> None:
    assert check(logs=[logged(events.ML_INCIDENT, incident(severity), number)]) == []


def test_reference_event_and_span_attributes_pass() -> None:
    assert check(logs=[logged()]) == []
    carried = {"ml.model.name": "m", "ml.prediction.id": "p", "ml.prediction.count": 3}
    assert check(traces=[traced({**carried, "http.route": "/predict"})]) == []


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (logged("ml.drift"), [("missing_event", "ml.drift")]),
        (
            logged("ml.incident.17"),
            [("missing_event", "ml.incident.17"), ("dynamic_name", "ml.incident")],
        ),
        (logged(None), [("missing_event", "")]),
        (
            logged(carried={"ml.model.name": "m"}),
            [("required_attribute_not_present", "ml.reference.state")],
        ),
        (logged(severity=SeverityNumber.WARN), [("severity_mismatch", "13")]),
        (logged(severity_text="INFO"), [("unexpected_severity_text", "INFO")]),
        (
            logged("ml.incident", incident("critical"), SeverityNumber.WARN),
            [("severity_mismatch", "13")],
        ),
        (
            logged(
                "ml.incident", {**incident("info"), "ml.incident.evidence": 7}, SeverityNumber.INFO
            ),
            [("type_mismatch", "ml.incident.evidence")],
        ),
        (
            logged(
                "ml.incident", {**incident("info"), "ml.incident.members": [1]}, SeverityNumber.INFO
            ),
            [("type_mismatch", "ml.incident.members")],
        ),
        (
            logged(
                "ml.incident", {**incident("info"), "ml.incident.paged": "yes"}, SeverityNumber.INFO
            ),
            [("type_mismatch", "ml.incident.paged")],
        ),
    ],
)
def test_event_rule(request_: ExportLogsServiceRequest, expected: list[tuple[str, str]]) -> None:
    assert ids(check(logs=[request_])) == expected


def test_event_without_its_time_is_found() -> None:
    request = logged()
    request.resource_logs[0].scope_logs[0].log_records[0].ClearField("time_unix_nano")
    assert ids(check(logs=[request])) == [("missing_timestamp", "time")]


def test_empty_array_has_the_type_of_any_array() -> None:
    carried = {**incident("info"), "ml.incident.evidence.against": []}
    assert check(logs=[logged("ml.incident", carried)]) == []


@pytest.mark.parametrize(
    ("carried", "expected"),
    [
        ({"ml.prediction.id": "p"}, [("required_attribute_not_present", "ml.model.name")]),
        ({"ml.model.name": "m", "ml.row": 1}, [("missing_attribute", "ml.row")]),
        (
            {"ml.model.name": "m", "ml.prediction.count": "3"},
            [("type_mismatch", "ml.prediction.count")],
        ),
    ],
)
def test_span_rule(carried: Mapping[str, Any], expected: list[tuple[str, str]]) -> None:
    assert ids(check(traces=[traced(carried)])) == expected


def test_span_of_our_own_is_found() -> None:
    assert ids(check(traces=[traced({}, scope="otel_ml.capture")])) == [
        ("unexpected_span", "otel_ml.capture")
    ]


def test_records_and_spans_of_others_are_not_looked_at() -> None:
    assert check(logs=[logged(None, {}, scope="otel_ml.pipeline")], traces=[traced({})]) == []
