"""With a configuration file, the file alone decides."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from otel_ml.emit.build import build_sinks, export_interval
from otel_ml.emit.console import ConsoleSink
from otel_ml.emit.declarative import plan_from_file
from otel_ml.emit.observable import ObservableSink
from otel_ml.emit.otlp import OtlpSink
from otel_ml.errors import ConfigError

FILE = """
file_format: "1.0"
resource:
  schema_url: https://example.test/schema
  attributes_list: team=a%20b,service.name=ignored
  attributes:
    - {name: service.name, value: from-file}
    - {name: replica, value: "${env:REPLICA}", type: int}
  detection/development:
    attributes:
      included: [process.pid, host.*, service.*]
      excluded: [host.id]
    detectors:
      - process:
      - host:
      - service:
meter_provider:
  readers:
    - periodic:
        interval: 1500
        exporter:
          otlp_http:
            endpoint: ${env:BACKEND}/v1/metrics
            compression: gzip
            headers_list: x-one=list,x-two=list
            headers:
              - {name: X-Two, value: "${env:TOKEN:-none}"}
logger_provider:
  processors:
    - batch:
        exporter:
          otlp_http:
            endpoint: ${env:BACKEND}/v1/logs
"""


def written(folder: Path, text: str) -> str:
    path = folder / "otel.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("prefix", ["env:", ""])
def test_the_file_sends_to_a_real_receiver(
    make: Any, scripted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
    )

    from otel_ml.emit.readings import attributes_of

    monkeypatch.setenv("BACKEND", scripted.endpoint)
    monkeypatch.setenv("TOKEN", "secret")
    monkeypatch.setenv("REPLICA", "3")
    environ = {
        "OTEL_CONFIG_FILE": written(
            tmp_path, FILE.replace("compression: gzip", "").replace("env:", prefix)
        ),
        # All of these are to be ignored.
        "OTEL_SDK_DISABLED": "true",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://nowhere.invalid",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-one=environment",
        "OTEL_METRIC_EXPORT_INTERVAL": "99",
        "OTEL_RESOURCE_ATTRIBUTES": "team=environment",
    }
    (sink,) = build_sinks(environ)
    assert make.send(sink, make.counter(7), events=[make.event()]).ok
    sink.shutdown(1)
    assert export_interval(environ) == 1.5
    logs, metrics = sorted(scripted.requests)
    assert (logs[0], metrics[0]) == ("/v1/logs", "/v1/metrics")
    assert (metrics[1]["x-one"], metrics[1]["x-two"]) == ("list", "secret")
    assert "x-one" not in logs[1]
    (sent,) = ExportMetricsServiceRequest.FromString(metrics[2]).resource_metrics
    resource = attributes_of(sent.resource.attributes)
    assert resource["service.name"] == "from-file"
    assert resource["team"] == "a b"
    assert resource["replica"] == 3
    assert resource["process.pid"] == os.getpid()
    assert resource["host.name"]
    assert "host.id" not in resource
    assert resource["ml.application.instance.id"] != resource["service.instance.id"]
    assert sent.schema_url == "https://example.test/schema"


def test_all_kinds_of_destinations(tmp_path: Path) -> None:
    text = """
file_format: "1.0"
meter_provider:
  readers:
    - periodic:
        interval: 5000
        exporter:
          otlp_grpc:
            endpoint: https://collector:4317
            timeout: 2500
            temporality_preference: delta
            tls: {ca_file: /ca.pem, cert_file: /cert.pem, key_file: /key.pem}
    - periodic: {interval: 4000, exporter: {console: {}}}
    - pull: {exporter: {prometheus/development: {port: 0}}}
logger_provider:
  processors:
    - simple: {exporter: {console: {}}}
    - batch: {exporter: {otlp_grpc: {endpoint: collector:4317, tls: {insecure: true}}}}
    - batch: {exporter: {otlp_http: {}}}
"""
    path = written(tmp_path, text)
    plan = plan_from_file(path)
    (metrics,) = plan.metrics
    assert (metrics.protocol, metrics.endpoint, metrics.insecure) == (
        "grpc",
        "collector:4317",
        False,
    )
    assert (metrics.timeout, metrics.delta) == (2.5, True)
    assert (metrics.certificate, metrics.client_certificate, metrics.client_key) == (
        "/ca.pem",
        "/cert.pem",
        "/key.pem",
    )
    grpc, http = plan.logs
    assert (grpc.endpoint, grpc.insecure) == ("collector:4317", True)
    assert (http.endpoint, http.timeout) == ("http://localhost:4318/v1/logs", 10.0)
    assert sorted(plan.console) == ["logs", "metrics"]
    assert sorted(plan.provider) == ["metrics"]
    assert plan.interval == 4.0
    kinds = [type(sink) for sink in build_sinks({"OTEL_CONFIG_FILE": path})]
    assert kinds == [OtlpSink, ConsoleSink, ObservableSink]


def test_a_disabled_file_has_no_sinks(tmp_path: Path) -> None:
    path = written(tmp_path, FILE + "disabled: true\n")
    assert build_sinks({"OTEL_CONFIG_FILE": path}) == []


def test_a_signal_the_file_does_not_name_goes_nowhere(tmp_path: Path) -> None:
    path = written(tmp_path, FILE.partition("logger_provider")[0])
    (sink,) = build_sinks({"OTEL_CONFIG_FILE": path})
    assert isinstance(sink, OtlpSink)
    assert [found.signal for found in sink.destinations] == ["metrics"]


@pytest.mark.parametrize(
    "text", ["", "- a", "file_format: 9.0", 'file_format: "1.0"\nmeter_provider: 7', "a: [", None]
)
def test_a_file_that_cannot_be_used_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str | None
) -> None:
    path = str(tmp_path / "missing.yaml") if text is None else written(tmp_path, text)
    with pytest.raises(ConfigError, match="OTEL_CONFIG_FILE") as raised:
        plan_from_file(path)
    assert path in raised.value.message
    assert raised.value.remedy
    with caplog.at_level(logging.ERROR, "otel_ml"):
        assert build_sinks({"OTEL_CONFIG_FILE": path}) == []
        assert export_interval({"OTEL_CONFIG_FILE": path}) == 60.0
    assert "no telemetry of models is sent" in caplog.text


TRACER = "tracer_provider: {processors: [{simple: {exporter: {console: }}}]}\n"
APPLICATION = """
import os
from opentelemetry.configuration import configure_sdk, load_config_file
configure_sdk(load_config_file(os.environ["OTEL_CONFIG_FILE"]))
from otel_ml.emit import build_sinks
from otel_ml.types import MetricDef, Sample
(sink,) = build_sinks(os.environ)
counter = MetricDef("ml.c", "counter", "{row}", "", (), ())
assert sink.export([Sample(counter, {}, 1)], [], start_ns=1, now_ns=2, timeout=20.0).ok
sink.shutdown(1)
"""


def test_beside_an_sdk_that_was_configured_by_the_same_file(receiver: Any, tmp_path: Path) -> None:
    environ = {
        "PATH": "",
        "PYTHONPATH": ":".join(entry for entry in sys.path if entry) + ":.",
        # The SDK knows only the short form of variables.
        "OTEL_CONFIG_FILE": written(tmp_path, FILE.replace("env:", "") + TRACER),
        "BACKEND": receiver.endpoint,
        "REPLICA": "3",
    }
    subprocess.run([sys.executable, "-c", APPLICATION], env=environ, check=True, timeout=60)
    ((attributes, value),) = receiver.series("ml.c")
    assert value == 1
    assert (attributes["service.name"], attributes["replica"]) == ("from-file", 3)
