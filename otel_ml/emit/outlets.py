"""Samples or events in, what became of them out: one outlet is one signal to one destination.

An outlet has a thread of its own, so signals go at the same time, and none of them makes its owner
wait longer than it wants to.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, Generic, TypeVar

from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from otel_ml.emit.backlog import Backlog
from otel_ml.emit.destination import Destination
from otel_ml.emit.envelope import logs_request, metrics_request
from otel_ml.emit.events import encode_events
from otel_ml.emit.hand import Hand, Ticket
from otel_ml.emit.lane import Lane, Patience, Sized
from otel_ml.emit.pieces import Piece, pieces
from otel_ml.emit.points import encode_samples
from otel_ml.emit.resource import EncodedResource
from otel_ml.emit.temporality import Deltas
from otel_ml.emit.transport import preload
from otel_ml.types import Event, Sample

__all__ = ["EventOutlet", "Outlet", "SampleOutlet"]

# Answers are read at a deadline; the one that waits for the answer wants to hear of it by its own.
_MARGIN: Final = 0.05

Item = TypeVar("Item", bound=Sized)


class Outlet(Generic[Item]):
    """What both kinds of outlets share.

    Parameters
    ----------
    destination
        Where and how to send.
    """

    _lane: Lane[Item]

    def __init__(self, destination: Destination) -> None:
        self.signal = destination.signal
        self._hand: Hand[str] = Hand(f"otel-ml-{destination.signal}")
        self._lost: dict[str, int] = {}
        self._lock = threading.Lock()
        preload(destination)

    @property
    def busy(self) -> bool:
        """Whether an earlier delivery is still under way."""
        return self._hand.busy

    def lose(self, reason: str, number: int) -> None:
        """Count what is lost for good."""
        if number > 0:
            with self._lock:
                self._lost[reason] = self._lost.get(reason, 0) + number

    def losses(self) -> dict[str, int]:
        """Return what was lost since the last call, by reason."""
        with self._lock:
            lost, self._lost = self._lost, {}
            return lost

    def close(self, deadline: float) -> Ticket[str]:
        """Send what is still kept once more, and then close the connection."""
        self._lane.hurry()
        ticket = self._hand.begin(self._close, deadline)
        self._hand.dismiss()
        return ticket

    def _begin(self, work: Callable[[float], str], deadline: float, timeout: float) -> Ticket[str]:
        def quietly(until: float) -> str:
            # Here, since it holds for the thread that asks for it.
            with suppress_instrumentation():
                return work(until)

        return self._hand.begin(quietly, deadline - _MARGIN * timeout)

    def _close(self, deadline: float) -> str:
        try:
            with suppress_instrumentation():
                return self._last(deadline)
        finally:
            self._lane.close()

    def _last(self, deadline: float) -> str:
        return "success"


class EventOutlet(Outlet[LogRecord]):
    """Events to one destination; those that could not be sent are kept for the next time.

    Parameters
    ----------
    destination
        Where and how to send.
    identity
        The resource of this process.
    patience
        How long to wait, and how much to send at once.
    """

    def __init__(
        self, destination: Destination, identity: EncodedResource, patience: Patience
    ) -> None:
        super().__init__(destination)
        self._limit = destination.value_length
        self._backlog = Backlog()
        self._in_hand = 0
        self._lane = Lane(destination, lambda items: logs_request(identity, items), None, patience)

    @property
    def kept(self) -> int:
        """How many events are neither delivered nor lost."""
        return self._in_hand + len(self._backlog)

    def take(self, events: Sequence[Event], now_ns: int) -> None:
        """Encode events and keep them until they are sent."""
        records, bad = encode_events(events, now_ns=now_ns, limit=self._limit)
        self.lose("unencodable", bad)
        self.lose("export_failed", self._backlog.add(records))

    def begin(self, deadline: float, timeout: float) -> Ticket[str] | None:
        """Begin to send what is kept; None where there is nothing."""
        if not self._backlog:
            return None
        return self._begin(self._send, deadline, timeout)

    def _send(self, deadline: float, *, last: bool = False) -> str:
        records = self._backlog.take()
        self._in_hand = len(records)
        try:
            delivery = self._lane.deliver(records, deadline, last=last)
        except BaseException:
            self.lose("export_failed", self._backlog.put_back(records))
            self._in_hand = 0
            raise
        self.lose("rejected", delivery.rejected + len(delivery.refused))
        self.lose("unencodable", len(delivery.oversize))
        self.lose("export_failed", self._backlog.put_back(delivery.kept))
        self._in_hand = 0
        return delivery.outcome

    def _last(self, deadline: float) -> str:
        return self._send(deadline, last=True) if self._backlog else "success"


class SampleOutlet(Outlet[Piece]):
    """Samples to one destination; nothing is kept, since the next export carries it again.

    Parameters
    ----------
    destination
        Where and how to send.
    identity
        The resource of this process.
    instruments
        Kinds of instruments to send.
    patience
        How long to wait, and how much to send at once.
    """

    def __init__(
        self,
        destination: Destination,
        identity: EncodedResource,
        instruments: Collection[str],
        patience: Patience,
    ) -> None:
        super().__init__(destination)
        self._instruments = instruments
        self._deltas = Deltas() if destination.delta else None
        self._lane = Lane(
            destination,
            lambda items: metrics_request(identity, [item.metric for item in items]),
            Piece.halves,
            patience,
        )

    def begin(
        self,
        samples: Sequence[Sample],
        start_ns: int,
        now_ns: int,
        deadline: float,
        timeout: float,
    ) -> Ticket[str] | None:
        """Encode the samples and begin to send them; None where there is nothing to send."""
        if self._deltas is not None:
            self._deltas.begin()
        encoded = encode_samples(
            samples,
            start_ns=start_ns,
            now_ns=now_ns,
            deltas=self._deltas,
            instruments=self._instruments,
        )
        self.lose("unencodable", encoded.unencodable)
        if not encoded.metrics:
            return None
        items = pieces(encoded)
        return self._begin(lambda until: self._send(items, now_ns, until), deadline, timeout)

    def _send(self, items: Sequence[Piece], now_ns: int, deadline: float) -> str:
        delivery = self._lane.deliver(items, deadline)
        self.lose("rejected", delivery.rejected + _points(delivery.refused))
        self.lose("unencodable", _points(delivery.oversize))
        if self._deltas is not None:
            due = _series(delivery.kept)
            self._deltas.commit(_series(items) - due, now_ns)
        return delivery.outcome


def _points(items: Sequence[Piece]) -> int:
    return sum(item.points for item in items)


def _series(items: Sequence[Piece]) -> set[Any]:
    return {series for item in items for series in item.series if series is not None}
