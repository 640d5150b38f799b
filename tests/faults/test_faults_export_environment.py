"""The environment: which variable wins, proxies, nonsense, and the application's own providers."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from otel_ml.emit.build import build_sinks, export_interval
from otel_ml.emit.destination import from_environ
from otel_ml.emit.otlp import OtlpSink
from otel_ml.emit.receiver import Receiver
from tests.emit.conftest import Make, Scripted, scripted_server
from tests.faults.processes import alone
from tests.faults.proxy import Fault, Proxy

make = Make()
P = "OTEL_EXPORTER_OTLP_"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    with scripted_server() as server:
        yield server


@pytest.mark.fault("C12")
def test_the_variable_of_a_signal_wins_and_is_taken_as_it_is() -> None:
    environ = {
        f"{P}ENDPOINT": "http://general:1/base/",
        f"{P}METRICS_ENDPOINT": "http://own:2/path",
        f"{P}TIMEOUT": "7",
        f"{P}LOGS_TIMEOUT": "8",
        f"{P}HEADERS": "a=general",
        f"{P}LOGS_HEADERS": "b=own",
        f"{P}PROTOCOL": "http/protobuf",
        f"{P}COMPRESSION": "gzip",
        f"{P}METRICS_COMPRESSION": "none",
    }
    metrics, logs = from_environ("metrics", environ), from_environ("logs", environ)
    assert (metrics.endpoint, logs.endpoint) == (
        "http://own:2/path",
        "http://general:1/base/v1/logs",
    )
    assert (metrics.timeout, logs.timeout) == (7.0, 8.0)
    assert (metrics.headers, logs.headers) == ((("a", "general"),), (("b", "own"),))
    assert (metrics.compression, logs.compression) == ("none", "gzip")


@pytest.mark.fault("C12")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        (f"{P}TIMEOUT", "soon"),
        (f"{P}TIMEOUT", "-1"),
        (f"{P}TIMEOUT", "inf"),
        (f"{P}PROTOCOL", "carrier-pigeon"),
        (f"{P}PROTOCOL", "http/json"),
        (f"{P}COMPRESSION", "brotli"),
        (f"{P}INSECURE", "perhaps"),
        (f"{P}METRICS_TEMPORALITY_PREFERENCE", "sometimes"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "often"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "-5"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "-5"),
        (f"{P}HEADERS", "no equals sign"),
        (f"{P}HEADERS", "=value,,;"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a==b,,c,=d"),
        ("OTEL_METRICS_EXPORTER", "otlp,,otlp"),
        ("OTEL_SDK_DISABLED", "maybe"),
    ],
)
def test_a_value_that_makes_no_sense_leaves_a_safe_default(
    receiver: Receiver, name: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Telemetry goes on; what decides something is named in the message, with what is allowed."""
    environ = {f"{P}ENDPOINT": receiver.endpoint, name: value}
    with caplog.at_level(logging.WARNING):
        (sink,) = build_sinks(environ)
        assert export_interval(environ) > 0
        if name == f"{P}INSECURE":
            assert from_environ("metrics", environ, "grpc").insecure is False
        assert make.send(sink, make.counter(1), events=[make.event()]).ok
        sink.shutdown(1)
    decides = ["TIMEOUT", "PROTOCOL", "COMPRESSION", "PREFERENCE", "INTERVAL", "LIMIT", "INSECURE"]
    if name.endswith(tuple(decides)):
        assert name in caplog.text
        assert repr(value) in caplog.text


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.mark.fault("C12", "C6")
def test_an_unclear_flag_is_never_taken_for_plaintext() -> None:
    for value in ("perhaps", "1", "yes", ""):
        environ = {f"{P}ENDPOINT": "collector:4317", f"{P}INSECURE": value}
        assert from_environ("metrics", environ, "grpc").insecure is False
    environ = {f"{P}ENDPOINT": "https://collector:4317", f"{P}INSECURE": "true"}
    assert from_environ("metrics", environ, "grpc").insecure is False


