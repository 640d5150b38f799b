"""Real receivers, and samples of every kind."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc

from otel_ml.emit.receiver import Receiver
from otel_ml.emit.sink import ExportReport
from otel_ml.types import Buckets, Event, MetricDef, Sample


@dataclass
class Reply:
    """What the scripted server answers; a callable is run first."""

    status: int = 200
    body: bytes = b""
    kind: str = "application/x-protobuf"
    headers: dict[str, str] = field(default_factory=dict)
    before: Callable[[], object] | None = None


@dataclass
class Scripted:
    """An HTTP server that answers as told, then 200, and keeps what it was sent."""

    endpoint: str
    reply: type[Reply] = Reply
    replies: list[Reply] = field(default_factory=list)
    by_content: Callable[[str, bytes], Reply | None] | None = None
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    peers: list[int] = field(default_factory=list)


@pytest.fixture(autouse=True)
def _hang_guard() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError("the test hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_") or name.lower().endswith(("_proxy", "_ca_bundle")):
            monkeypatch.delenv(name)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    with scripted_server() as told:
        yield told


@pytest.fixture
def scripted_tls(certificate: tuple[str, str]) -> Iterator[Scripted]:
    """An HTTPS server that requires a client certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.load_verify_locations(certificate[0])
    context.verify_mode = ssl.CERT_REQUIRED
    with scripted_server(context) as told:
        yield told


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Return the files of a self-signed certificate of 127.0.0.1 and its key."""
    folder = tmp_path_factory.mktemp("tls")
    files = (str(folder / "cert.pem"), str(folder / "key.pem"))
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
    command += ["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", files[0], "-keyout", files[1]]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return files


@contextmanager
def scripted_server(context: ssl.SSLContext | None = None) -> Iterator[Scripted]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {key.lower(): value for key, value in self.headers.items()}
            told.peers.append(self.client_address[1])
            told.requests.append((self.path, headers, body))
            reply = told.by_content(self.path, body) if told.by_content else None
            if reply is None:
                reply = told.replies.pop(0) if told.replies else Reply()
            if reply.before is not None:
                reply.before()
            try:
                self.send_response(reply.status)
                for name, value in {"content-type": reply.kind, **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)
            except OSError:
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Clients of these tests hang up."""

    server = Server(("127.0.0.1", 0), Handler)
    scheme = "http"
    if context is not None:
        scheme = "https"
        server.socket = context.wrap_socket(server.socket, server_side=True)
    told = Scripted(f"{scheme}://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield told
    server.shutdown()
    server.server_close()
    thread.join()


class GrpcReceiver:
    """A gRPC server with the OTLP services; it answers as told, then accepts.

    A reply is a response, a status, or a callable that is given request and context.
    """

    def __init__(self) -> None:
        self.metrics: list[Any] = []
        self.logs: list[Any] = []
        self.metadata: list[dict[str, Any]] = []
        self.replies: list[Any] = []
        self.port = 0
        self._server: grpc.Server | None = None

    def start(self, credentials: grpc.ServerCredentials | None = None, options: Any = None) -> None:
        server = grpc.server(ThreadPoolExecutor(2), options=options)
        outer = self

        def take(into: list[Any], request: Any, context: Any, default: Any) -> Any:
            into.append(request)
            outer.metadata.append(dict(context.invocation_metadata()))
            reply = outer.replies.pop(0) if outer.replies else default
            if isinstance(reply, grpc.StatusCode):
                context.abort(reply, "as told")
            return reply(request, context) if callable(reply) else reply

        class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
            def Export(self, request: Any, context: Any) -> Any:
                default = metrics_service_pb2.ExportMetricsServiceResponse()
                return take(outer.metrics, request, context, default)

        class Logs(logs_service_pb2_grpc.LogsServiceServicer):
            def Export(self, request: Any, context: Any) -> Any:
                default = logs_service_pb2.ExportLogsServiceResponse()
                return take(outer.logs, request, context, default)

        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(  # type: ignore[no-untyped-call]  # generated
            Metrics(), server
        )
        logs_service_pb2_grpc.add_LogsServiceServicer_to_server(  # type: ignore[no-untyped-call]  # generated
            Logs(), server
        )
        address = f"127.0.0.1:{self.port}"
        if credentials is None:
            self.port = server.add_insecure_port(address)
        else:
            self.port = server.add_secure_port(address, credentials)
        server.start()
        self._server = server

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop(0).wait()
            self._server = None


@pytest.fixture
def grpc_receiver() -> Iterator[GrpcReceiver]:
    running = GrpcReceiver()
    yield running
    running.stop()


class Make:
    """Samples and events of every kind."""

    START = 1_700_000_000_000_000_000
    NOW = START + 60_000_000_000

    def definition(self, kind: Any, name: str = "", unit: str = "{row}") -> MetricDef:
        return MetricDef(name or f"ml.test.{kind}", kind, unit, "A test.", ("ml.model.name",), ())

    def counter(self, value: Any, name: str = "", **attributes: Any) -> Sample:
        return self._sample("counter", value, name, attributes)

    def gauge(self, value: Any, name: str = "", **attributes: Any) -> Sample:
        return self._sample("gauge", value, name, attributes)

    def updown(self, value: Any, name: str = "", **attributes: Any) -> Sample:
        return self._sample("updowncounter", value, name, attributes)

    def histogram(
        self,
        counts: tuple[Any, ...],
        total: Any = None,
        bounds: tuple[Any, ...] = (0.5, 1.0),
        **attributes: Any,
    ) -> Sample:
        return self._sample("histogram", Buckets(bounds, counts, total), "", attributes)

    def event(self, name: Any = "ml.incident", **changes: Any) -> Event:
        fields: dict[str, Any] = {
            "attributes": {"ml.model.name": "m"},
            "time_ns": self.NOW,
            "severity": "warning",
        }
        return Event(name, **{**fields, **changes})

    def send(self, sink: Any, *samples: Sample, events: Any = (), **changes: Any) -> ExportReport:
        """Export with times and a timeout that leave room for a slow machine."""
        times = {"start_ns": self.START, "now_ns": self.NOW, "timeout": 20.0, **changes}
        report: ExportReport = sink.export(samples, events, **times)
        return report

    def _sample(self, kind: str, value: Any, name: str, attributes: Any) -> Sample:
        return Sample(self.definition(kind, name), {"ml.model.name": "m", **attributes}, value)


@pytest.fixture
def make() -> Make:
    return Make()
