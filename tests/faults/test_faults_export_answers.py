"""What receivers answer: to wait, to send less, never again, in part, or nonsense."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from otel_ml.emit.destination import from_environ
from otel_ml.emit.lane import Patience
from otel_ml.emit.otlp import OtlpSink
from tests.emit.conftest import GrpcReceiver, Make, Reply, Scripted, scripted_server

# With a cap of 0.3 s everything that is asked for can be waited for in a test.
PATIENCE = Patience(backoff=(0.01, 0.02, 0.05), longest_wait=0.3)
make = Make()


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def server() -> Iterator[GrpcReceiver]:
    running = GrpcReceiver()
    running.start()
    yield running
    running.stop()


def http_sink(scripted: Scripted, patience: Patience = PATIENCE, **environ: str) -> OtlpSink:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": scripted.endpoint, **environ}
    return OtlpSink(
        from_environ("metrics", variables), from_environ("logs", variables), patience=patience
    )


def grpc_sink(server: GrpcReceiver, patience: Patience = PATIENCE) -> OtlpSink:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.port}"}
    return OtlpSink(
        from_environ("metrics", variables, "grpc"),
        from_environ("logs", variables, "grpc"),
        patience=patience,
    )


class Times:
    """When each request came."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def note(self) -> None:
        self.at.append(time.monotonic())

    @property
    def gap(self) -> float:
        """Seconds between the first two."""
        return self.at[1] - self.at[0]


# C3


@pytest.mark.fault("C3")
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("retry_after", "least"),
    [
        (lambda: "0.2", 0.2),
        (lambda: "1e9", 0.3),  # as long as is waited at most
        (lambda: "1000000000", 0.3),
        (lambda: formatdate(time.time() + 3600, usegmt=True), 0.3),
        (lambda: formatdate(time.time() - 3600, usegmt=True), 0.01),
        (lambda: "-7", 0.01),
        (lambda: "0", 0.01),
        (lambda: "soon", 0.01),
        (lambda: "nan", 0.01),
        (lambda: "1e999", 0.01),
        (lambda: "99999999999999999999 GMT", 0.01),
    ],
)
def test_retry_after_is_kept_to_up_to_a_cap(
    scripted: Scripted, status: int, retry_after: Callable[[], str], least: float
) -> None:
    times = Times()
    scripted.replies = [
        Reply(status, headers={"retry-after": retry_after()}, before=times.note),
        Reply(before=times.note),
    ]
    sink = http_sink(scripted)
    assert make.send(sink, make.counter(1)).ok
    assert times.gap >= least
    sink.shutdown(1)


def trailers(*, details: float | None, own: float | None) -> Any:
    """Return the trailing metadata of a server that asks to wait."""

    def info(seconds: float) -> Any:
        delay = Duration()
        delay.FromMicroseconds(int(seconds * 1e6))
        return RetryInfo(retry_delay=delay)

    found: list[tuple[str, bytes]] = []
    if details is not None:
        status = Status(code=14, message="busy")
        status.details.add().Pack(info(details))
        found.append(("grpc-status-details-bin", status.SerializeToString()))
    if own is not None:
        found.append(("google.rpc.retryinfo-bin", info(own).SerializeToString()))
    return tuple(found)


def says(code: grpc.StatusCode, metadata: Any, times: Times | None = None) -> Any:
    def reply(_request: Any, context: Any) -> None:
        if times is not None:
            times.note()
        context.set_trailing_metadata(metadata)
        context.abort(code, "as told")

    return reply


def accepts(times: Times) -> Any:
    def reply(_request: Any, _context: Any) -> Any:
        times.note()
        return ExportMetricsServiceResponse()

    return reply