@pytest.mark.fault("C12")
def test_a_proxy_of_the_environment_is_used_and_may_be_excepted(
    scripted: Scripted, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", scripted.endpoint)
    (sink,) = build_sinks({f"{P}ENDPOINT": "http://collector.test:4318"})
    assert make.send(sink, make.counter(1)).ok
    sink.shutdown(1)
    assert [path for path, _, _ in scripted.requests] == ["http://collector.test:4318/v1/metrics"]
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    (sink,) = build_sinks({f"{P}ENDPOINT": receiver.endpoint})
    assert make.send(sink, make.counter(2)).ok
    sink.shutdown(1)
    assert receiver.total("ml.test.counter") == 2
    assert len(scripted.requests) == 1


@pytest.mark.fault("C12", "C2")
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_drips_or_is_gone_ends_with_the_deadline(
    monkeypatch: pytest.MonkeyPatch, scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Also its answer to CONNECT: that is read before anything of the request is sent."""
    with Receiver() as behind, Proxy(int(behind.endpoint.rpartition(":")[2])) as proxy:
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"http://127.0.0.1:{proxy.port}")
        for fault in (Fault(drip=0.05), Fault(black_hole=True), Fault(reset_down=0)):
            proxy.fault = fault
            (sink,) = build_sinks({f"{P}ENDPOINT": f"{scheme}://collector.test:4318"})
            report = make.send(sink, make.counter(1), timeout=0.5)
            assert report.outcomes == {"metrics": "failure"}
            sink.shutdown(0.2)


@pytest.mark.fault("C12")
def test_https_goes_through_a_proxy_as_a_tunnel(
    monkeypatch: pytest.MonkeyPatch, scripted: Scripted
) -> None:
    """What the proxy is given is where to connect to; never a request, never a header of ours."""
    asked: list[tuple[str, dict[str, str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
            self.send_error(403)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.server_address[1]}")
    (sink,) = build_sinks(
        {f"{P}ENDPOINT": "https://collector.test:4318", f"{P}HEADERS": "authorization=secret"}
    )
    report = make.send(sink, make.counter(1), timeout=5.0)
    sink.shutdown(0.2)
    server.shutdown()
    server.server_close()
    thread.join()
    assert report.outcomes == {"metrics": "failure"}
    assert {path for path, _ in asked} == {"collector.test:4318"}
    assert not any("authorization" in headers for _, headers in asked)


PROVIDERS = """
import logging, os, sys, time
import opentelemetry._logs as logs
from opentelemetry import metrics, trace
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from otel_ml.emit.build import build_sinks
from otel_ml.types import Event, MetricDef, Sample

own = sys.argv[1] == "own"
if own:
    reader, exporter = InMemoryMetricReader(), InMemoryLogRecordExporter()
    metrics.set_meter_provider(MeterProvider([reader]))
    provider = LoggerProvider()
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logs.set_logger_provider(provider)
    root = logging.getLogger()
    root.setLevel(logging.DEBUG)
    root.addHandler(LoggingHandler(logger_provider=provider))
get = (metrics.get_meter_provider, logs.get_logger_provider, trace.get_tracer_provider)
before = [vars(module).copy() for module in (metrics._internal, logs._internal, trace)]
(sink,) = build_sinks(os.environ)
counter = MetricDef("ml.c", "counter", "{row}", "", (), ())
for value in range(50):
    sink.export([Sample(counter, {}, value)], [Event("ml.e", {}, 1, "info")], start_ns=1,
                now_ns=time.time_ns(), timeout=20.0)
sink.shutdown(5)
for was, module in zip(before, (metrics._internal, logs._internal, trace)):
    changed = {k for k, v in vars(module).items() if "PROVIDER" in k and was.get(k) is not v}
    assert not changed, changed
if own:
    found = reader.get_metrics_data()
    assert not found or "ml.c" not in found.to_json()
    told = exporter.get_finished_logs()
    assert not any("ml.e" in str(log.log_record.body) for log in told)
    print(len(told))
"""


@pytest.mark.server
@pytest.mark.fault("A11")
@pytest.mark.parametrize("own", ["own", "none"])
def test_the_applications_providers_are_left_alone(own: str) -> None:
    """None is set, none is given anything; a log handler at DEBUG is not fed by what it does."""
    with Receiver() as receiver:
        environ = {f"{P}ENDPOINT": receiver.endpoint}
        ended = alone(PROVIDERS, own, environ=environ)
        assert ended.code == 0, ended.err
        assert len(receiver.events("ml.e")) == 50
        assert receiver.total("ml.c") == 49
        if own == "own":
            # urllib3 says each request at DEBUG, and the handler sends nothing by itself.
            assert int(ended.out) <= 50 * 2 * 3 + 20, "no record begets another"


@pytest.mark.fault("A11")
def test_no_provider_is_made_by_importing_or_building(receiver: Receiver) -> None:
    sink = OtlpSink(from_environ("metrics", {f"{P}ENDPOINT": receiver.endpoint}))
    assert make.send(sink, make.counter(1)).ok
    sink.shutdown(1)
    from opentelemetry import metrics

    assert "Proxy" in type(metrics.get_meter_provider()).__name__
