"""The OTLP sink against real HTTP servers."""

from __future__ import annotations

import gzip
import logging
import socket
import subprocess
import sys
import threading
import zlib
from dataclasses import replace
from typing import Any

import pytest
import requests
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.sdk.resources import Resource

from otel_ml.emit.destination import from_environ
from otel_ml.emit.otlp import OtlpSink
from otel_ml.emit.receiver import Receiver
from otel_ml.emit.resource import APPLICATION_INSTANCE_ID


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
    assert attributes[APPLICATION_INSTANCE_ID] == "pod-1"
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


def test_headers_and_compression_are_sent(make: Any, scripted: Any) -> None:
    for encoding, plain in (("gzip", gzip.decompress), ("deflate", zlib.decompress)):
        sink = sink_to(
            scripted.endpoint,
            OTEL_EXPORTER_OTLP_HEADERS="x-team=a%20b,x-other=1",
            OTEL_EXPORTER_OTLP_LOGS_HEADERS="x-team=logs",
            OTEL_EXPORTER_OTLP_COMPRESSION=encoding,
        )
        make.send(sink, make.counter(7), events=[make.event()])
        sink.shutdown(1)
        logs, metrics = scripted.requests[-2:]
        assert (logs[0], metrics[0]) == ("/v1/logs", "/v1/metrics")
        assert (logs[1]["x-team"], metrics[1]["x-team"], metrics[1]["x-other"]) == (
            "logs",
            "a b",
            "1",
        )
        assert metrics[1]["content-encoding"] == encoding
        assert metrics[1]["user-agent"].startswith("otel-ml/")
        sent = ExportMetricsServiceRequest.FromString(plain(metrics[2]))
        point = sent.resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points[0]
        assert point.as_int == 7


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


@pytest.mark.parametrize(
    ("kind", "body"), [("text/html", b"<html>hello</html>"), ("application/json", b"nonsense")]
)
def test_an_answer_that_is_not_otlp_is_a_failure(
    make: Any, scripted: Any, kind: str, body: bytes
) -> None:
    scripted.replies = [scripted.reply(kind=kind, body=body)]
    sink = sink_to(scripted.endpoint)
    assert make.send(sink, make.counter(1)).outcomes == {"metrics": "failure"}
    sink.shutdown(1)


def test_an_answer_in_json_is_understood(make: Any, scripted: Any) -> None:
    body = b'{"partialSuccess": {"rejectedDataPoints": "1"}, "new": 1}'
    scripted.replies = [scripted.reply(kind="application/json", body=body)]
    sink = sink_to(scripted.endpoint)
    assert make.send(sink, make.counter(1)).dropped == {"rejected": 1}
    sink.shutdown(1)


def test_an_answer_without_end_is_not_read(make: Any, scripted: Any) -> None:
    scripted.replies = [scripted.reply(body=bytes(1024 * 1024))]
    sink = sink_to(scripted.endpoint)
    assert make.send(sink, make.counter(1)).outcomes == {"metrics": "failure"}
    sink.shutdown(1)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_may_pass_is_sent_again(make: Any, scripted: Any, status: int) -> None:
    scripted.replies = [scripted.reply(status=status)]
    sink = sink_to(scripted.endpoint)
    assert make.send(sink, make.counter(1)).ok
    assert len(scripted.requests) == 2
    sink.shutdown(1)