@pytest.mark.fault("C3", "C4")
@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
@pytest.mark.parametrize(
    ("details", "own", "least"),
    [(0.2, None, 0.2), (None, 0.2, 0.2), (0.2, 0.1, 0.2), (3600.0, None, 0.3), (-5.0, None, 0.01)],
)
def test_retry_info_is_kept_to_in_either_trailer(
    server: GrpcReceiver, code: grpc.StatusCode, details: Any, own: Any, least: float
) -> None:
    times = Times()
    server.replies = [says(code, trailers(details=details, own=own), times), accepts(times)]
    sink = grpc_sink(server)
    assert make.send(sink, make.counter(1)).ok
    assert times.gap >= least
    sink.shutdown(1)


@pytest.mark.fault("C3")
@pytest.mark.parametrize("name", ["grpc-status-details-bin", "google.rpc.retryinfo-bin"])
def test_a_trailer_of_garbage_is_as_good_as_none(server: GrpcReceiver, name: str) -> None:
    server.replies = [says(grpc.StatusCode.UNAVAILABLE, ((name, b"\xff\x00garbage"),))]
    sink = grpc_sink(server)
    assert make.send(sink, make.counter(1)).ok
    assert len(server.metrics) == 2
    sink.shutdown(1)


@pytest.mark.fault("C3")
def test_the_wait_asked_for_holds_across_exports_and_then_ends(scripted: Scripted) -> None:
    scripted.replies = [Reply(503, headers={"retry-after": "60"})]
    sink = http_sink(scripted, Patience(backoff=(0.01,), longest_wait=1.0))
    began = time.monotonic()
    attempts = 1
    while not make.send(sink, make.counter(1), timeout=0.25).ok:
        attempts += 1
    assert time.monotonic() - began >= 1.0
    assert attempts > 1
    assert len(scripted.requests) == 2
    sink.shutdown(1)


@pytest.mark.fault("C3")
def test_waits_of_many_processes_spread(scripted: Scripted) -> None:
    """Twenty lanes that were told the same do not come back at the same time, nor too early."""
    scripted.by_content = lambda *_: Reply(503, headers={"retry-after": "10"})
    waits = []
    for _ in range(20):
        sink = http_sink(scripted, Patience(backoff=(0.01,)))
        before = time.monotonic()
        make.send(sink, make.counter(1), timeout=1.0)
        assert sink._process is not None
        (outlet,) = sink._process._samples
        waits.append(outlet._lane._not_before - before)
        sink.shutdown(0.1)
    assert min(waits) >= 10.0
    assert max(waits) - min(waits) > 0.5, "20 draws of U(0, 2) that lie so close: 1 in 10^10"


@pytest.mark.fault("C3")
def test_the_last_export_asks_once_more_though_it_was_told_to_wait(scripted: Scripted) -> None:
    scripted.replies = [Reply(503, headers={"retry-after": "60"})]
    sink = http_sink(scripted, Patience())
    assert not make.send(sink, events=[make.event()], timeout=0.5).ok
    assert len(scripted.requests) == 1
    sink.shutdown(5)
    assert len(scripted.requests) == 2


@pytest.mark.fault("C3", "D3")
def test_an_end_does_not_wait_for_a_time_that_was_asked_for(scripted: Scripted) -> None:
    """The export that waits a minute in another thread is cut short; its event is sent at once."""
    came = threading.Event()
    scripted.replies = [Reply(503, before=came.set)]
    sink = http_sink(scripted, Patience(backoff=(60.0,)))
    reports: list[Any] = []
    exporting = threading.Thread(
        target=lambda: reports.append(make.send(sink, events=[make.event("ml.a")], timeout=100.0))
    )
    exporting.start()
    assert came.wait(30)
    began = time.monotonic()
    while exporting.is_alive():  # it may not have begun to wait when it is told not to
        sink.shutdown(1.0)
        exporting.join(0.1)
        assert time.monotonic() - began < 30
    sink.shutdown(20.0)
    assert reports[0].outcomes == {"logs": "failure"}
    assert names_of([body for _, _, body in scripted.requests]) == ["ml.a", "ml.a"]


# C4


def names_of(bodies: list[bytes]) -> list[str]:
    return [
        record.event_name
        for body in bodies
        for record in ExportLogsServiceRequest.FromString(body)
        .resource_logs[0]
        .scope_logs[0]
        .log_records
    ]


