"""The OTLP sink against a real gRPC server."""

from __future__ import annotations

import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)

from otel_ml.emit.destination import from_environ
from otel_ml.emit.otlp import OtlpSink


def sink_to(port: int, scheme: str = "http", **environ: str) -> OtlpSink:
    variables = {
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"{scheme}://127.0.0.1:{port}",
        **environ,
    }
    return OtlpSink(from_environ("metrics", variables), from_environ("logs", variables))


def test_every_kind_arrives(make: Any, grpc_receiver: Any) -> None:
    grpc_receiver.start()
    sink = sink_to(
        grpc_receiver.port,
        OTEL_EXPORTER_OTLP_HEADERS="x-team=a%20b",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
    )
    report = make.send(
        sink,
        make.counter(3),
        make.updown(-1),
        make.gauge(0.5),
        make.histogram((1, 2, 3)),
        events=[make.event(attributes={"members": ["a", "b"]})],
    )
    sink.shutdown(1)
    assert report.ok
    counter, updown, gauge, histogram = (
        grpc_receiver.metrics[0].resource_metrics[0].scope_metrics[0].metrics
    )
    assert counter.sum.data_points[0].as_int == 3
    assert updown.sum.data_points[0].as_int == -1
    assert gauge.gauge.data_points[0].as_double == 0.5
    assert not histogram.histogram.data_points[0].HasField("sum")
    (record,) = grpc_receiver.logs[0].resource_logs[0].scope_logs[0].log_records
    assert len(record.attributes[0].value.array_value.values) == 2
    for metadata in grpc_receiver.metadata:
        assert metadata["x-team"] == "a b"
        assert metadata["user-agent"].startswith("otel-ml/")


def test_partial_success_is_counted(make: Any, grpc_receiver: Any) -> None:
    grpc_receiver.start()
    logs, metrics = ExportLogsServiceResponse(), ExportMetricsServiceResponse()
    logs.partial_success.rejected_log_records = 1
    metrics.partial_success.rejected_data_points = 2
    grpc_receiver.replies = [logs, metrics]
    sink = sink_to(grpc_receiver.port)
    report = make.send(sink, make.counter(1), events=[make.event()])
    assert report.dropped == {"rejected": 3}
    assert report.outcomes == {"metrics": "partial", "logs": "partial"}
    sink.shutdown(1)


@pytest.mark.parametrize(
    ("code", "outcome", "calls"),
    [
        (grpc.StatusCode.UNAVAILABLE, "success", 2),
        (grpc.StatusCode.ABORTED, "success", 2),
        (grpc.StatusCode.PERMISSION_DENIED, "failure", 1),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "failure", 1),
        (grpc.StatusCode.INVALID_ARGUMENT, "failure", 1),
    ],
)
def test_status_codes(
    make: Any, grpc_receiver: Any, code: grpc.StatusCode, outcome: str, calls: int
) -> None:
    grpc_receiver.start()
    grpc_receiver.replies = [code]
    sink = sink_to(grpc_receiver.port)
    assert make.send(sink, make.counter(1)).outcomes == {"metrics": outcome}
    assert len(grpc_receiver.metrics) == calls
    sink.shutdown(1)


def test_a_refused_event_loses_only_itself(make: Any, grpc_receiver: Any) -> None:
    grpc_receiver.start()
    # All three, then the first alone, then the other two, then each of them.
    grpc_receiver.replies = [
        grpc.StatusCode.INVALID_ARGUMENT,
        ExportLogsServiceResponse(),
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.INVALID_ARGUMENT,
    ]
    sink = sink_to(grpc_receiver.port)
    report = make.send(sink, events=[make.event(f"ml.{name}") for name in "abc"])
    assert report.dropped == {"rejected": 1}
    assert report.outcomes == {"logs": "partial"}
    sent = [
        [record.event_name for record in request.resource_logs[0].scope_logs[0].log_records]
        for request in grpc_receiver.logs
    ]
    assert sent == [["ml.a", "ml.b", "ml.c"], ["ml.a"], ["ml.b", "ml.c"], ["ml.b"], ["ml.c"]]
    sink.shutdown(1)


