"""Samples and events in, OTLP to receivers out: the sink of push exporters.

Everything that belongs to a process (identity, connections, threads, what was delivered) is made at
the first export in it and left alone after a fork.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otel_ml.emit.destination import Destination
from otel_ml.emit.event_outlet import EventOutlet
from otel_ml.emit.hand import Ticket, finish
from otel_ml.emit.lane import Patience
from otel_ml.emit.points import INSTRUMENTS
from otel_ml.emit.resource import (
    EncodedResource,
    ResourceSource,
    application_resource,
    encode_resource,
    instance_id,
)
from otel_ml.emit.sample_outlet import SampleOutlet
from otel_ml.emit.silence import uninstrumented
from otel_ml.emit.sink import ExportReport
from otel_ml.types import Event, Sample

if TYPE_CHECKING:
    from otel_ml.emit.spool import Spool

__all__ = ["OtlpSink"]

_log = logging.getLogger(__name__)
_abandoned: Final[list[_Process]] = []


class OtlpSink:
    """Sends metrics and events to OTLP receivers.

    Every signal of every destination is sent by a thread of its own, all at the same time and
    within the time of the call; what takes longer, such as the look-up of a name, is left to that
    thread, and the next report tells of it. Where no thread can be started, as at the exit of the
    interpreter, they are sent one after the other, each with its share of the time.

    Parameters
    ----------
    *destinations
        Where signals go; None stands for nowhere.
    resource
        Supplies the application's resource; called once per process, at the first export.
    instruments
        Kinds of instruments to send.
    patience
        How long to wait, and how much to send at once.
    spool, spool_bytes
        Directory in which everything is committed before it is sent, and bytes it may take; None
        keeps all in memory.

    Notes
    -----
    At most 1,000 events, and 4 MiB of them, wait per destination; beyond it the oldest are lost and
    counted as ``export_failed``. As many may be under way. Metrics do not wait: the next export
    carries them again.
    """

    def __init__(
        self,
        *destinations: Destination | None,
        resource: ResourceSource = application_resource,
        instruments: Collection[str] = INSTRUMENTS,
        patience: Patience | None = None,
        spool: Path | None = None,
        spool_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self.destinations = tuple(found for found in destinations if found is not None)
        self._resource = resource
        self._instruments = instruments
        self._patience = patience or Patience()
        self._spool = None if spool is None else (spool, spool_bytes)
        self._process: _Process | None = None

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
            process = self._own()
            return process.export(samples, events, start_ns, now_ns, deadline)
        except Exception:
            _log.exception("export failed; this is a defect of otel-ml")
            failed = {str(found.signal): "failure" for found in self.destinations}
            return ExportReport(False, {"export_failed": len(events)}, failed)

    def hurry(self) -> None:
        """Have an export that another thread waits for wait for nothing any more."""
        process = self._process
        if process is not None and process.instance == instance_id():
            process.hurry()

    def shutdown(self, timeout: float) -> None:
        """Send the events that are still kept, then close the connections."""
        deadline = time.monotonic() + timeout
        process = self._process
        if process is None or process.instance != instance_id():
            return
        try:
            process.close(deadline)
        except Exception:
            _log.exception("shutdown failed; this is a defect of otel-ml")

    def _own(self) -> _Process:
        process = self._process
        # Not the process number alone: one may come again, as the 1 of a container does.
        if process is None or process.instance != instance_id():
            if process is not None:
                # Destroying a parent's gRPC channel in a forked child can hang.
                _abandoned.append(process)
            process = _Process(
                self.destinations, self._resource, self._instruments, self._patience, self._spool
            )
            self._process = process
        return process


class _Process:
    """What an `OtlpSink` holds in one process."""

    def __init__(
        self,
        destinations: Sequence[Destination],
        resource: ResourceSource,
        instruments: Collection[str],
        patience: Patience,
        spool: tuple[Path, int] | None,
    ) -> None:
        self.instance = instance_id()
        self._lock = threading.Lock()
        self._closed = self._ended = False
        with uninstrumented():  # detectors may ask the network
            identity = encode_resource(resource())
        self._spool: Spool | None = None
        names = ["" for _ in destinations]
        if spool is not None:
            self._spool, names = _opened(spool, identity, destinations)
        self._events: list[EventOutlet] = []
        self._samples: list[SampleOutlet] = []
        for found, name in zip(destinations, names, strict=True):
            if found.signal == "logs":
                self._events.append(EventOutlet(found, identity, patience, self._spool, name))
            else:
                self._samples.append(
                    SampleOutlet(found, identity, instruments, patience, self._spool, name)
                )

    @property
    def _outlets(self) -> list[EventOutlet | SampleOutlet]:
        return [*self._events, *self._samples]

    def export(
        self,
        samples: Sequence[Sample],
        events: Sequence[Event],
        start_ns: int,
        now_ns: int,
        deadline: float,
    ) -> ExportReport:
        timeout = deadline - time.monotonic()
        if self._closed:
            lost = len(events) * len(self._events)
            return ExportReport(False, {"closed": lost} if lost else {})
        for outlet in self._events:
            outlet.take(events, now_ns)
        begun: list[tuple[str, Ticket[str] | None]] = []
        if self._lock.acquire(timeout=max(timeout, 0.0)):
            try:
                begun = self._begin(samples, start_ns, now_ns, deadline, timeout)
                finish([ticket for _, ticket in begun if ticket is not None], deadline)
                if self._spool is not None:
                    self._spool.tidy()
            finally:
                self._lock.release()
        else:  # Another thread is exporting: the next call sends the events kept here.
            begun = [(outlet.signal, None) for outlet in self._outlets]
        return self._report(begun)

    def hurry(self) -> None:
        for outlet in self._outlets:
            outlet.hurry()

    def close(self, deadline: float) -> None:
        self._closed = True
        self.hurry()
        if not self._lock.acquire(timeout=max(deadline - time.monotonic(), 0.0)):
            _log.warning("connections are left open: another thread is exporting")
            return
        try:
            if self._ended:
                return
            self._ended = True
            finish([outlet.close(deadline) for outlet in self._outlets], deadline)
        finally:
            self._lock.release()
        lost = dict(self._report([]).dropped)
        if unsafe := sum(outlet.unsafe for outlet in self._events):
            lost["export_failed"] = lost.get("export_failed", 0) + unsafe
        if lost:
            _log.warning("not delivered at the end, by reason: %s", lost)
        if self._spool is not None and (waiting := self._spool.close()):
            _log.warning("%d wait in %s for the next start", waiting, self._spool.directory)

    def _begin(
        self,
        samples: Sequence[Sample],
        start_ns: int,
        now_ns: int,
        deadline: float,
        timeout: float,
    ) -> list[tuple[str, Ticket[str] | None]]:
        """Begin every signal that has something to send; None stands for one that cannot."""
        begun: list[tuple[str, Ticket[str] | None]] = []
        for outlet in self._outlets:
            if outlet.busy:
                begun.append((outlet.signal, None))
                continue
            ticket = (
                outlet.begin(deadline, timeout)
                if isinstance(outlet, EventOutlet)
                else outlet.begin(samples, start_ns, now_ns, deadline, timeout)
            )
            if ticket is not None:
                begun.append((outlet.signal, ticket))
        return begun

    def _report(self, begun: Sequence[tuple[str, Ticket[str] | None]]) -> ExportReport:
        dropped: dict[str, int] = {}
        for outlet in self._outlets:
            for reason, number in outlet.losses().items():
                dropped[reason] = dropped.get(reason, 0) + number
        if self._spool is not None and (lost := self._spool.take_lost()):
            dropped["spool_full"] = lost
        found: dict[str, set[str]] = {}
        for signal, ticket in begun:
            ended = ticket is not None and ticket.done and ticket.result
            found.setdefault(signal, set()).add(ended or "failure")
        outcomes = {
            signal: next(iter(every)) if len(every) == 1 else "partial"
            for signal, every in found.items()
        }
        ok = not dropped and all(outcome == "success" for outcome in outcomes.values())
        return ExportReport(ok, dropped, outcomes)


def _opened(
    spool: tuple[Path, int], identity: EncodedResource, destinations: Sequence[Destination]
) -> tuple[Spool | None, list[str]]:
    """Return the spool, or None where this Python has no SQLite, and names in it."""
    try:
        from otel_ml.emit.spool import Spool, key_of
    except ImportError as error:  # Python without SQLite, or a system without POSIX locks
        _log.warning("there is no spool: %s; what is not delivered is kept in memory only", error)
        return None, ["" for _ in destinations]
    names = [key_of(found) for found in destinations]
    return Spool(*spool, identity, names), names
