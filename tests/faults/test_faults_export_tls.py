"""TLS that fails: nothing is sent, least of all in the clear, and the message says what to do."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from otel_ml.emit.destination import from_environ
from otel_ml.emit.lane import Patience
from otel_ml.emit.otlp import OtlpSink
from tests.emit.conftest import GrpcReceiver, Make, Scripted, scripted_server
from tests.faults.certificates import Authority
from tests.faults.proxy import Proxy

HANG = 30.0
make = Make()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "authority")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "stranger")


class Served:
    """A server of either protocol: its port, and how many requests it took."""

    def __init__(self, port: int, taken: Callable[[], int]) -> None:
        self.port = port
        self.taken = taken


@contextmanager
def served(protocol: str, files: tuple[str, str] | None) -> Iterator[Served]:
    if protocol == "grpc":
        server = GrpcReceiver()
        credentials = None
        if files is not None:
            pem, key = (Path(path).read_bytes() for path in files)
            credentials = grpc.ssl_server_credentials([(key, pem)])
        server.start(credentials)
        try:
            yield Served(server.port, lambda: len(server.metrics) + len(server.logs))
        finally:
            server.stop()
        return
    import ssl

    context = None
    if files is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
    with scripted_server(context) as scripted:
        told: Scripted = scripted
        yield Served(int(told.endpoint.rpartition(":")[2]), lambda: len(told.requests))


def sink_to(protocol: str, port: int, scheme: str = "https", **environ: str) -> OtlpSink:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"{scheme}://127.0.0.1:{port}", **environ}
    name: Any = protocol
    return OtlpSink(
        from_environ("metrics", variables, name),
        from_environ("logs", variables, name),
        patience=Patience(backoff=(0.05,)),
    )


@pytest.mark.fault("C6")
@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        ({"days": (-3, -1)}, "renew the receiver's certificate"),
        ({"days": (1, 3)}, "the clock of this machine"),  # or: the clock is wrong
        ({"host": "DNS:elsewhere.test"}, "a host name in the endpoint that"),
        ({}, "OTEL_EXPORTER_OTLP_CERTIFICATE"),  # trusted by nobody here
    ],
    ids=["expired", "not yet valid", "another host", "unknown authority"],
)
def test_a_certificate_that_is_wrong_is_said_with_the_remedy(
    authority: Authority,
    protocol: str,
    wrong: dict[str, Any],
    advice: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    trusted = {"OTEL_EXPORTER_OTLP_CERTIFICATE": authority.file} if wrong else {}
    with served(protocol, authority.files(**wrong)) as server:
        sink = sink_to(protocol, server.port, **trusted)
        report = make.send(sink, make.counter(1), events=[make.event()], timeout=3.0)
        assert report.outcomes == {"metrics": "failure", "logs": "failure"}
        assert report.dropped == {}
        assert server.taken() == 0
        sink.shutdown(0.5)
    said = [r.getMessage() for r in caplog.records if r.getMessage().startswith("metrics to")]
    assert len(said) == 1
    assert advice in said[0], said


@pytest.mark.fault("C6")
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_plaintext_to_a_tls_port_and_the_reverse_are_said(
    authority: Authority, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    with served(protocol, authority.files()) as server:
        sink = sink_to(protocol, server.port, "http")
        assert make.send(sink, make.counter(1), timeout=2.0).outcomes == {"metrics": "failure"}
        assert server.taken() == 0
        sink.shutdown(0.5)
    caplog.clear()
    with served(protocol, None) as server:
        sink = sink_to(protocol, server.port)
        assert make.send(sink, make.counter(1), timeout=2.0).outcomes == {"metrics": "failure"}
        assert server.taken() == 0
        sink.shutdown(0.5)
    assert "one side speaks TLS" in caplog.text


@pytest.mark.fault("C6")
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_not_a_byte_goes_in_the_clear(protocol: str) -> None:
    """Everything that ever arrives at the port is a TLS record: its first byte says so."""
    arrived: list[bytes] = []
    stop = threading.Event()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.05)

        def listen() -> None:
            while not stop.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.settimeout(0.2)
                    try:
                        arrived.append(connection.recv(65536))
                        connection.sendall(b"HTTP/1.1 426 Upgrade Required\r\n\r\n")
                    except OSError:
                        pass

        thread = threading.Thread(target=listen)
        thread.start()
        sink = sink_to(protocol, listener.getsockname()[1])
        for _ in range(3):
            report = make.send(sink, make.counter(1), events=[make.event()], timeout=1.0)
            assert report.outcomes == {"metrics": "failure", "logs": "failure"}
        sink.shutdown(0.5)
        stop.set()
        thread.join()
    assert arrived
    assert {piece[:1] for piece in arrived if piece} == {b"\x16"}
    assert not any(b"v1/metrics" in piece or b"ml." in piece for piece in arrived)


@pytest.mark.fault("C6")
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_certificates_are_rotated_without_a_restart(
    authority: Authority, stranger: Authority, protocol: str, tmp_path: Path
) -> None:
    """First the server's certificate, then the authority, whose file is replaced in its place."""
    trusted = tmp_path / "trusted.pem"
    shutil.copy(authority.file, trusted)
    with served(protocol, authority.files()) as old, Proxy(old.port) as proxy:
        sink = sink_to(protocol, proxy.port, OTEL_EXPORTER_OTLP_CERTIFICATE=str(trusted))
        assert make.send(sink, make.counter(1)).ok
        with served(protocol, authority.files()) as renewed:
            proxy.target = renewed.port
            proxy.hang_up()
            assert make.send(sink, make.counter(2)).ok
            assert renewed.taken() == 1
        with served(protocol, stranger.files()) as other:
            proxy.target = other.port
            proxy.hang_up()
            report = make.send(sink, make.counter(3), events=[make.event()], timeout=2.0)
            assert report.outcomes == {"metrics": "failure", "logs": "failure"}
            shutil.copy(stranger.file, trusted)
            report = make.send(sink, make.counter(4))
            assert report.outcomes == {"metrics": "success", "logs": "success"}
            assert other.taken() == 2
            sink.shutdown(1)


@pytest.mark.fault("C6")
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_files_that_cannot_be_read_are_named(
    protocol: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n", encoding="utf-8")
    with served(protocol, None) as server:
        for path in (broken, tmp_path / "missing.pem"):
            sink = sink_to(protocol, server.port, OTEL_EXPORTER_OTLP_CERTIFICATE=str(path))
            report = make.send(sink, make.counter(1), timeout=2.0)
            assert report.outcomes == {"metrics": "failure"}
            sink.shutdown(0.5)
        assert server.taken() == 0
    assert "missing.pem" in caplog.text
