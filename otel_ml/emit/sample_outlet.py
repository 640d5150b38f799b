"""Samples in, metrics to one destination out; nothing waits, since the next export has it again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from otel_ml.emit.destination import Destination
from otel_ml.emit.envelope import by_resource, metrics_request
from otel_ml.emit.hand import Ticket
from otel_ml.emit.lane import Lane, Patience
from otel_ml.emit.outlets import Outlet
from otel_ml.emit.pieces import Piece, pieces
from otel_ml.emit.points import encode_samples
from otel_ml.emit.resource import EncodedResource
from otel_ml.emit.temporality import Deltas, Series
from otel_ml.types import Sample

if TYPE_CHECKING:
    from otel_ml.emit.spool import Spool

__all__ = ["SampleOutlet"]


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
    spool
        Where the last state is committed before it is sent, or None.
    name
        Of this destination in the spool.
    """

    def __init__(
        self,
        destination: Destination,
        identity: EncodedResource,
        instruments: Collection[str],
        patience: Patience,
        spool: Spool | None = None,
        name: str = "",
    ) -> None:
        super().__init__(destination)
        self._identity = identity
        self._instruments = instruments
        self._spool = spool
        self._name = name
        self._deltas = Deltas() if destination.delta else None
        self._lane = Lane(destination, _wrap, Piece.halves, patience)

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
        own = pieces(encoded.metrics, self._identity, encoded.series)
        if own and self._spool is not None:
            self._spool.keep_state(self._name, _wrap(own).SerializeToString())
        items = (*self._left(), *own)
        if not items:
            return None
        return self._begin(lambda until: self._send(items, now_ns, until), deadline, timeout)

    def _send(self, items: Sequence[Piece], now_ns: int, deadline: float) -> str:
        delivery = self._lane.deliver(items, deadline)
        self.lose("rejected", delivery.rejected + _points(delivery.refused))
        self.lose("too_large", _points(delivery.oversize))
        if self._deltas is not None:
            self._deltas.commit(_series(items) - _series(delivery.kept), now_ns)
        if self._spool is not None:
            self._settle(self._spool, items, delivery.kept)
        return delivery.outcome

    def _settle(self, spool: Spool, items: Sequence[Piece], kept: Sequence[Piece]) -> None:
        """Have the spool hold what is still due, and nothing else."""
        due = {piece.state for piece in kept}
        for state in {piece.state for piece in items} - due:
            if state is None:
                spool.forget_state(self._name)
            else:
                spool.forget_state(state[1], state[0])
        own = [piece for piece in kept if piece.state is None]
        if own and len(own) < sum(piece.state is None for piece in items):
            spool.keep_state(self._name, _wrap(own).SerializeToString())

    def _left(self) -> list[Piece]:
        """Return the last states of ended processes."""
        found: list[Piece] = []
        if self._spool is None:
            return found
        for leftover in self._spool.leftovers:
            for name, body in self._spool.states_of(leftover, self._name):
                try:
                    request = ExportMetricsServiceRequest.FromString(body)
                except DecodeError:
                    self.lose("unencodable", 1)
                    self._spool.forget_state(name, leftover.file)
                    continue
                found += [
                    Piece(metric, leftover.resource, (), (leftover.file, name))
                    for resource in request.resource_metrics
                    for scope in resource.scope_metrics
                    for metric in scope.metrics
                ]
        return found


def _wrap(items: Sequence[Piece]) -> ExportMetricsServiceRequest:
    return by_resource(items, lambda of, run: metrics_request(of, [piece.metric for piece in run]))


def _points(items: Sequence[Piece]) -> int:
    return sum(item.points for item in items)


def _series(items: Sequence[Piece]) -> set[Series]:
    return {series for item in items for series in item.series if series is not None}
