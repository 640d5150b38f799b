"""OTLP over HTTP in, exact totals out: a receiver that misbehaves in whatever way it is told to."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Final, Literal, TypeAlias

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from otel_ml.emit.readings import find_series
from otel_ml.semconv import attributes as a
from otel_ml.semconv import metrics as m

__all__ = ["Collector", "Mode", "Totals"]

Mode: TypeAlias = Literal[
    "well", "refused", "black_hole", "dripping", "html", "unavailable", "rejecting"
]

_METRICS: Final = "/v1/metrics"
_READ: Final = tuple(
    metric.name
    for metric in (
        m.ML_PREDICTIONS,
        m.ML_MONITORING_CAPTURED,
        m.ML_MONITORING_DROPPED,
        m.ML_MONITORING_QUEUE_SIZE,
        m.ML_MONITORING_WORKER_RESTARTS,
    )
)
_PAGE: Final = b"<html><body>Please sign in</body></html>"
_DRIP_SECONDS: Final = 0.25
_RETRY_SECONDS: Final = 1


@dataclass(frozen=True)
class Totals:
    """What the telemetry that arrived says, over all processes that sent it.

    Parameters
    ----------
    captured, exported
        Predictions that were seen, and those in the counts that arrived.
    dropped
        Predictions that were not monitored, by reason.
    buffered
        Calls in the queues.
    restarts
        Of workers.
    processes
        How many processes sent something.
    """

    captured: int = 0
    exported: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    buffered: int = 0
    restarts: int = 0
    processes: int = 0

    @property
    def lost(self) -> int:
        """Predictions of serving that were dropped, for whatever reason."""
        return sum(n for why, n in self.dropped.items() if why != a.MlDropReason.NOT_SERVING)

    def since(self, before: Totals) -> Totals:
        """Return what came on top of earlier totals."""
        more = {why: n - before.dropped.get(why, 0) for why, n in self.dropped.items()}
        return Totals(
            self.captured - before.captured,
            self.exported - before.exported,
            {why: n for why, n in more.items() if n},
            self.buffered,
            self.restarts - before.restarts,
            self.processes - before.processes,
        )


class Collector:
    """A receiver of OTLP/HTTP on the loopback interface; a context manager.

    It keeps the latest value of the few series that must add up, and nothing else.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._latest: dict[tuple[str, frozenset[tuple[str, str]]], tuple[str, str, int]] = {}
        self._requests = 0
        self.mode: Mode = "well"
        self.released = threading.Event()
        self._handler = type("Handler", (_Handler,), {"collector": self})
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self.port = 0
        self._listen()

    @property
    def endpoint(self) -> str:
        """Base URL, for ``OTEL_EXPORTER_OTLP_ENDPOINT``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def requests(self) -> int:
        """How many requests with metrics were taken."""
        return self._requests

    @contextmanager
    def being(self, mode: Mode) -> Iterator[None]:
        """Misbehave inside a block; what hangs then is let go at its end."""
        self.mode = mode
        if mode == "refused":
            self._hang_up()
        try:
            yield
        finally:
            self.mode = "well"
            self.released.set()
            self.released = threading.Event()
            if self._server is None:
                self._listen()

    def totals(self) -> Totals:
        """Return what has arrived so far."""
        with self._changed:
            return self._totals()

    def wait(self, condition: Callable[[Totals], bool], timeout: float) -> bool:
        """Wait until what has arrived meets a condition; return whether it does."""
        with self._changed:
            return self._changed.wait_for(lambda: condition(self._totals()), timeout)

    def wait_request(self, number: int, timeout: float) -> bool:
        """Wait until so many requests with metrics were taken."""
        with self._changed:
            return self._changed.wait_for(lambda: self._requests >= number, timeout)

    def take(self, body: bytes) -> None:
        """Keep the series of a request that must add up.

        Raises
        ------
        google.protobuf.message.DecodeError
            The body is no such request.
        """
        request = ExportMetricsServiceRequest()
        request.ParseFromString(body)
        with self._changed:
            for name in _READ:
                for found, value in find_series([request], name):
                    key = name, frozenset((k, str(v)) for k, v in found.items())
                    process = str(found.get(a.SERVICE_INSTANCE_ID, ""))
                    reason = str(found.get(a.ML_DROP_REASON, ""))
                    self._latest[key] = process, reason, int(value)
            self._requests += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Stop listening and let go of whoever waits."""
        self.released.set()
        self._hang_up()

    def __enter__(self) -> Collector:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _totals(self) -> Totals:
        sums = dict.fromkeys(_READ, 0)
        dropped: dict[str, int] = {}
        processes = set()
        for (name, _), (process, reason, value) in self._latest.items():
            processes.add(process)
            sums[name] += value
            if reason and value:
                dropped[reason] = dropped.get(reason, 0) + value
        predictions, captured, _, queued, restarts = (sums[name] for name in _READ)
        return Totals(captured, predictions, dropped, queued, restarts, len(processes))

    def _listen(self) -> None:
        self._server = _Server(("127.0.0.1", self.port), self._handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="selftest-collector", daemon=True
        )
        self._thread.start()

    def _hang_up(self) -> None:
        server, self._server = self._server, None
        if server is not None and self._thread is not None:
            server.shutdown()
            server.server_close()
            self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: set[Any] = set()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        for connection in tuple(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(2)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that gave up is what many faults are about."""


class _Handler(BaseHTTPRequestHandler):
    collector: ClassVar[Collector]
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_POST(self) -> None:
        """Answer an export as the mode says."""
        mode, released = self.collector.mode, self.collector.released
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        if mode == "black_hole":
            released.wait()
            self.close_connection = True
        elif mode == "dripping":
            self._drip(released)
        elif mode == "html":
            self._answer(200, _PAGE, "text/html")
        elif mode == "unavailable":
            self._answer(503, b"busy", "text/plain", ("retry-after", str(_RETRY_SECONDS)))
        elif mode == "rejecting" and self.path == _METRICS:
            answer = ExportMetricsServiceResponse()
            answer.partial_success.rejected_data_points = 3
            answer.partial_success.error_message = "too many series"
            self._answer(200, answer.SerializeToString())
        else:
            self._take(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Write no access log to standard error."""

    def _take(self, body: bytes) -> None:
        if self.path == _METRICS:
            try:
                self.collector.take(body)
            except DecodeError as error:
                self._answer(400, str(error).encode(), "text/plain")
                return
        self._answer(200, b"")

    def _drip(self, released: threading.Event) -> None:
        self._head(200, 10_000, "application/x-protobuf")
        while not released.is_set():
            self.wfile.write(b"\0")
            self.wfile.flush()
            released.wait(_DRIP_SECONDS)
        self.close_connection = True

    def _answer(
        self, code: int, body: bytes, kind: str = "application/x-protobuf", *more: tuple[str, str]
    ) -> None:
        self._head(code, len(body), kind, *more)
        self.wfile.write(body)
        self.wfile.flush()

    def _head(self, code: int, length: int, kind: str, *more: tuple[str, str]) -> None:
        self.send_response(code)
        for name, value in (("content-type", kind), ("content-length", str(length)), *more):
            self.send_header(name, value)
        self.end_headers()
