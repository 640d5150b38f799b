"""Events in, log records to one destination out; those that could not be sent are kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from otel_ml.emit.backlog import Backlog, Entry
from otel_ml.emit.destination import Destination
from otel_ml.emit.envelope import by_resource, logs_request
from otel_ml.emit.events import encode_events
from otel_ml.emit.hand import Ticket
from otel_ml.emit.lane import Lane, Patience
from otel_ml.emit.outlets import Outlet
from otel_ml.emit.resource import EncodedResource
from otel_ml.types import Event

if TYPE_CHECKING:
    from otel_ml.emit.spool import Spool
    from otel_ml.emit.spool_file import SpoolFile

__all__ = ["EventOutlet"]

_READ_AT_ONCE: Final = 100  # events that an ended process left


class EventOutlet(Outlet[Entry]):
    """Events to one destination; those that could not be sent are kept for the next time.

    Parameters
    ----------
    destination
        Where and how to send.
    identity
        The resource of this process.
    patience
        How long to wait, and how much to send at once.
    spool
        Where events are committed before they are sent, or None.
    name
        Of this destination in the spool.
    """

    def __init__(
        self,
        destination: Destination,
        identity: EncodedResource,
        patience: Patience,
        spool: Spool | None = None,
        name: str = "",
    ) -> None:
        super().__init__(destination)
        self._limit = destination.value_length
        self._identity = identity
        self._spool = spool
        self._name = name
        self._backlog = Backlog()
        self._in_hand: tuple[Entry, ...] = ()
        self._lane = Lane(
            destination,
            lambda items: by_resource(
                items, lambda of, run: logs_request(of, [entry.record for entry in run])
            ),
            None,
            patience,
        )

    @property
    def unsafe(self) -> int:
        """How many events are neither delivered, nor counted as lost, nor in a spool."""
        return sum(entry.row is None for entry in (*self._in_hand, *self._backlog.all()))

    def take(self, events: Sequence[Event], now_ns: int) -> None:
        """Encode events and keep them until they are sent."""
        records, bad = encode_events(events, now_ns=now_ns, limit=self._limit)
        self.lose("unencodable", bad)
        rows: Sequence[int | None] = [None] * len(records)
        if self._spool is not None:
            rows = self._spool.keep_events(self._name, [r.SerializeToString() for r in records])
        entries = map(Entry, records, [self._identity] * len(records), rows)
        self._give_up(self._backlog.add(entries), "export_failed")

    def begin(self, deadline: float, timeout: float) -> Ticket[str] | None:
        """Begin to send what is kept; None where there is nothing."""
        self._refill()
        if not self._backlog:
            return None
        return self._begin(self._send, deadline, timeout)

    def _send(self, deadline: float, *, last: bool = False) -> str:
        self._in_hand = entries = self._backlog.take()
        try:
            delivery = self._lane.deliver(entries, deadline, last=last)
        except BaseException:
            self._in_hand = ()
            self._give_up(self._backlog.put_back(entries), "export_failed")
            raise
        self.lose("rejected", delivery.rejected)
        self._give_up(delivery.refused, "rejected")
        self._give_up(delivery.oversize, "too_large")
        self._forget(set(entries) - {*delivery.kept, *delivery.refused, *delivery.oversize})
        self._in_hand = ()
        self._give_up(self._backlog.put_back(delivery.kept), "export_failed")
        return delivery.outcome

    def _last(self, deadline: float) -> str:
        return self._send(deadline, last=True) if self._backlog else "success"

    def _give_up(self, entries: Sequence[Entry], reason: str) -> None:
        self.lose(reason, len(entries))
        self._forget(entries)

    def _forget(self, entries: Iterable[Entry]) -> None:
        if self._spool is None:
            return
        rows: dict[SpoolFile | None, list[int]] = {}
        for entry in entries:
            if entry.row is not None:
                rows.setdefault(entry.file, []).append(entry.row)
        for file, ids in rows.items():
            self._spool.forget_events(ids, file)

    def _refill(self) -> None:
        """Read some of what ended processes left, while there is room for it."""
        if self._spool is None:
            return
        for leftover in self._spool.leftovers:
            if not self._backlog.roomy:
                return
            rows = self._spool.events_of(leftover, self._name, _READ_AT_ONCE)
            entries = []
            for row, body in rows:
                try:
                    record = LogRecord.FromString(body)
                except DecodeError:
                    self.lose("unencodable", 1)
                    self._spool.forget_events([row], leftover.file)
                    continue
                entries.append(Entry(record, leftover.resource, row, leftover.file))
            self._give_up(self._backlog.put_back(entries), "export_failed")