@pytest.mark.fault("C4")
def test_no_room_without_a_time_to_come_back_is_dropped_and_counted(server: GrpcReceiver) -> None:
    server.replies = [grpc.StatusCode.RESOURCE_EXHAUSTED]
    sink = grpc_sink(server)
    report = make.send(sink, events=[make.event() for _ in range(3)])
    assert (report.dropped, report.outcomes) == ({"rejected": 3}, {"logs": "failure"})
    assert make.send(sink, events=[make.event("ml.next")]).ok
    assert len(server.logs) == 2, "neither again nor in halves"
    sink.shutdown(1)


@pytest.mark.fault("C4")
def test_a_request_too_large_for_a_grpc_server_is_divided(server: GrpcReceiver) -> None:
    small = GrpcReceiver()
    small.start(options=[("grpc.max_receive_message_length", 3_000)])
    sink = grpc_sink(small)
    events = [make.event(f"ml.e{i}", attributes={"text": "x" * 500}) for i in range(20)]
    events.append(make.event("ml.large", attributes={"text": "x" * 5_000}))
    report = make.send(sink, events=events)
    assert report.dropped == {"too_large": 1}
    assert report.outcomes == {"logs": "partial"}
    bodies = [request.SerializeToString() for request in small.logs]
    assert sorted(names_of(bodies)) == sorted(f"ml.e{i}" for i in range(20))
    assert make.send(sink, make.counter(1)).ok, "and nothing of it comes again"
    assert len(small.logs) == len(bodies)
    sink.shutdown(1)
    small.stop()


@pytest.mark.fault("C4", "C9")
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_metric_too_large_is_divided_by_its_points(
    scripted: Scripted, server: GrpcReceiver, protocol: str
) -> None:
    scripted.by_content = lambda _, body: Reply(413) if len(body) > 3_000 else None
    small = GrpcReceiver()
    small.start(options=[("grpc.max_receive_message_length", 3_000)])
    sink = http_sink(scripted) if protocol == "http" else grpc_sink(small)
    report = make.send(sink, *(make.counter(i, feature=f"f{i}") for i in range(100)))
    assert report.ok, report
    requests: list[Any] = list(small.metrics)
    if protocol == "http":
        requests = [
            ExportMetricsServiceRequest.FromString(body)
            for _, _, body in scripted.requests
            if len(body) <= 3_000
        ]
    values = [
        point.as_int
        for request in requests
        for metric in request.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.sum.data_points
    ]
    assert sorted(values) == list(range(100))
    sink.shutdown(1)
    small.stop()


@pytest.mark.fault("C4")
@pytest.mark.parametrize("status", [400, 413])
def test_what_is_refused_is_halved_down_to_what_is_at_fault(
    scripted: Scripted, status: int
) -> None:
    scripted.by_content = lambda _, body: Reply(status) if b"ml.bad" in body else None
    sink = http_sink(scripted)
    names = [f"ml.e{i}" for i in range(30)]
    report = make.send(
        sink, events=[make.event(name) for name in [*names[:11], "ml.bad", *names[11:]]]
    )
    assert report.dropped == {"rejected" if status == 400 else "too_large": 1}
    bodies = [body for _, _, body in scripted.requests if b"ml.bad" not in body]
    assert sorted(names_of(bodies)) == sorted(names)
    asked = len(scripted.requests)
    assert asked <= 2 * 5 + 2, "a search, not a try of each"
    assert make.send(sink, make.counter(1)).ok
    assert len(scripted.requests) == asked + 1, "the bad one does not come again"
    sink.shutdown(1)


