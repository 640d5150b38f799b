"""The OTLP variables mean what they mean to the official exporters."""

from __future__ import annotations

import itertools
import logging
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (
    OTLPMetricExporter as GrpcExporter,
)
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import (
    OTLPMetricExporter as HttpExporter,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExportResult

from otel_ml.emit.destination import from_environ
from otel_ml.emit.otlp import OtlpSink


def sdk_metrics() -> Any:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    provider.get_meter("m").create_counter("c").add(1)
    data = reader.get_metrics_data()
    provider.shutdown()
    return data


HTTP_VARIABLES = [
    {"OTEL_EXPORTER_OTLP_ENDPOINT": "{url}"},
    {"OTEL_EXPORTER_OTLP_ENDPOINT": "{url}/"},
    {"OTEL_EXPORTER_OTLP_ENDPOINT": "{url}/base/"},
    {"OTEL_EXPORTER_OTLP_ENDPOINT": "{url}/base", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "{url}/m"},
    {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "{url}"},
]
HEADER_VARIABLES = [
    {},
    {"OTEL_EXPORTER_OTLP_HEADERS": "X-One=1,x-two=a%20b"},
    {"OTEL_EXPORTER_OTLP_HEADERS": "x-one=1", "OTEL_EXPORTER_OTLP_METRICS_HEADERS": "x-two=2"},
    {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer abc=="},
]
COMPRESSION_VARIABLES = [
    {},
    {"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"},
    {"OTEL_EXPORTER_OTLP_COMPRESSION": "deflate"},
    {"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip", "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION": "none"},
]
CASES = [
    *itertools.product(HTTP_VARIABLES, HEADER_VARIABLES[:2], COMPRESSION_VARIABLES[:1]),
    *itertools.product(HTTP_VARIABLES[:1], HEADER_VARIABLES, COMPRESSION_VARIABLES),
]


@pytest.mark.parametrize("case", CASES)
def test_http_is_as_the_official_exporter_sends_it(
    make: Any, scripted: Any, monkeypatch: pytest.MonkeyPatch, case: tuple[dict[str, str], ...]
) -> None:
    variables = {
        name: value.format(url=scripted.endpoint) for part in case for name, value in part.items()
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    exporter = HttpExporter()
    assert exporter.export(sdk_metrics()) is MetricExportResult.SUCCESS
    exporter.shutdown()
    sink = OtlpSink(from_environ("metrics", variables), None)
    assert make.send(sink, make.counter(1)).ok
    sink.shutdown(1)
    official, ours = scripted.requests
    assert ours[0] == official[0]
    for headers in (official[1], ours[1]):
        del headers["user-agent"], headers["content-length"]
    assert ours[1] == official[1]


def test_logs_have_variables_of_their_own(
    make: Any, scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://nowhere.invalid",
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": f"{scripted.endpoint}/custom",
        "OTEL_EXPORTER_OTLP_LOGS_HEADERS": "x-one=1",
        "OTEL_EXPORTER_OTLP_LOGS_COMPRESSION": "gzip",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    exporter = OTLPLogExporter()
    exporter.export([])
    exporter.shutdown()  # type: ignore[no-untyped-call]  # untyped in the SDK
    sink = OtlpSink(None, from_environ("logs", variables))
    assert make.send(sink, events=[make.event()]).ok
    sink.shutdown(1)
    official, ours = scripted.requests
    assert ours[0] == official[0] == "/custom"
    assert ours[1]["x-one"] == official[1]["x-one"] == "1"
    assert ours[1]["content-encoding"] == official[1]["content-encoding"] == "gzip"


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:{port}"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "127.0.0.1:{port}", "OTEL_EXPORTER_OTLP_INSECURE": "true"},
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_INSECURE": "false",
            "OTEL_EXPORTER_OTLP_METRICS_INSECURE": "True",
        },
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://nowhere.invalid:1",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_HEADERS": "x-one=1",
            "OTEL_EXPORTER_OTLP_METRICS_HEADERS": "x-two=2",
            "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION": "gzip",
        },
    ],
)
def test_grpc_is_as_the_official_exporter_sends_it(
    make: Any, grpc_receiver: Any, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    grpc_receiver.start()
    variables = {name: value.format(port=grpc_receiver.port) for name, value in variables.items()}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    exporter = GrpcExporter()
    assert exporter.export(sdk_metrics()) is MetricExportResult.SUCCESS
    exporter.shutdown()
    sink = OtlpSink(from_environ("metrics", variables, "grpc"), None)
    assert make.send(sink, make.counter(1)).ok
    sink.shutdown(1)
    official, ours = grpc_receiver.metadata
    for metadata in (official, ours):
        del metadata["user-agent"]
    assert ours == official


@pytest.mark.parametrize(
    ("endpoint", "flag", "target", "insecure"),
    [
        ("https://h:1", "true", "h:1", False),
        ("http://h:1", None, "h:1", True),
        ("http://h:1", "false", "h:1", False),
        ("h:1", None, "h:1", False),
        (None, None, "localhost:4317", True),
    ],
)
def test_a_grpc_endpoint_is_plaintext_only_where_it_says_so(
    endpoint: str | None, flag: str | None, target: str, insecure: bool
) -> None:
    variables = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    if endpoint is not None:
        variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
    if flag is not None:
        variables["OTEL_EXPORTER_OTLP_INSECURE"] = flag
    found = from_environ("logs", variables)
    assert (found.protocol, found.endpoint, found.insecure) == ("grpc", target, insecure)


def test_each_signal_may_have_its_own_protocol() -> None:
    variables = {
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "http/protobuf",
    }
    assert from_environ("metrics", variables).protocol == "grpc"
    assert from_environ("logs", variables).protocol == "http"
    assert from_environ("metrics", {}).endpoint == "http://localhost:4318/v1/metrics"


@pytest.mark.parametrize(
    ("variable", "value", "field", "default"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "protocol", "http"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "timeout", 10.0),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "-1", "timeout", 10.0),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "inf", "timeout", 10.0),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "brotli", "compression", "none"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "sideways", "delta", False),
    ],
)
def test_a_bad_value_is_said_and_replaced(
    caplog: pytest.LogCaptureFixture, variable: str, value: str, field: str, default: object
) -> None:
    with caplog.at_level(logging.WARNING, "otel_ml"):
        found = from_environ("metrics", {variable: value})
    assert getattr(found, field) == default
    assert f"{variable}='{value}' cannot be used" in caplog.text


