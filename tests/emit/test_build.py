"""The environment decides on the sinks."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest

from otel_ml import emit
from otel_ml.emit.build import build_sinks, export_interval
from otel_ml.emit.console import ConsoleSink
from otel_ml.emit.observable import ObservableSink
from otel_ml.emit.otlp import OtlpSink


def shape(**environ: str) -> list[Any]:
    """Return the kinds of the sinks, and where the OTLP ones send."""
    found: list[Any] = []
    for sink in build_sinks(environ):
        if isinstance(sink, OtlpSink):
            found.append([f"{d.signal}/{d.protocol}" for d in sink.destinations])
        else:
            found.append(type(sink))
    return found


def test_otlp_over_http_is_the_default() -> None:
    assert shape() == [["metrics/http", "logs/http"]]


@pytest.mark.parametrize(
    ("metrics", "logs", "expected"),
    [
        ("none", "none", []),
        ("none", "", [["logs/http"]]),
        ("otlp", "none", [["metrics/http"]]),
        ("otlp_proto_grpc", "otlp_proto_http", [["metrics/grpc", "logs/http"]]),
        ("console", "console", [ConsoleSink]),
        ("otlp, console", "otlp", [["metrics/http", "logs/http"], ConsoleSink]),
        ("prometheus", "otlp", [["logs/http"], ObservableSink]),
        ("prometheus,otlp", "none", [["metrics/http"], ObservableSink]),
        ("otlp", "my_exporter", [["metrics/http"], ObservableSink]),
        ("otlp", "otlp,my_exporter", [["metrics/http"], ObservableSink]),
        ("otlp,none", "otlp", [["logs/http"]]),
        ("otlp,otlp", "otlp", [["metrics/http", "logs/http"]]),
    ],
)
def test_exporter_lists(metrics: str, logs: str, expected: list[Any]) -> None:
    assert shape(OTEL_METRICS_EXPORTER=metrics, OTEL_LOGS_EXPORTER=logs) == expected


@pytest.mark.parametrize(("value", "count"), [("true", 0), ("TRUE", 0), ("false", 1), ("1", 1)])
def test_the_sdk_can_be_disabled(value: str, count: int) -> None:
    assert len(build_sinks({"OTEL_SDK_DISABLED": value})) == count


def test_what_the_provider_sends_anyway_is_not_sent_twice(make: Any, receiver: Any) -> None:
    variables = {
        "OTEL_METRICS_EXPORTER": "otlp,prometheus",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
    }
    sink = build_sinks(variables)[0]
    make.send(sink, make.counter(1), make.histogram((1, 2, 3)))
    sink.shutdown(1)
    assert receiver.series("ml.test.counter") == []
    assert receiver.histogram("ml.test.histogram") is not None


@pytest.mark.parametrize(
    ("value", "seconds"), [("", 60.0), ("500", 0.5), ("1e3", 1.0), ("60000", 60.0)]
)
def test_the_interval_is_in_milliseconds(value: str, seconds: float) -> None:
    assert export_interval({"OTEL_METRIC_EXPORT_INTERVAL": value}) == seconds


@pytest.mark.parametrize("value", ["0", "-1", "fast", "nan", "inf"])
def test_a_bad_interval_is_said_and_replaced(value: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "otel_ml"):
        assert export_interval({"OTEL_METRIC_EXPORT_INTERVAL": value}) == 60.0
    assert f"OTEL_METRIC_EXPORT_INTERVAL='{value}'" in caplog.text


def loaded(code: str, **environ: str) -> set[str]:
    """Return the modules a fresh interpreter has loaded after the code."""
    program = f"{code}\nimport sys; print('\\n'.join(sys.modules))"
    path = ":".join(entry for entry in sys.path if entry) + ":."
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": "", "PYTHONPATH": path, **environ},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return set(done.stdout.split())


def test_importing_the_package_loads_no_exporter() -> None:
    modules = loaded("import otel_ml.emit")
    assert not modules & {"opentelemetry.sdk", "google.protobuf", "requests", "grpc", "numpy"}


def test_only_the_protocol_that_is_used_is_loaded() -> None:
    send = (
        "import os\nfrom otel_ml.emit import build_sinks\nfrom otel_ml.types import *\n"
        "d = MetricDef('ml.c', 'counter', '1', '', (), ())\n"
        "s = build_sinks(os.environ)[0]\n"
        "s.export([Sample(d, {}, 1)], [], start_ns=1, now_ns=2, timeout=0.05)\n"
    )
    nowhere = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    http = loaded(send, **nowhere)
    assert "urllib3" in http
    assert not http & {"grpc", "requests", "asyncio", "numpy.ma", "numpy.random", "difflib"}
    assert "opentelemetry.sdk.metrics" not in http
    grpc = loaded(send, OTEL_EXPORTER_OTLP_PROTOCOL="grpc", **nowhere)
    assert "grpc" in grpc
    assert "urllib3" not in grpc
    proxied = loaded(send, HTTP_PROXY="http://127.0.0.1:1", **nowhere)
    assert "requests" in proxied


def test_every_public_name_is_there() -> None:
    assert emit.__all__ == dir(emit)
    for name in emit.__all__:
        assert getattr(emit, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = emit.nothing


APPLICATION = """
import os, time
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
if os.environ.get("IN_CODE"):
    trace.set_tracer_provider(TracerProvider(resource=Resource({"service.name": "in code"})))
from otel_ml.emit import build_sinks
from otel_ml.types import MetricDef, Sample
(sink,) = build_sinks(os.environ)
counter = MetricDef("ml.c", "counter", "{row}", "", (), ())
assert sink.export([Sample(counter, {}, 1)], [], start_ns=1, now_ns=2, timeout=20.0).ok
sink.shutdown(1)
"""


@pytest.mark.parametrize("in_code", ["", "1"])
def test_the_resource_is_the_applications(receiver: Any, in_code: str) -> None:
    loaded(
        APPLICATION,
        IN_CODE=in_code,
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
        OTEL_SERVICE_NAME="by variable",
        OTEL_RESOURCE_ATTRIBUTES="service.name=ignored,team=a%20b",
        OTEL_EXPERIMENTAL_RESOURCE_DETECTORS="otel,process",
    )
    ((attributes, _),) = receiver.series("ml.c")
    if in_code:
        assert attributes["service.name"] == "in code"
    else:
        assert attributes["service.name"] == "by variable"
        assert attributes["team"] == "a b"
        assert isinstance(attributes["process.pid"], int)
