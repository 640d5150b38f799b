"""Encoded metrics in, parts of them that can be sent on their own out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from otel_ml.emit.resource import EncodedResource
from otel_ml.emit.temporality import Series

if TYPE_CHECKING:
    from otel_ml.emit.spool_file import SpoolFile

__all__ = ["Piece", "pieces"]


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A metric with all, or some, of its points.

    Parameters
    ----------
    metric
        The message.
    identity
        The resource it belongs to.
    series
        Of each point its series, where differences are sent; None where a point is no difference.
    state
        File and name of the state of an ended process that it is part of; None for this process.
    """

    metric: Metric
    identity: EncodedResource
    series: tuple[Series | None, ...] = ()
    state: tuple[SpoolFile, str] | None = None

    @property
    def points(self) -> int:
        """How many points it has."""
        metric = self.metric
        return (
            len(metric.sum.data_points)
            + len(metric.gauge.data_points)
            + len(metric.histogram.data_points)
        )

    def ByteSize(self) -> int:
        """Return the bytes of the encoded metric."""
        return self.metric.ByteSize()

    def halves(self) -> tuple[Piece, Piece] | None:
        """Divide its points in two; None where it has only one."""
        middle = self.points // 2
        if not middle:
            return None
        return self._part(0, middle), self._part(middle, self.points)

    def _part(self, start: int, stop: int) -> Piece:
        part = Metric()
        part.CopyFrom(self.metric)
        for points in (part.sum.data_points, part.gauge.data_points, part.histogram.data_points):
            if points:
                del points[stop:]
                del points[:start]
        return replace(self, metric=part, series=self.series[start:stop])


def pieces(
    metrics: Sequence[Metric],
    identity: EncodedResource,
    series: Iterable[tuple[Series | None, ...]],
) -> tuple[Piece, ...]:
    """Return one piece per metric."""
    return tuple(Piece(m, identity, s) for m, s in zip(metrics, series, strict=True))
