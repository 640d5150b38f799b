"""The shipped configurations, in the real Collector, Prometheus and Alertmanager."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import stack as stack_module
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import Meter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

pytestmark = pytest.mark.stack

HANG = 60.0  # seconds; a guard, not a measure


def resource(service: str) -> Resource:
    return Resource.create(
        {
            "service.name": service,
            "service.namespace": "shop",
            "service.instance.id": f"{service}-1",
            "deployment.environment.name": "test",
            "host.name": "not-promoted",
        }
    )


def send(exporter: MetricExporter, service: str, record: Callable[[Meter], None]) -> None:
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    provider = MeterProvider([reader], resource(service))
    record(provider.get_meter("tests.stack"))
    provider.shutdown()


def count_predictions(meter: Meter) -> None:
    meter.create_counter("ml.test.predictions", "{prediction}").add(7, {"ml.model.name": "churn"})


def over_http(stack: stack_module.Stack) -> MetricExporter:
    return HttpMetrics(f"{stack.otlp_http_endpoint}/v1/metrics")


def over_grpc(stack: stack_module.Stack) -> MetricExporter:
    return GrpcMetrics(stack.otlp_grpc_endpoint, insecure=True)


def send_log(stack: stack_module.Stack, event: str) -> None:
    provider = LoggerProvider(resource("logs"))
    exporter = OTLPLogExporter(f"{stack.otlp_http_endpoint}/v1/logs")
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    provider.get_logger("tests.stack").emit(
        timestamp=time.time_ns(), severity_number=SeverityNumber.WARN, event_name=event
    )
    provider.shutdown()


def send_span(stack: stack_module.Stack) -> None:
    provider = TracerProvider(resource=resource("spans"))
    exporter = OTLPSpanExporter(f"{stack.otlp_http_endpoint}/v1/traces")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.get_tracer("tests.stack").start_span("predict").end()
    provider.shutdown()


@contextlib.contextmanager
def receiver() -> Iterator[tuple[str, list[str]]]:
    """Accept OTLP/HTTP on a free port, and list the paths that were posted to."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if body and "Content-Encoding" not in self.headers:
                paths.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", paths
        finally:
            server.shutdown()
            thread.join(HANG)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + HANG
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


# ---- the shipped configurations


def test_promtool_accepts_the_prometheus_configuration(
    binaries: stack_module.Binaries, config_dir: Path
) -> None:
    command = [str(binaries.promtool), "check", "config", "--lint=all", "--lint-fatal"]
    done = subprocess.run(
        [*command, str(config_dir / "prometheus.yaml")],
        capture_output=True,
        text=True,
        timeout=HANG,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("overlays", [[], ["demo.yaml"]])
def test_the_collector_accepts_agent_and_overlays(
    binaries: stack_module.Binaries, config_dir: Path, overlays: list[str]
) -> None:
    configs = [f"--config={config_dir / name}" for name in ["agent.yaml", *overlays]]
    done = subprocess.run(
        [str(binaries.collector), "validate", *configs],
        env={**os.environ, "OTEL_ML_DEMO_ENDPOINT": "http://127.0.0.1:14318"},
        capture_output=True,
        text=True,
        timeout=HANG,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_alert_reaches_alertmanager(binaries: stack_module.Binaries, tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "always.yaml").write_text(
        "groups: [{name: g, interval: 1s, rules: [{alert: Always, expr: vector(1)}]}]"
    )
    with stack_module.Stack(tmp_path, alertmanager=True) as stack:
        assert stack.alertmanager_url is not None

        def alert_names() -> list[str]:
            _, body = stack_module.fetch(f"{stack.alertmanager_url}/api/v2/alerts")
            return [alert["labels"]["alertname"] for alert in json.loads(body)]

        until(lambda: alert_names() == ["Always"])


# ---- names and labels in Prometheus


@pytest.mark.parametrize("exporter", [over_http, over_grpc])
def test_a_counter_arrives_once_under_its_translated_name(
    stack: stack_module.Stack, exporter: Callable[[stack_module.Stack], MetricExporter]
) -> None:
    service = exporter.__name__
    send(exporter(stack), service, count_predictions)
    (series,) = stack.wait_for(f'ml_test_predictions_total{{service_name="{service}"}}')
    assert float(series["value"][1]) == 7
    assert series["metric"] == {
        "__name__": "ml_test_predictions_total",
        "job": f"shop/{service}",
        "instance": f"{service}-1",
        "service_name": service,
        "service_namespace": "shop",
        "service_instance_id": f"{service}-1",
        "deployment_environment_name": "test",
        "ml_model_name": "churn",
    }


def test_units_become_suffixes_as_the_rules_and_dashboards_assume(
    stack: stack_module.Stack,
) -> None:
    def record(meter: Meter) -> None:
        meter.create_gauge("ml.test.drift", "1").set(0.5)
        meter.create_gauge("ml.test.selection.ratio", "1").set(0.5)
        meter.create_gauge("ml.test.score", "{score}").set(0.5)
        meter.create_up_down_counter("ml.test.status", "1").add(1)
        meter.create_histogram("ml.test.duration", "s").record(0.5)
        meter.create_histogram("ml.test.confidence", "1").record(0.5)

    send(over_http(stack), "units", record)
    stack.wait_for('ml_test_drift_ratio{service_name="units"}')
    found = stack.query('{service_name="units", __name__=~"ml_.*", le=~"|[+]Inf"}')
    assert {series["metric"]["__name__"] for series in found} == {
        "ml_test_drift_ratio",
        "ml_test_selection_ratio",
        "ml_test_score",
        "ml_test_status",
        "ml_test_duration_seconds_bucket",
        "ml_test_duration_seconds_count",
        "ml_test_duration_seconds_sum",
        "ml_test_confidence_bucket",
        "ml_test_confidence_count",
        "ml_test_confidence_sum",
    }


def test_incidents_are_written_to_a_file(stack: stack_module.Stack) -> None:
    send_log(stack, "incident-to-file")
    incidents = stack.workdir / "incidents.jsonl"
    until(lambda: incidents.exists() and "incident-to-file" in incidents.read_text())
    records = [json.loads(line) for line in incidents.read_text().splitlines()]
    logs = records[-1]["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    assert logs[0]["eventName"] == "incident-to-file"


def test_the_overlay_forwards_all_signals_and_prometheus_keeps_its_copy(
    binaries: stack_module.Binaries, config_dir: Path, tmp_path: Path
) -> None:
    with receiver() as (endpoint, paths):
        overlays, env = [config_dir / "demo.yaml"], {"OTEL_ML_DEMO_ENDPOINT": endpoint}
        with stack_module.Stack(tmp_path, extra_collector_config=overlays, env=env) as stack:
            send(over_http(stack), "demo", count_predictions)
            send_log(stack, "incident-to-both")
            send_span(stack)
            stack.wait_for('ml_test_predictions_total{service_name="demo"}')
            until(lambda: set(paths) == {"/v1/metrics", "/v1/logs", "/v1/traces"})
            incidents = tmp_path / "incidents.jsonl"
            until(lambda: incidents.exists() and "incident-to-both" in incidents.read_text())