def test_deflate_is_not_for_grpc(caplog: pytest.LogCaptureFixture) -> None:
    found = from_environ("logs", {"OTEL_EXPORTER_OTLP_COMPRESSION": "deflate"}, "grpc")
    assert found.compression == "none"
    assert "gzip" in caplog.text


@pytest.mark.parametrize(
    ("value", "delta"), [("delta", True), ("LowMemory", True), ("cumulative", False), ("", False)]
)
def test_temporality(value: str, delta: bool) -> None:
    variables = {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": value}
    assert from_environ("metrics", variables).delta is delta
    assert from_environ("logs", variables).delta is False


def test_tls_files_and_limits() -> None:
    variables = {
        "OTEL_EXPORTER_OTLP_CERTIFICATE": "/ca",
        "OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE": "/logs-ca",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": "/key",
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "/cert",
        "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT": "2.5",
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "100",
        "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT": "50",
    }
    logs, metrics = from_environ("logs", variables), from_environ("metrics", variables)
    assert (logs.certificate, metrics.certificate) == ("/logs-ca", "/ca")
    assert (logs.client_key, logs.client_certificate) == ("/key", "/cert")
    assert (logs.timeout, metrics.timeout) == (2.5, 10.0)
    assert (logs.value_length, metrics.value_length) == (50, None)


def test_credential_providers_are_looked_up_by_protocol_and_signal(make: Any) -> None:
    general = "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER"
    own = "OTEL_PYTHON_EXPORTER_OTLP_HTTP_LOGS_CREDENTIAL_PROVIDER"
    variables = {general: "one", own: "two"}
    assert from_environ("metrics", variables).credentials == "one"
    assert from_environ("logs", variables).credentials == "two"
    assert from_environ("logs", variables, "grpc").credentials is None
    sink = OtlpSink(from_environ("metrics", variables), None)
    report = make.send(sink, make.counter(1))
    assert report.outcomes == {"metrics": "failure"}, "no data without the credentials asked for"