@pytest.mark.parametrize("retry_after", ["3600", "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_a_long_retry_after_is_not_waited_for(make: Any, scripted: Any, retry_after: str) -> None:
    scripted.replies = [scripted.reply(status=503, headers={"retry-after": retry_after})]
    sink = sink_to(scripted.endpoint)
    assert make.send(sink, make.counter(1)).outcomes == {"metrics": "failure"}
    assert len(scripted.requests) == 1
    assert make.send(sink, make.counter(2)).ok
    sink.shutdown(1)


@pytest.mark.parametrize("retry_after", ["0", "-5", "garbage", "nan", "1e999"])
def test_an_odd_retry_after_is_survived(make: Any, scripted: Any, retry_after: str) -> None:
    scripted.replies = [scripted.reply(status=503, headers={"retry-after": retry_after})]
    sink = sink_to(scripted.endpoint)
    assert make.send(sink, make.counter(1)).ok
    sink.shutdown(1)


@pytest.mark.parametrize("status", [301, 401, 404, 500])
def test_what_cannot_pass_is_not_sent_again(make: Any, scripted: Any, status: int) -> None:
    headers = {"location": scripted.endpoint}
    scripted.by_content = lambda *_: scripted.reply(status=status, headers=headers)
    sink = sink_to(scripted.endpoint)
    report = make.send(sink, make.counter(1), make.gauge(1), events=[make.event()])
    assert report.outcomes == {"metrics": "failure", "logs": "failure"}
    assert report.dropped == {}, "metrics are cumulative and events are kept"
    assert len(scripted.requests) == 2
    scripted.by_content = None
    report = make.send(sink, make.counter(1))
    assert report.outcomes == {"metrics": "success", "logs": "success"}
    sink.shutdown(1)


def test_a_refused_item_loses_only_itself(make: Any, scripted: Any) -> None:
    def judge(_path: str, body: bytes) -> Any:
        return scripted.reply(status=400, body=b"poison") if b"poison" in body else None

    scripted.by_content = judge
    sink = sink_to(scripted.endpoint)
    report = make.send(
        sink,
        *(make.counter(1, f"ml.test.{i}") for i in range(5)),
        make.counter(1, "ml.poison", a="x"),
        make.counter(1, "ml.poison", a="y"),
        events=[make.event(f"ml.{name}") for name in ("a", "poison", "b", "c")],
    )
    assert report.outcomes == {"metrics": "partial", "logs": "partial"}
    assert report.dropped == {"rejected": 3}
    names: list[str] = []
    events: list[str] = []
    for path, _, body in scripted.requests:
        if b"poison" in body:
            continue
        if path == "/v1/logs":
            logs = ExportLogsServiceRequest.FromString(body)
            records = logs.resource_logs[0].scope_logs[0].log_records
            events += [record.event_name for record in records]
        else:
            metrics = ExportMetricsServiceRequest.FromString(body)
            found = metrics.resource_metrics[0].scope_metrics[0].metrics
            names += [metric.name for metric in found]
    assert sorted(names) == [f"ml.test.{i}" for i in range(5)]
    assert sorted(events) == ["ml.a", "ml.b", "ml.c"]
    sink.shutdown(1)


def test_a_receiver_that_refuses_everything_is_not_flooded(make: Any, scripted: Any) -> None:
    scripted.by_content = lambda *_: scripted.reply(status=400)
    sink = sink_to(scripted.endpoint)
    report = make.send(sink, *(make.counter(1, f"ml.test.{i}") for i in range(200)))
    assert report.outcomes == {"metrics": "failure"}
    assert len(scripted.requests) <= 64
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


def test_a_black_hole_ends_with_the_deadline(make: Any) -> None:
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen()
        sink = sink_to(f"http://127.0.0.1:{hole.getsockname()[1]}")
        report = make.send(sink, make.counter(1), events=[make.event()], timeout=0.4)
        assert report.outcomes == {"metrics": "failure", "logs": "failure"}
        sink.shutdown(0.2)


def test_the_timeout_variable_bounds_an_attempt(make: Any) -> None:
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen()
        address = f"http://127.0.0.1:{hole.getsockname()[1]}"
        sink = sink_to(address, OTEL_EXPORTER_OTLP_TIMEOUT="0.05")
        # Without the variable the only bound would be an hour.
        assert not make.send(sink, make.counter(1), timeout=3600.0).ok
        sink.shutdown(0.1)


def test_a_dripping_answer_ends_with_the_deadline(make: Any) -> None:
    stop = threading.Event()
    arrived: list[bool] = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
                for _ in range(200):
                    if stop.wait(0.05):
                        return
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return
                arrived.append(True)

        thread = threading.Thread(target=drip)
        thread.start()
        sink = sink_to(f"http://127.0.0.1:{listener.getsockname()[1]}")
        report = make.send(sink, make.counter(1), timeout=0.5)
        stop.set()
        thread.join()
        assert report.outcomes == {"metrics": "failure"}
        assert not arrived, "the answer was waited for"
        sink.shutdown(0.1)


def test_our_own_exports_are_not_instrumented(
    make: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    send = requests.Session.send

    def instrumented(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(is_instrumentation_enabled())
        return send(self, *args, **kwargs)

    monkeypatch.setattr(requests.Session, "send", instrumented)
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


def test_shutdown_sends_what_was_kept(make: Any, scripted: Any) -> None:
    scripted.by_content = lambda *_: scripted.reply(status=500)
    sink = sink_to(scripted.endpoint)
    make.send(sink, events=[make.event()])
    scripted.by_content = None
    scripted.requests.clear()
    sink.shutdown(5)
    assert [path for path, _, _ in scripted.requests] == ["/v1/logs"]


def test_a_certificate_that_is_missing_is_a_failure_and_never_plaintext(
    make: Any, scripted: Any
) -> None:
    sink = sink_to(
        scripted.endpoint.replace("http:", "https:"), OTEL_EXPORTER_OTLP_CERTIFICATE="/nowhere.pem"
    )
    report = make.send(sink, make.counter(1), events=[make.event()], timeout=2.0)
    assert report.outcomes == {"metrics": "failure", "logs": "failure"}
    assert scripted.requests == []
    sink.shutdown(0.1)


def test_tls_with_client_certificates(
    make: Any, scripted_tls: Any, certificate: tuple[str, str]
) -> None:
    trusted = {"OTEL_EXPORTER_OTLP_CERTIFICATE": certificate[0]}
    known = {
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": certificate[0],
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": certificate[1],
    }
    sink = sink_to(scripted_tls.endpoint, **trusted, **known)
    assert make.send(sink, make.counter(1)).ok
    sink.shutdown(1)
    for variables in ({}, known, trusted):
        sink = sink_to(scripted_tls.endpoint, **variables)
        report = make.send(sink, make.counter(1), timeout=2.0)
        assert report.outcomes == {"metrics": "failure"}
        sink.shutdown(0.2)
    assert len(scripted_tls.requests) == 1


@pytest.mark.parametrize("endpoint", ["localhost:1", "ftp://x", "http://", "http://a b", "::"])
def test_a_nonsense_endpoint_is_a_failure(make: Any, endpoint: str) -> None:
    metrics = replace(from_environ("metrics", {}), endpoint=endpoint)
    sink = OtlpSink(metrics, None)
    assert make.send(sink, make.counter(1), timeout=1.0).outcomes == {"metrics": "failure"}
    sink.shutdown(0.1)


def test_a_defect_in_a_resource_source_does_not_reach_the_caller(make: Any) -> None:
    def broken() -> Resource:
        raise RuntimeError("no resource")

    sink = OtlpSink(from_environ("metrics", {}), None, resource=broken)
    report = make.send(sink, make.counter(1))
    assert (report.ok, report.outcomes) == (False, {"metrics": "failure"})


def test_headers_and_passwords_are_not_shown() -> None:
    destination = from_environ(
        "metrics",
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "https://user:secret@host:4318/x?key=secret",
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=secret",
        },
    )
    assert "authorization" not in repr(destination)
    assert "secret" not in replace(destination, endpoint="https://u:secret@h/p?k=secret").shown


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
