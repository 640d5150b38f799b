"""The console prints OTLP in JSON."""

from __future__ import annotations

import io
import json
from typing import Any

from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from otel_ml.emit.console import ConsoleSink


def test_one_line_per_signal(make: Any) -> None:
    stream = io.StringIO()
    sink = ConsoleSink(stream=stream)
    told = make.event(trace_id=10, span_id=11)
    report = make.send(sink, make.counter(3), make.gauge(None), events=[told])
    assert report.dropped == {"unencodable": 1}
    assert report.outcomes == {"metrics": "success", "logs": "success"}
    metrics, logs = (json.loads(line) for line in stream.getvalue().splitlines())
    request = ParseDict(metrics, ExportMetricsServiceRequest())
    (metric,) = request.resource_metrics[0].scope_metrics[0].metrics
    assert metric.sum.data_points[0].as_int == 3
    record = logs["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
    assert (record["traceId"], record["spanId"]) == ("0" * 31 + "a", "0" * 15 + "b")
    assert (record["severityNumber"], record["eventName"]) == (13, "ml.incident")
    sink.shutdown(1)


def test_only_what_is_asked_for_is_printed(make: Any, capsys: Any) -> None:
    make.send(ConsoleSink(metrics=False), make.counter(3), events=[make.event()])
    assert list(json.loads(capsys.readouterr().out)) == ["resourceLogs"]
    make.send(ConsoleSink(logs=False), make.counter(3), events=[make.event()])
    assert list(json.loads(capsys.readouterr().out)) == ["resourceMetrics"]
    assert make.send(ConsoleSink()).ok
    assert capsys.readouterr().out == ""


def test_a_closed_stream_is_a_failure(make: Any) -> None:
    stream = io.StringIO()
    stream.close()
    report = make.send(ConsoleSink(stream=stream), make.counter(3))
    assert (report.ok, report.outcomes) == (False, {"metrics": "failure"})
