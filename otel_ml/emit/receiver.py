"""OTLP over HTTP in, the decoded requests in order out: a receiver for demos and tests.

It listens on the loopback interface and keeps a bounded number of requests of each signal.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, TypeVar

from google.protobuf.message import Message
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

from otel_ml.emit.otlp_server import Queue, Server
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

_KEPT_REQUESTS: Final = 10_000

Kept = TypeVar("Kept", bound=Message)


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
        self._metrics = Queue(
            ExportMetricsServiceRequest, ExportMetricsServiceResponse, keep, on_metrics
        )
        self._logs = Queue(ExportLogsServiceRequest, ExportLogsServiceResponse, keep, on_logs)
        self._traces = Queue(ExportTraceServiceRequest, ExportTraceServiceResponse, keep, on_traces)
        signals: dict[str, Queue[Any]] = {
            "/v1/metrics": self._metrics,
            "/v1/logs": self._logs,
            "/v1/traces": self._traces,
        }
        self._server = Server(("127.0.0.1", port), signals, self._changed)
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

    def _copy(self, signal: Queue[Kept]) -> list[Kept]:
        with self._changed:
            return list(signal.kept)
