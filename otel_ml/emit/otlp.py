"""Samples and events in, OTLP to a receiver out: the sink of push exporters.

Everything that belongs to a process (identity, connections, what was delivered) is made at the
first export in it and left alone after a fork.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Collection, Sequence
from typing import Final

from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from otel_ml.emit.destination import Destination
from otel_ml.emit.envelope import logs_request, metrics_request
from otel_ml.emit.events import encode_events
from otel_ml.emit.lane import Lane
from otel_ml.emit.points import INSTRUMENTS, encode_samples
from otel_ml.emit.resource import ResourceSource, application_resource, encode_resource
from otel_ml.emit.sink import ExportReport
from otel_ml.emit.temporality import Deltas
from otel_ml.types import Event, Sample

__all__ = ["OtlpSink"]

_EVENTS_KEPT: Final = 1_000
_log = logging.getLogger(__name__)
_abandoned: list[_Process] = []


class OtlpSink:
    """Sends metrics and events to OTLP receivers.

    Both signals share the deadline of a call. Events go first, with half of it at most: they are
    few, and a metric that did not arrive is in the next export anyway. No thread is started, since
    none may be at exit.

    Parameters
    ----------
    metrics, logs
        Destination of each signal, or None where it goes nowhere.
    resource
        Supplies the application's resource; called once per process, at the first export.
    instruments
        Kinds of instruments to send.
    """

    def __init__(
        self,
        metrics: Destination | None,
        logs: Destination | None,
        *,
        resource: ResourceSource = application_resource,
        instruments: Collection[str] = INSTRUMENTS,
    ) -> None:
        self._metrics = metrics
        self._logs = logs
        self._resource = resource
        self._instruments = instruments
        self._process: _Process | None = None

    @property
    def destinations(self) -> tuple[Destination, ...]:
        """Where this sink sends to."""
        return tuple(found for found in (self._metrics, self._logs) if found is not None)

    def export(
        self,
        samples: Sequence[Sample],
        events: Sequence[Event],
        *,
        start_ns: int,
        now_ns: int,
        timeout: float,
    ) -> ExportReport:
        """Send the samples, the events, and the events that could not be sent before."""
        deadline = time.monotonic() + timeout
        try:
            with suppress_instrumentation():
                process = self._own()
                return process.export(samples, events, start_ns, now_ns, deadline)
        except Exception:
            _log.exception("export failed; this is a defect of otel-ml")
            failed = {str(found.signal): "failure" for found in self.destinations}
            return ExportReport(False, {"export_failed": len(events)}, failed)

    def shutdown(self, timeout: float) -> None:
        """Send the events that are still kept, then close the connections."""
        deadline = time.monotonic() + timeout
        process = self._process
        if process is None or process.pid != os.getpid():
            return
        try:
            with suppress_instrumentation():
                process.close(deadline)
        except Exception:
            _log.exception("shutdown failed; this is a defect of otel-ml")

    def _own(self) -> _Process:
        process = self._process
        if process is None or process.pid != os.getpid():
            if process is not None:
                # Destroying a parent's gRPC channel in a forked child can hang.
                _abandoned.append(process)
            process = _Process(self._metrics, self._logs, self._resource, self._instruments)
            self._process = process
        return process


class _Process:
    """What an `OtlpSink` holds in one process."""

    def __init__(
        self,
        metrics: Destination | None,
        logs: Destination | None,
        resource: ResourceSource,
        instruments: Collection[str],
    ) -> None:
        self.pid = os.getpid()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._instruments = instruments
        identity = encode_resource(resource())
        self._metrics: Lane[Metric] | None = None
        self._logs: Lane[LogRecord] | None = None
        self._deltas = Deltas() if metrics is not None and metrics.delta else None
        self._value_length = None if logs is None else logs.value_length
        self._kept: deque[LogRecord] = deque()
        if metrics is not None:
            self._metrics = Lane(
                metrics, lambda items: metrics_request(identity, items), self._closing
            )
        if logs is not None:
            self._logs = Lane(logs, lambda items: logs_request(identity, items), self._closing)

    def export(
        self,
        samples: Sequence[Sample],
        events: Sequence[Event],
        start_ns: int,
        now_ns: int,
        deadline: float,
    ) -> ExportReport:
        dropped: dict[str, int] = {}
        outcomes: dict[str, str] = {}
        if self._closing.is_set():
            _count(dropped, "closed", len(events))
            return ExportReport(False, dropped, outcomes)
        if self._logs is not None:
            records, bad = encode_events(events, now_ns=now_ns, limit=self._value_length)
            _count(dropped, "unencodable", bad)
            self._kept.extend(records)
        if not self._lock.acquire(timeout=max(deadline - time.monotonic(), 0.0)):
            # Another thread is exporting: it, or the next call, sends the events kept here.
            outcomes["logs" if self._metrics is None else "metrics"] = "failure"
            return ExportReport(False, dropped, outcomes)
        try:
            self._send_events(dropped, outcomes, deadline)
            self._send_samples(samples, dropped, outcomes, start_ns, now_ns, deadline)
        finally:
            self._lock.release()
        ok = not dropped and all(outcome == "success" for outcome in outcomes.values())
        return ExportReport(ok, dropped, outcomes)

    def close(self, deadline: float) -> None:
        self._closing.set()
        locked = self._lock.acquire(timeout=max(deadline - time.monotonic(), 0.0))
        try:
            if locked and self._logs is not None:
                dropped: dict[str, int] = {}
                self._send_events(dropped, {}, deadline)
            if self._kept:
                _log.warning("%d events were not delivered", len(self._kept))
            for lane in (self._metrics, self._logs):
                if lane is not None:
                    lane.close()
        finally:
            if locked:
                self._lock.release()

    def _send_events(
        self, dropped: dict[str, int], outcomes: dict[str, str], deadline: float
    ) -> None:
        if self._logs is None or not self._kept:
            return
        records = [self._kept.popleft() for _ in range(len(self._kept))]
        now = time.monotonic()
        share = deadline if self._metrics is None else now + (deadline - now) / 2
        delivery = self._logs.deliver(records, share)
        outcomes["logs"] = delivery.outcome
        _count(dropped, "rejected", delivery.rejected + len(delivery.refused))
        self._kept.extendleft(reversed(delivery.kept))
        excess = len(self._kept) - _EVENTS_KEPT
        for _ in range(excess):
            self._kept.popleft()
        _count(dropped, "export_failed", excess)

    def _send_samples(
        self,
        samples: Sequence[Sample],
        dropped: dict[str, int],
        outcomes: dict[str, str],
        start_ns: int,
        now_ns: int,
        deadline: float,
    ) -> None:
        if self._metrics is None:
            return
        if self._deltas is not None:
            self._deltas.begin()
        encoded = encode_samples(
            samples,
            start_ns=start_ns,
            now_ns=now_ns,
            deltas=self._deltas,
            instruments=self._instruments,
        )
        _count(dropped, "unencodable", encoded.unencodable)
        if not encoded.metrics:
            return
        delivery = self._metrics.deliver(encoded.metrics, deadline)
        outcomes["metrics"] = delivery.outcome
        refused = sum(_points(metric) for metric in delivery.refused)
        _count(dropped, "rejected", delivery.rejected + refused)
        if self._deltas is not None:
            kept = {metric.name for metric in delivery.kept}
            self._deltas.commit({m.name for m in encoded.metrics} - kept, now_ns)


def _points(metric: Metric) -> int:
    return (
        len(metric.sum.data_points)
        + len(metric.gauge.data_points)
        + len(metric.histogram.data_points)
    )


def _count(dropped: dict[str, int], reason: str, number: int) -> None:
    if number > 0:
        dropped[reason] = dropped.get(reason, 0) + number
