"""Receivers that cannot be reached, are slow, or hang up; what is sent gets there in the end."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from otel_ml.emit.destination import from_environ
from otel_ml.emit.lane import Patience
from otel_ml.emit.otlp import OtlpSink
from otel_ml.emit.receiver import Receiver
from tests.emit.conftest import GrpcReceiver, Make, Reply, scripted_server
from tests.faults.proxy import Fault, Proxy

# A guard against hanging that no busy machine comes near; the deadlines themselves are far below.
HANG = 30.0
QUICK = Patience(backoff=(0.01, 0.02, 0.05), longest_wait=0.2)
make = Make()


def sink_to(port: int, protocol: str = "http", **environ: str) -> OtlpSink:
    name = "http/protobuf" if protocol == "http" else protocol
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": name,
        **environ,
    }
    return OtlpSink(
        from_environ("metrics", variables), from_environ("logs", variables), patience=QUICK
    )


def port_of(receiver: Receiver) -> int:
    return int(receiver.endpoint.rpartition(":")[2])


@contextmanager
def ended(sink: OtlpSink) -> Iterator[None]:
    """Shut a sink down at the end, and see that its threads have gone."""
    threads = {t for t in threading.enumerate() if t.name.startswith("otel-ml-")}
    try:
        yield
    finally:
        sink.shutdown(1.0)
        for thread in threading.enumerate():
            if thread.name.startswith("otel-ml-") and thread not in threads:
                thread.join(HANG)
        left = [t for t in threading.enumerate() if t.name.startswith("otel-ml-")]
        assert set(left) <= threads


def idle(sink: OtlpSink, within: float = HANG) -> bool:
    """Wait until a sink's threads have come to the end of what they were given."""
    process = sink._process
    assert process is not None
    deadline = time.monotonic() + within
    while any(outlet.busy for outlet in process._outlets):
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.01)
    return True


def bounded(sink: OtlpSink, *samples: Any, timeout: float = 0.5, **more: Any) -> Any:
    """Export, and see that the call ends about when it was told to."""
    began = time.monotonic()
    report = make.send(sink, *samples, timeout=timeout, **more)
    assert time.monotonic() - began < timeout + HANG
    return report


def recovered(sink: OtlpSink, port: int, protocol: str) -> None:
    """See that the first export after the fault arrives, with the events kept during it."""
    if protocol == "grpc":
        server = GrpcReceiver()
        server.port = port
        server.start()
        try:
            assert make.send(sink, make.counter(2), timeout=HANG).ok
            names = [
                record.event_name
                for request in server.logs
                for record in request.resource_logs[0].scope_logs[0].log_records
            ]
        finally:
            server.stop()
    else:
        with Receiver(port) as receiver:
            assert make.send(sink, make.counter(2), timeout=HANG).ok
            assert receiver.total("ml.test.counter") == 2
            names = [event["name"] for event in receiver.events()]
    assert names == ["ml.kept"]


