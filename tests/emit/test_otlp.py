"""The OTLP sink against real HTTP servers."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.sdk.resources import Resource
from urllib3.connectionpool import HTTPConnectionPool

from otel_ml.emit.destination import from_environ
from otel_ml.emit.otlp import OtlpSink
from otel_ml.emit.receiver import Receiver
from otel_ml.semconv.attributes import ML_APPLICATION_INSTANCE_ID


def sink_to(endpoint: str, **environ: str) -> OtlpSink:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **environ}
    return OtlpSink(
        from_environ("metrics", variables),
        from_environ("logs", variables),
        resource=lambda: Resource({"service.name": "s", "service.instance.id": "pod-1"}),
    )


def test_every_kind_arrives(make: Any, receiver: Receiver) -> None:
    sink = sink_to(receiver.endpoint)
    report = make.send(
        sink,
        make.counter(3),
        make.updown(-1),
        make.gauge(0.5),
        make.histogram((1, 2, 3), 4.0),
        events=[make.event(attributes={"members": ["a:b", "c:d"]})],
    )
    sink.shutdown(1)
    assert report.ok
    assert report.dropped == {}
    assert report.outcomes == {"metrics": "success", "logs": "success"}
    assert receiver.total("ml.test.counter") == 3
    assert receiver.total("ml.test.updowncounter") == -1
    assert receiver.total("ml.test.gauge") == 0.5
    buckets = receiver.histogram("ml.test.histogram", ml_model_name="m")
    assert buckets is not None
    assert (buckets.counts, buckets.sum) == ((1, 2, 3), 4.0)
    (event,) = receiver.events("ml.incident")
    assert event["attributes"] == {"members": ["a:b", "c:d"]}
    assert event["severity"] == 13


def test_the_identity_of_the_process_is_fresh_and_the_applications_is_kept(
    make: Any, receiver: Receiver
) -> None:
    sink = sink_to(receiver.endpoint)
    make.send(sink, make.counter(1))
    make.send(sink, make.counter(2), events=[make.event()])
    ((attributes, value),) = receiver.series("ml.test.counter")
    assert value == 2
    assert attributes["service.name"] == "s"
    assert attributes[ML_APPLICATION_INSTANCE_ID] == "pod-1"
    assert len(attributes["service.instance.id"]) == 36
    assert (
        receiver.events()[0]["resource"]["service.instance.id"]
        == (attributes["service.instance.id"])
    )
    sink.shutdown(1)


def test_a_signal_without_destination_goes_nowhere(make: Any, receiver: Receiver) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
    only_logs = OtlpSink(None, from_environ("logs", variables))
    report = make.send(only_logs, make.counter(1), events=[make.event()])
    assert (report.ok, report.outcomes) == (True, {"logs": "success"})
    only_metrics = OtlpSink(from_environ("metrics", variables), None)
    report = make.send(only_metrics, make.counter(1), events=[make.event()])
    assert (report.ok, report.outcomes) == (True, {"metrics": "success"})
    assert len(receiver.logs) == len(receiver.metrics) == 1
    only_logs.shutdown(1)
    only_metrics.shutdown(1)


def test_partial_success_is_counted_and_said(
    make: Any, scripted: Any, caplog: pytest.LogCaptureFixture
) -> None:
    metrics, logs = ExportMetricsServiceResponse(), ExportLogsServiceResponse()
    metrics.partial_success.rejected_data_points = 2
    metrics.partial_success.error_message = "too old"
    logs.partial_success.rejected_log_records = 1
    bodies = {"/v1/metrics": metrics, "/v1/logs": logs}
    scripted.by_content = lambda path, _: scripted.reply(body=bodies[path].SerializeToString())
    sink = sink_to(scripted.endpoint)
    with caplog.at_level(logging.WARNING, "otel_ml"):
        report = make.send(sink, make.counter(1), events=[make.event()])
    assert not report.ok
    assert report.dropped == {"rejected": 3}
    assert report.outcomes == {"metrics": "partial", "logs": "partial"}
    assert "2 rejected: too old" in caplog.text
    scripted.requests.clear()
    make.send(sink, make.counter(1))
    assert [path for path, _, _ in scripted.requests] == ["/v1/metrics"], "events are not resent"
    sink.shutdown(1)


def test_a_warning_without_rejections_is_a_success(
    make: Any, scripted: Any, caplog: pytest.LogCaptureFixture
) -> None:
    answer = ExportMetricsServiceResponse()
    answer.partial_success.error_message = "please update"
    scripted.replies = [scripted.reply(body=answer.SerializeToString())]
    sink = sink_to(scripted.endpoint)
    with caplog.at_level(logging.INFO, "otel_ml"):
        report = make.send(sink, make.counter(1))
    assert (report.ok, report.outcomes) == (True, {"metrics": "success"})
    assert "please update" in caplog.text
    assert "again" not in caplog.text
    sink.shutdown(1)


def test_nothing_is_lost_while_the_receiver_is_away(
    make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with Receiver() as first:
        port = int(first.endpoint.rpartition(":")[2])
        sink = sink_to(first.endpoint)
        assert make.send(sink, make.counter(1), events=[make.event("ml.a")]).ok
    with caplog.at_level(logging.INFO, "otel_ml"):
        report = make.send(sink, make.counter(2), events=[make.event("ml.b")], timeout=0.5)
        assert not report.ok
        assert report.dropped == {}
        make.send(sink, make.counter(3), events=[make.event("ml.c")], timeout=0.5)
        assert caplog.text.count("metrics to http") == 1, "one message while it lasts"
        with Receiver(port) as second:
            assert make.send(sink, make.counter(4), events=[make.event("ml.d")]).ok
            assert second.total("ml.test.counter") == 4
            assert [event["name"] for event in second.events()] == ["ml.b", "ml.c", "ml.d"]
    assert "metrics arrive at" in caplog.text
    sink.shutdown(1)


def test_deltas_survive_a_receiver_that_was_away(make: Any) -> None:
    delta = {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta"}
    with Receiver() as first:
        port = int(first.endpoint.rpartition(":")[2])
        sink = sink_to(first.endpoint, **delta)
        make.send(sink, make.counter(5), make.histogram((1, 0, 0), 0.25))
        assert first.total("ml.test.counter") == 5
    make.send(sink, make.counter(7), make.histogram((1, 1, 0), 1.0), timeout=0.5)
    with Receiver(port) as second:
        make.send(sink, make.counter(8), make.histogram((1, 1, 2), 5.0))
        make.send(sink, make.counter(8), make.histogram((1, 1, 2), 5.0))
        assert second.total("ml.test.counter") == 3
        buckets = second.histogram("ml.test.histogram")
        assert buckets is not None
        assert (buckets.counts, buckets.sum) == ((0, 1, 2), 4.75)
        assert len(second.metrics) == 1, "no change, no request"
    sink.shutdown(1)


def test_kept_events_are_bounded_and_the_oldest_are_counted(make: Any) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        sink = sink_to(endpoint)
        events = [make.event(f"ml.e{i}") for i in range(1_005)]
        report = make.send(sink, events=events, timeout=0.2)
        assert report.dropped == {"export_failed": 5}
        sink.shutdown(0.2)


def test_our_own_exports_are_not_instrumented(
    make: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    send = HTTPConnectionPool.urlopen

    def instrumented(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(is_instrumentation_enabled())
        return send(self, *args, **kwargs)

    monkeypatch.setattr(HTTPConnectionPool, "urlopen", instrumented)
    sink = sink_to(receiver.endpoint)
    make.send(sink, make.counter(1), events=[make.event()])
    sink.shutdown(1)
    assert seen == [False, False]
    assert is_instrumentation_enabled()


def test_after_shutdown_events_are_counted_as_lost(make: Any, receiver: Receiver) -> None:
    sink = sink_to(receiver.endpoint)
    make.send(sink, make.counter(1))
    sink.shutdown(1)
    sink.shutdown(1)
    report = make.send(sink, make.counter(2), events=[make.event()])
    assert (report.ok, report.dropped) == (False, {"closed": 1})


def test_a_second_shutdown_has_nothing_to_wait_for(make: Any, receiver: Receiver) -> None:
    sink = sink_to(receiver.endpoint)
    make.send(sink, make.counter(1))
    sink.shutdown(5)
    ended = threading.Thread(target=sink.shutdown, args=(3600.0,), daemon=True)
    ended.start()
    ended.join(30)
    assert not ended.is_alive()


def test_shutdown_sends_what_was_kept(make: Any, scripted: Any) -> None:
    scripted.by_content = lambda *_: scripted.reply(status=500)
    sink = sink_to(scripted.endpoint)
    make.send(sink, events=[make.event()])
    scripted.by_content = None
    scripted.requests.clear()
    sink.shutdown(5)
    assert [path for path, _, _ in scripted.requests] == ["/v1/logs"]


def test_a_defect_in_a_resource_source_does_not_reach_the_caller(make: Any) -> None:
    def broken() -> Resource:
        raise RuntimeError("no resource")

    sink = OtlpSink(from_environ("metrics", {}), None, resource=broken)
    report = make.send(sink, make.counter(1))
    assert (report.ok, report.outcomes) == (False, {"metrics": "failure"})


FORK = """
import os, sys, time
from otel_ml.emit.build import build_sinks
from otel_ml.types import Event, MetricDef, Sample
(sink,) = build_sinks(os.environ)
counter = MetricDef("ml.c", "counter", "{row}", "", (), ())
def send(value, *events):
    return sink.export([Sample(counter, {}, value)], list(events),
                       start_ns=1, now_ns=time.time_ns(), timeout=20.0)
assert send(10).ok
# No time to send it, so the parent keeps it.
event = Event("ml.parent", {}, 1, "info")
assert not sink.export([], [event], start_ns=1, now_ns=1, timeout=0.0).ok
child = os.fork()
if child == 0:
    assert send(3).ok
    assert send(4).ok
    sink.shutdown(5)
    sys.exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
assert send(11).ok
sink.shutdown(5)
"""


@pytest.mark.parametrize("temporality", ["cumulative", "delta"])
def test_a_fork_gets_its_own_identity_and_sends_nothing_of_its_parent(
    receiver: Receiver, temporality: str
) -> None:
    environ = {
        "PATH": "",
        "PYTHONPATH": ":".join(path for path in sys.path if path) + ":.",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": temporality,
    }
    subprocess.run([sys.executable, "-c", FORK], env=environ, check=True, timeout=60)
    found = {a["service.instance.id"]: value for a, value in receiver.series("ml.c")}
    assert sorted(found.values()) == [4, 11]
    assert [event["name"] for event in receiver.events()] == ["ml.parent"]