@pytest.mark.fault("C4", "C8")
def test_one_point_that_is_refused_loses_only_itself(scripted: Scripted) -> None:
    scripted.by_content = lambda _, body: Reply(400) if b"poison" in body else None
    sink = http_sink(scripted, OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="delta")
    points = [make.counter(1, feature=f"f{i}") for i in range(15)]
    report = make.send(sink, *points, make.counter(1, feature="poison"))
    assert report.dropped == {"rejected": 1}
    found = sum(
        len(metric.sum.data_points)
        for _, _, body in scripted.requests
        if b"poison" not in body
        for metric in ExportMetricsServiceRequest.FromString(body)
        .resource_metrics[0]
        .scope_metrics[0]
        .metrics
    )
    assert found == 15
    sink.shutdown(1)


@pytest.mark.fault("C4")
def test_parts_that_did_not_arrive_stay_due_and_the_others_do_not(scripted: Scripted) -> None:
    """With differences, half of a metric arrives: the next export carries the other half alone."""
    taken: list[bytes] = []
    broken = [b"f19"]

    def judge(_path: str, body: bytes) -> Reply | None:
        if len(body) > 1_200:
            return Reply(413)
        if any(part in body for part in broken):
            return Reply(500)
        taken.append(body)
        return None

    scripted.by_content = judge
    sink = http_sink(scripted, OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="delta")
    samples = [make.counter(i + 1, feature=f"f{i}") for i in range(20)]
    assert make.send(sink, *samples).outcomes == {"metrics": "partial"}
    assert taken
    broken.clear()
    assert make.send(sink, *samples).ok
    values = [
        point.as_int
        for body in taken
        for point in ExportMetricsServiceRequest.FromString(body)
        .resource_metrics[0]
        .scope_metrics[0]
        .metrics[0]
        .sum.data_points
    ]
    assert sorted(values) == list(range(1, 21)), "each once"
    sink.shutdown(1)


# C5


@pytest.mark.fault("C5")
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_partial_success_is_counted_and_a_warning_is_said(
    scripted: Scripted, server: GrpcReceiver, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    metrics, logs = ExportMetricsServiceResponse(), ExportLogsServiceResponse()
    metrics.partial_success.rejected_data_points = 2
    metrics.partial_success.error_message = "too\nold"
    logs.partial_success.error_message = "please update"
    server.replies = [
        lambda request, _: metrics if "Metrics" in type(request).__name__ else logs
    ] * 2
    bodies = {"/v1/metrics": metrics, "/v1/logs": logs}
    scripted.by_content = lambda path, _: Reply(body=bodies[path].SerializeToString())
    sink = http_sink(scripted) if protocol == "http" else grpc_sink(server)
    report = make.send(sink, make.counter(1), make.gauge(1), events=[make.event()])
    assert report.dropped == {"rejected": 2}
    assert report.outcomes == {"metrics": "partial", "logs": "success"}
    assert "2 rejected: too old" in caplog.text, "in one line"
    assert "accepted with a warning: please update" in caplog.text
    sink.shutdown(1)


@pytest.mark.fault("C5")
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/html", b"<!doctype html><h1>Welcome</h1>"),
        ("application/x-protobuf", b"\xff\xff\xff garbage"),
        ("application/json", b"{"),
        ("application/json", b"[1]"),
        ("application/json", b"\xff\xfe"),
        ("application/json", b'{"partialSuccess": {"errorMessage": 5}}'),
        ("application/json", b'{"partialSuccess":' * 2_000),
        ("", b"<html>"),
    ],
)
def test_a_success_that_is_none_is_a_failure(
    scripted: Scripted, kind: str, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    scripted.by_content = lambda *_: Reply(kind=kind, body=body)
    sink = http_sink(scripted)
    report = make.send(sink, make.counter(1), events=[make.event("ml.kept")])
    assert report.outcomes == {"metrics": "failure", "logs": "failure"}
    assert "is it a receiver?" in caplog.text
    assert len(scripted.requests) == 2, "the same nonsense is not asked for again at once"
    scripted.by_content = None
    assert make.send(sink, make.counter(2)).ok
    assert names_of([body for path, _, body in scripted.requests if path == "/v1/logs"][-1:]) == [
        "ml.kept"
    ]
    sink.shutdown(1)