@pytest.mark.fault("C1")
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_refused_connections_cost_nothing_and_are_tried_again(protocol: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    sink = sink_to(port, protocol)
    with ended(sink):
        report = bounded(sink, make.counter(1), events=[make.event("ml.kept")])
        assert (report.ok, dict(report.dropped)) == (False, {})
        assert report.outcomes == {"metrics": "failure", "logs": "failure"}
        recovered(sink, port, protocol)


@pytest.mark.fault("C1", "C2")
@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("fault", [Fault(black_hole=True), Fault(delay=30.0), Fault(drip=5.0)])
def test_silence_ends_with_the_deadline_for_both_signals_at_once(
    protocol: str, fault: Fault
) -> None:
    with Receiver() as http:
        server = GrpcReceiver()
        server.start()
        target = server.port if protocol == "grpc" else port_of(http)
        try:
            with Proxy(target, fault) as proxy:
                sink = sink_to(proxy.port, protocol)
                with ended(sink):
                    report = bounded(sink, make.counter(1), events=[make.event("ml.kept")])
                    assert report.outcomes == {"metrics": "failure", "logs": "failure"}
                    assert report.dropped == {}
                    proxy.fault = Fault()
                    proxy.hang_up()
                    assert make.send(sink, make.counter(2), timeout=HANG).ok
        finally:
            server.stop()


@pytest.mark.fault("C2")
@pytest.mark.parametrize("part", ["status line", "headers", "body", "chunks"])
def test_no_part_of_an_answer_may_drip_for_ever(part: str) -> None:
    """Each byte comes well within any timeout of a socket; only a total deadline ends it."""
    start = {
        "status line": b"",
        "headers": b"HTTP/1.1 200 OK\r\nx: ",
        "body": b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n",
        "chunks": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    }[part]
    stop, gone = threading.Event(), threading.Event()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    connection.recv(65536)
                    connection.sendall(start)
                    while not stop.wait(0.02):
                        connection.sendall(b"0")
                except OSError:
                    gone.set()

        thread = threading.Thread(target=drip)
        thread.start()
        destination = from_environ(
            "metrics",
            {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{listener.getsockname()[1]}"},
        )
        sink = OtlpSink(destination, patience=Patience(backoff=()))
        with ended(sink):
            assert bounded(sink, make.counter(1)).outcomes == {"metrics": "failure"}
            assert gone.wait(HANG), "the connection is still read from"
        stop.set()
        thread.join()


@pytest.mark.fault("C2")
def test_a_large_request_to_a_slow_reader_ends_with_the_deadline() -> None:
    with socket.socket() as hole:
        hole.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        hole.bind(("127.0.0.1", 0))
        hole.listen()
        sink = sink_to(hole.getsockname()[1])
        with ended(sink):
            events = [make.event(attributes={"text": "x" * 500_000}) for _ in range(6)]
            assert bounded(sink, events=events).outcomes == {"logs": "failure"}
            assert idle(sink, 10.0), "its thread still sends"


@pytest.mark.fault("C2")
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_an_answer_is_not_read_beyond_the_cap(
    encoding: str, caplog: pytest.LogCaptureFixture
) -> None:
    """400 MiB, plain or as a bomb of 400 KiB: neither time nor memory is spent on it."""
    size = 400 * 1024 * 1024
    sent: list[int] = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        bomb = gzip.compress(bytes(4 * 1024 * 1024)) * 100 if encoding == "gzip" else b""

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                total = len(bomb) or size
                head = f"HTTP/1.1 200 OK\r\ncontent-length: {total}\r\n"
                connection.sendall(f"{head}content-encoding: {encoding}\r\n\r\n".encode())
                try:
                    for _ in range(0, total, 65536):
                        connection.sendall(bomb[:65536] if bomb else bytes(65536))
                        sent.append(65536)
                except OSError:
                    pass

        thread = threading.Thread(target=answer)
        thread.start()
        port = listener.getsockname()[1]
        sink = OtlpSink(
            from_environ("metrics", {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}),
            patience=Patience(backoff=()),
        )
        with ended(sink):
            report = make.send(sink, make.counter(1), timeout=HANG)
            assert report.outcomes == {"metrics": "failure"}
        thread.join()
    assert "the answer is over 65536 bytes" in caplog.text
    assert sum(sent) < 64 * 1024 * 1024, "what the buffers of two sockets hold, at most"


@pytest.mark.fault("C2")
def test_a_grpc_answer_is_not_read_beyond_the_cap(caplog: pytest.LogCaptureFixture) -> None:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceResponse,
    )

    server = GrpcReceiver()
    server.start()
    large = ExportMetricsServiceResponse()
    large.partial_success.error_message = "x" * 1_000_000
    server.replies = [large]
    sink = sink_to(server.port, "grpc")
    with ended(sink):
        report = make.send(sink, make.counter(1))
        assert report.outcomes == {"metrics": "failure"}
        assert (len(server.metrics), dict(report.dropped)) == (1, {}), "no smaller one would help"
        assert make.send(sink, make.counter(2)).ok
    server.stop()


@pytest.mark.fault("C1")
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_name_that_does_not_exist_is_said_with_the_remedy(
    protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.invalid:4318"}
    sink = sink_to(1, protocol, **endpoint)
    with ended(sink):
        report = bounded(sink, make.counter(1), timeout=5.0, events=[make.event()])
    assert report.outcomes == {"metrics": "failure", "logs": "failure"}
    said = [r.message for r in caplog.records if r.message.startswith("metrics to")]
    assert len(said) == 1
    assert "cannot be resolved" in said[0]


@pytest.mark.fault("C1")
def test_a_slow_look_up_of_a_name_holds_up_nobody_but_its_own_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No deadline ends a look-up: it is left to the thread, and its signal waits for it."""
    look_up = socket.getaddrinfo
    answered, asked = threading.Event(), threading.Event()

    def slow(host: Any, *rest: Any, **named: Any) -> Any:
        if host == "slow.test":
            asked.set()
            answered.wait(HANG)
            host = "127.0.0.1"
        return look_up(host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with Receiver() as receiver:
        port = port_of(receiver)
        sink = sink_to(
            port, OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=f"http://slow.test:{port}/v1/metrics"
        )
        with ended(sink):
            report = bounded(sink, make.counter(1), events=[make.event()])
            assert asked.is_set()
            assert report.outcomes == {"metrics": "failure", "logs": "success"}
            report = bounded(sink, make.counter(2), timeout=0.1)
            assert report.outcomes == {"metrics": "failure"}, "one look-up at a time"
            answered.set()
            assert idle(sink)
            assert make.send(sink, make.counter(3)).ok
            assert receiver.total("ml.test.counter") == 3


@pytest.mark.fault("C1", "C11")
def test_an_address_that_swallows_packets_leaves_time_for_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name changes from one family to another; the first of its addresses is dead."""
    with Receiver() as receiver, socket.socket() as full:
        # A listener whose queue is full drops what comes: a black hole while connecting.
        full.bind(("127.0.0.2", port_of(receiver)))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        look_up = socket.getaddrinfo

        def two(host: Any, port: Any, *rest: Any, **named: Any) -> Any:
            if host == "moved.test":
                return [
                    entry
                    for address in ("127.0.0.2", "127.0.0.1")
                    for entry in look_up(address, port, *rest, **named)
                ]
            return look_up(host, port, *rest, **named)

        monkeypatch.setattr(socket, "getaddrinfo", two)
        sink = sink_to(1, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://moved.test:{port_of(receiver)}")
        with ended(sink):
            assert make.send(sink, make.counter(1), timeout=4.0).ok
            assert receiver.total("ml.test.counter") == 1
        for filler in fillers:
            filler.close()


@pytest.mark.fault("C1")
@pytest.mark.parametrize("client", ["http", "grpc"])
def test_a_port_that_speaks_something_else_is_a_failure_with_the_remedy(
    client: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = GrpcReceiver()
    server.start()
    try:
        with scripted_server() as scripted:
            port = server.port if client == "http" else int(scripted.endpoint.rpartition(":")[2])
            sink = sink_to(port, client)
            with ended(sink):
                report = bounded(sink, make.counter(1), timeout=5.0)
            assert report.outcomes == {"metrics": "failure"}
            assert server.metrics == scripted.requests == []
    finally:
        server.stop()
    assert "4317" in caplog.text, caplog.text


@pytest.mark.fault("C7")
@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize(
    "fault",
    [
        Fault(reset_up=0, times=2),
        Fault(reset_up=100, times=2),
        Fault(reset_down=0, times=2),
        Fault(reset_down=20, times=2),
        Fault(half_close_up=50, times=2),
        Fault(half_close_down=0, times=2),
        Fault(half_close_down=20, times=2),
        Fault(corrupt_down=3, times=2),
    ],
    ids=lambda fault: ",".join(f"{k}={v}" for k, v in vars(fault).items() if v),
)
def test_a_connection_that_breaks_loses_neither_points_nor_events(
    protocol: str, fault: Fault
) -> None:
    """What the server took before the reply was lost comes again, the same as before."""
    server = GrpcReceiver()
    server.start()
    try:
        with Receiver() as receiver:
            target = server.port if protocol == "grpc" else port_of(receiver)
            with Proxy(target, fault) as proxy:
                sink = sink_to(proxy.port, protocol)
                with ended(sink):
                    lost: dict[str, int] = {}
                    for value in range(1, 11):
                        # Each attempt within the time of any socket; a broken one costs its part.
                        report = make.send(
                            sink,
                            make.counter(value),
                            timeout=2.0,
                            events=[make.event("ml.once")] if value == 1 else [],
                        )
                        for reason, number in report.dropped.items():
                            lost[reason] = lost.get(reason, 0) + number
                        if report.ok:
                            break
                    assert report.ok
                    assert lost == {}
                if protocol == "http":
                    assert receiver.total("ml.test.counter") == value
                    arrived = [event["name"] for event in receiver.events()]
                else:
                    last = server.metrics[-1].resource_metrics[0].scope_metrics[0].metrics[0]
                    assert last.sum.data_points[0].as_int == value
                    arrived = [
                        record.event_name
                        for request in server.logs
                        for record in request.resource_logs[0].scope_logs[0].log_records
                    ]
                assert set(arrived) == {"ml.once"}
                assert proxy.connections >= 2
    finally:
        server.stop()


@pytest.mark.fault("C11")
def test_connections_that_are_ended_for_their_age_lose_nothing() -> None:
    server = GrpcReceiver()
    server.start(
        options=[("grpc.max_connection_age_ms", 50), ("grpc.max_connection_age_grace_ms", 50)]
    )
    sink = sink_to(server.port, "grpc")
    try:
        with ended(sink):
            for value in range(1, 9):
                time.sleep(0.06)  # older than a connection may become: this is what is tested
                events = [make.event(f"ml.e{value}")]
                assert make.send(sink, make.counter(value), events=events).ok
        last = server.metrics[-1].resource_metrics[0].scope_metrics[0].metrics[0]
        assert last.sum.data_points[0].as_int == 8
        assert len(server.logs) == 8
    finally:
        server.stop()


@pytest.mark.fault("C11")
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_server_that_moves_is_followed(protocol: str) -> None:
    """The balancer sends new connections elsewhere and ends those that are there."""
    first, second = GrpcReceiver(), GrpcReceiver()
    first.start()
    second.start()
    with Receiver() as one, Receiver() as two:
        ports = (first.port, second.port) if protocol == "grpc" else (port_of(one), port_of(two))
        with Proxy(ports[0]) as proxy:
            sink = sink_to(proxy.port, protocol)
            with ended(sink):
                assert make.send(sink, make.counter(1), events=[make.event("ml.a")]).ok
                proxy.target = ports[1]
                proxy.hang_up()
                assert make.send(sink, make.counter(2), events=[make.event("ml.b")]).ok
        if protocol == "http":
            assert two.total("ml.test.counter") == 2
            assert [event["name"] for event in two.events()] == ["ml.b"]
        else:
            assert (len(second.metrics), len(second.logs)) == (1, 1)
    first.stop()
    second.stop()


@pytest.mark.fault("C11")
def test_goaway_in_the_middle_of_calls_loses_nothing() -> None:
    server = GrpcReceiver()
    server.start()
    port = server.port
    sink = sink_to(port, "grpc")
    with ended(sink):
        assert make.send(sink, make.counter(1)).ok
        server.stop()  # says GOAWAY
        server.start()
        assert server.port == port
        assert make.send(sink, make.counter(2), events=[make.event()]).ok
    assert len(server.logs) == 1
    server.stop()


def test_the_proxy_does_what_it_is_told() -> None:
    """The instrument itself: without a fault nothing changes; each fault is the one asked for."""
    with scripted_server() as server, Proxy(int(server.endpoint.rpartition(":")[2])) as proxy:

        def ask() -> bytes:
            with socket.create_connection(("127.0.0.1", proxy.port), HANG) as client:
                client.sendall(
                    b"POST / HTTP/1.1\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi"
                )
                parts = []
                while piece := client.recv(65536):
                    parts.append(piece)
                return b"".join(parts)

        server.by_content = lambda *_: Reply(body=b"body")
        healthy = ask()
        assert healthy.endswith(b"body")
        proxy.fault = Fault(half_close_down=5)
        assert ask() == healthy[:5]
        proxy.fault = Fault(corrupt_down=0, times=1)
        assert ask()[0] == healthy[0] ^ 0xFF
        assert ask()[0] == healthy[0]
        proxy.fault = Fault(duplicate=True)
        assert ask().count(b"body") == 2
        proxy.fault = Fault(reset_down=0)
        with pytest.raises(ConnectionResetError):
            ask()
        proxy.fault = Fault(rate=1_000_000.0, delay=0.01)
        assert ask()[:15] == healthy[:15]
        assert [body for _, _, body in server.requests] == [b"hi"] * 7