def test_nothing_is_lost_while_the_receiver_is_away(make: Any, grpc_receiver: Any) -> None:
    grpc_receiver.start()
    sink = sink_to(grpc_receiver.port)
    assert make.send(sink, make.counter(1)).ok
    grpc_receiver.stop()
    report = make.send(sink, make.counter(2), events=[make.event()], timeout=0.5)
    assert report.outcomes == {"metrics": "failure", "logs": "failure"}
    grpc_receiver.start()
    for _ in range(50):
        if make.send(sink, make.counter(3), timeout=1.0).ok:
            break
    sink.shutdown(1)
    last = grpc_receiver.metrics[-1].resource_metrics[0].scope_metrics[0].metrics[0]
    assert last.sum.data_points[0].as_int == 3
    assert len(grpc_receiver.logs) == 1


def test_a_black_hole_ends_with_the_deadline(make: Any) -> None:
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen()
        sink = sink_to(hole.getsockname()[1])
        report = make.send(sink, make.counter(1), events=[make.event()], timeout=0.4)
        assert report.outcomes == {"metrics": "failure", "logs": "failure"}
        sink.shutdown(0.2)


def test_tls_with_client_certificates(
    make: Any, grpc_receiver: Any, certificate: tuple[str, str]
) -> None:
    contents = [Path(path).read_bytes() for path in certificate]
    grpc_receiver.start(
        grpc.ssl_server_credentials(
            [(contents[1], contents[0])], contents[0], require_client_auth=True
        )
    )
    trusted = {"OTEL_EXPORTER_OTLP_CERTIFICATE": certificate[0]}
    known = {
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": certificate[0],
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": certificate[1],
    }
    sink = sink_to(grpc_receiver.port, "https", **trusted, **known)
    assert make.send(sink, make.counter(1)).ok
    sink.shutdown(1)
    for variables in ({}, trusted, {"OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere.pem"}):
        sink = sink_to(grpc_receiver.port, "https", **variables)
        report = make.send(sink, make.counter(1), timeout=1.0)
        assert report.outcomes == {"metrics": "failure"}
        sink.shutdown(0.2)
    assert len(grpc_receiver.metrics) == 1


def test_a_nonsense_header_is_a_failure(make: Any, grpc_receiver: Any) -> None:
    grpc_receiver.start()
    destination = from_environ(
        "metrics", {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{grpc_receiver.port}"}, "grpc"
    )
    sink = OtlpSink(replace(destination, headers=(("Bad Header", "x"),)), None)
    assert make.send(sink, make.counter(1)).outcomes == {"metrics": "failure"}
    sink.shutdown(1)


FORK = """
import os, sys, time
from otel_ml.emit.build import build_sinks
from otel_ml.types import MetricDef, Sample
(sink,) = build_sinks(os.environ)
counter = MetricDef("ml.c", "counter", "{row}", "", (), ())
def send(value):
    return sink.export([Sample(counter, {}, value)], [],
                       start_ns=1, now_ns=time.time_ns(), timeout=20.0)
child = os.fork()
if child == 0:
    assert send(3).ok
    sink.shutdown(5)
    sys.exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
assert send(11).ok
sink.shutdown(5)
"""


def test_a_sink_made_before_a_fork_connects_after_it(grpc_receiver: Any) -> None:
    grpc_receiver.start()
    environ = {
        "PATH": "",
        "PYTHONPATH": ":".join(path for path in sys.path if path) + ":.",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{grpc_receiver.port}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
    }
    subprocess.run([sys.executable, "-c", FORK], env=environ, check=True, timeout=60)
    values = [
        request.resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points[0].as_int
        for request in grpc_receiver.metrics
    ]
    assert values == [3, 11]
