"""OTLP over HTTP in, the decoded requests in order out: a receiver for demos and tests.

It listens on the loopback interface and keeps a bounded number of requests of each signal.
"""

from __future__ import annotations

import gzip
import logging
import threading
import zlib
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Final, Generic, TypeVar

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from otel_ml.emit.readings import (
    Attributes,
    add_buckets,
    find_buckets,
    find_events,
    find_series,
    matches,
)
from otel_ml.types import Buckets

__all__ = ["Receiver"]

_MAX_BYTES: Final = 16 * 1024 * 1024
_KEPT_REQUESTS: Final = 10_000
_log = logging.getLogger(__name__)

Kept = TypeVar("Kept", bound=Message)


class _Signal(Generic[Kept]):
    """The requests of one signal."""

    def __init__(
        self,
        request: type[Kept],
        response: type[Message],
        keep: int,
        listener: Callable[[Kept], None] | None,
    ) -> None:
        self.request = request
        self.response = response
        self.listener = listener
        self.kept: deque[Kept] = deque(maxlen=keep)
        self.discarded = 0

    def take(self, body: bytes, lock: threading.Condition) -> bytes:
        message = self.request()
        message.ParseFromString(body)
        with lock:
            if len(self.kept) == self.kept.maxlen:
                self.discarded += 1
            self.kept.append(message)
            lock.notify_all()
        if self.listener is not None:
            try:
                self.listener(message)
            except Exception:
                _log.exception("a listener of the receiver failed")
        return self.response().SerializeToString()


class Receiver:
    """An OTLP/HTTP endpoint on the loopback interface; a context manager.

    Parameters
    ----------
    port
        Port to listen on; 0 takes a free one.
    keep
        Requests of each signal that are kept; the oldest are discarded, and counted.
    on_metrics, on_logs, on_traces
        Called with each request, in the thread that received it.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        keep: int = _KEPT_REQUESTS,
        on_metrics: Callable[[ExportMetricsServiceRequest], None] | None = None,
        on_logs: Callable[[ExportLogsServiceRequest], None] | None = None,
        on_traces: Callable[[ExportTraceServiceRequest], None] | None = None,
    ) -> None:
        self._changed = threading.Condition()
        self._metrics = _Signal(
            ExportMetricsServiceRequest, ExportMetricsServiceResponse, keep, on_metrics
        )
        self._logs = _Signal(ExportLogsServiceRequest, ExportLogsServiceResponse, keep, on_logs)
        self._traces = _Signal(
            ExportTraceServiceRequest, ExportTraceServiceResponse, keep, on_traces
        )
        signals: dict[str, _Signal[Any]] = {
            "/v1/metrics": self._metrics,
            "/v1/logs": self._logs,
            "/v1/traces": self._traces,
        }
        attributes = {"signals": signals, "changed": self._changed}
        self._server = _Server(("127.0.0.1", port), type("Handler", (_Handler,), attributes))
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="otel-ml-receiver", daemon=True
        )
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """Base URL, for ``OTEL_EXPORTER_OTLP_ENDPOINT``."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def metrics(self) -> list[ExportMetricsServiceRequest]:
        """Requests with metrics that are kept, oldest first."""
        return self._copy(self._metrics)

    @property
    def logs(self) -> list[ExportLogsServiceRequest]:
        """Requests with log records that are kept, oldest first."""
        return self._copy(self._logs)

    @property
    def traces(self) -> list[ExportTraceServiceRequest]:
        """Requests with spans that are kept, oldest first."""
        return self._copy(self._traces)

    @property
    def discarded(self) -> int:
        """How many requests are not kept any more."""
        with self._changed:
            return sum(signal.discarded for signal in (self._metrics, self._logs, self._traces))

    def wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until a condition on what was received holds; return whether it does."""
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    def series(self, name: str) -> list[tuple[Attributes, float]]:
        """Return the latest value of each series of a number metric.

        The attributes contain those of the resource; a series is one attribute set of one resource.
        """
        return find_series(self.metrics, name)

    def total(self, name: str, **attributes: Any) -> float:
        """Return the sum of the latest values over all instances.

        Parameters
        ----------
        name
            Name of the metric.
        attributes
            Attributes that must match, with ``_`` for ``.`` where that is needed:
            ``ml_model_name="churn"``.
        """
        return sum(value for found, value in self.series(name) if matches(found, attributes))

    def histogram(self, name: str, **attributes: Any) -> Buckets | None:
        """Return the sum of the latest histograms over all instances, or None without any.

        Raises
        ------
        ValueError
            Histograms with different bounds match.
        """
        merged: Buckets | None = None
        for found, buckets in find_buckets(self.metrics, name):
            if not matches(found, attributes):
                continue
            merged = buckets if merged is None else add_buckets(merged, buckets, name)
        return merged

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the events of a name, or all, in the order of arrival.

        Each has ``name``, ``time_ns``, ``severity`` (its number), ``body``, ``trace_id``,
        ``span_id`` (hexadecimal), ``attributes`` and ``resource``.
        """
        return find_events(self.logs, name)

    def clear(self) -> None:
        """Forget every request."""
        with self._changed:
            for signal in (self._metrics, self._logs, self._traces):
                signal.kept.clear()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Receiver:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _copy(self, signal: _Signal[Kept]) -> list[Kept]:
        with self._changed:
            return list(signal.kept)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Closing waits for nobody: a client may keep its connection open.
    block_on_close = False


class _Handler(BaseHTTPRequestHandler):
    signals: ClassVar[dict[str, _Signal[Any]]]
    changed: ClassVar[threading.Condition]
    protocol_version = "HTTP/1.1"
    timeout = 60
    # Headers and body leave in one segment; otherwise every answer waits for a delayed ACK.
    wbufsize = -1

    def do_POST(self) -> None:
        """Take one export request."""
        stated = self.headers.get("content-length", "")
        length = int(stated) if stated.isdecimal() else -1
        if length < 0:
            self._refuse(411, "a content-length is needed")
            return
        if length > _MAX_BYTES:
            self._refuse(413, f"more than {_MAX_BYTES} bytes")
            return
        body = self.rfile.read(length)
        signal = self.signals.get(self.path)
        kind = self.headers.get_content_type()
        if signal is None:
            self._refuse(404, "not one of " + ", ".join(self.signals))
        elif kind != "application/x-protobuf":
            self._refuse(415, f"{kind} is not application/x-protobuf")
        else:
            try:
                answer = signal.take(self._plain(body), self.changed)
            except OverflowError:
                self._refuse(413, f"more than {_MAX_BYTES} bytes")
            except (DecodeError, OSError, EOFError, zlib.error, LookupError) as error:
                self._refuse(400, f"{type(error).__name__}: {error}")
            else:
                self._answer(200, "application/x-protobuf", answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Write no access log to standard error."""
        _log.debug(format, *args)

    def _plain(self, body: bytes) -> bytes:
        encoding = (self.headers.get("content-encoding") or "identity").lower()
        if encoding == "identity":
            return body
        if encoding not in ("gzip", "deflate"):
            raise LookupError(f"content-encoding {encoding}")
        inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | (16 if encoding == "gzip" else 0))
        plain = inflate.decompress(body, _MAX_BYTES + 1)
        if len(plain) > _MAX_BYTES:
            raise OverflowError
        if not inflate.eof:
            raise gzip.BadGzipFile("the body is cut short")
        return plain

    def _refuse(self, code: int, reason: str) -> None:
        self.close_connection = True
        self._answer(code, "text/plain; charset=utf-8", reason.encode())

    def _answer(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
