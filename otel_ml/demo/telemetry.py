"""What arrived, over time: in, OTLP requests for metrics and logs; out, series, rows and events.

Only ``ml.*`` is kept. A row number is where the counter of predictions stood, so everything that
was measured can be drawn over rows.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, NumberDataPoint

from otel_ml.semconv import metrics as metric
from otel_ml.types import Buckets, FloatArray, MetricDef

__all__ = ["Attributes", "Happening", "Point", "Series", "Telemetry"]

Value: TypeAlias = str | bool | int | float | tuple[str | bool | int | float, ...]
Attributes: TypeAlias = Mapping[str, Value]
SECOND_NS: Final = 1e9
INSTANCE: Final = "service.instance.id"


@dataclass(frozen=True, slots=True)
class Point:
    """A value at a time.

    Parameters
    ----------
    time
        Seconds since the Unix epoch.
    value
        A number, or the cumulative buckets of a histogram.
    """

    time: float
    value: float | Buckets


@dataclass(frozen=True, slots=True)
class Series:
    """The points of one set of attributes, in order of time.

    Parameters
    ----------
    attributes
        Attributes of the points.
    points
        Where it changed, and the last one that came.
    """

    attributes: Attributes
    points: Sequence[Point]

    def at(self, time: float) -> float | Buckets | None:
        """Return the value that held at `time`, or None before the first point."""
        held: float | Buckets | None = None
        for point in self.points:
            if point.time > time:
                break
            held = point.value
        return held


@dataclass(frozen=True, slots=True)
class Happening:
    """An event that arrived.

    Parameters
    ----------
    name
        Its event name.
    time
        When it happened, seconds since the Unix epoch.
    attributes
        Its attributes.
    """

    name: str
    time: float
    attributes: Attributes


_Key: TypeAlias = tuple[str, str, tuple[tuple[str, Value], ...]]


class Telemetry:
    """A store that a receiver feeds from its threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._points: dict[_Key, list[Point]] = {}
        self._events: list[Happening] = []
        self.names: set[str] = set()

    def take_metrics(self, request: ExportMetricsServiceRequest) -> None:
        """Add the points of an export."""
        with self._lock:
            for resource in request.resource_metrics:
                instance = str(_attributes(resource.resource.attributes).get(INSTANCE, ""))
                for scope in resource.scope_metrics:
                    for one in scope.metrics:
                        if not one.name.startswith("ml."):
                            continue
                        self.names.add(one.name)
                        for number in (*one.sum.data_points, *one.gauge.data_points):
                            self._add(one.name, instance, number, _number(number))
                        for buckets in one.histogram.data_points:
                            self._add(one.name, instance, buckets, _buckets(buckets))

    def take_logs(self, request: ExportLogsServiceRequest) -> None:
        """Add the events of an export."""
        with self._lock:
            for resource in request.resource_logs:
                for scope in resource.scope_logs:
                    for record in scope.log_records:
                        if not record.event_name.startswith("ml."):
                            continue
                        time = (record.time_unix_nano or record.observed_time_unix_nano) / SECOND_NS
                        self._events.append(
                            Happening(record.event_name, time, _attributes(record.attributes))
                        )

    def events(self, name: str) -> list[Happening]:
        """Return the events of a name in order of time."""
        with self._lock:
            found = [event for event in self._events if event.name == name]
        return sorted(found, key=lambda event: event.time)

    def series(self, definition: MetricDef, where: Attributes | None = None) -> list[Series]:
        """Return the series of a metric whose attributes include `where`."""
        wanted = (where or {}).items()
        with self._lock:
            return [
                Series(dict(attributes), list(points))
                for (name, _, attributes), points in self._points.items()
                if name == definition.name and wanted <= dict(attributes).items()
            ]

    def total(self, definition: MetricDef, where: Attributes | None = None) -> float:
        """Return the sum of the last values of the series of a metric."""
        return sum(
            last
            for one in self.series(definition, where)
            if isinstance(last := one.points[-1].value, (int, float))
        )

    def clock(self) -> tuple[FloatArray, FloatArray]:
        """Return the times of exports and the rows counted by then, both shape ``(k,)``."""
        series = self.series(metric.ML_PREDICTIONS)
        times = sorted({point.time for one in series for point in one.points})
        rows = [sum(_plain(one.at(time)) for one in series) for time in times]
        return np.array(times, dtype=np.float64), np.array(rows, dtype=np.float64)

    def rows_at(self, times: Sequence[float]) -> FloatArray:
        """Return how many rows had been counted at each of `times`, in between by interpolation."""
        known, rows = self.clock()
        if not len(known):
            return np.zeros(len(times))
        return np.asarray(np.interp(np.asarray(times, dtype=np.float64), known, rows))

    def window(
        self, definition: MetricDef, where: Attributes, first: float, last: float
    ) -> tuple[tuple[float, ...], FloatArray] | None:
        """Return bounds and counts of a histogram between two row numbers.

        Parameters
        ----------
        definition
            A histogram.
        where
            Attributes that pick one series.
        first, last
            Rows; the exports next to them decide, so the window is a little inside.

        Returns
        -------
        tuple or None
            Bounds, and counts of shape ``(len(bounds) + 1,)``; None where nothing was counted.
        """
        found = self.series(definition, where)
        times = self._between(first, last)
        if not found or times is None:
            return None
        begin, end = found[0].at(times[0]), found[0].at(times[1])
        if not isinstance(end, Buckets):
            return None
        counts = np.array(end.counts, dtype=np.float64)
        if isinstance(begin, Buckets) and begin.bounds == end.bounds:
            counts = counts - np.array(begin.counts)
        return (end.bounds, counts) if counts.sum() > 0 else None

    def growth(
        self, definition: MetricDef, where: Attributes, key: str, first: float, last: float
    ) -> dict[str, float]:
        """Return by how much a counter grew between two row numbers, by the attribute `key`."""
        times = self._between(first, last)
        grown: dict[str, float] = {}
        if times is None:
            return grown
        for one in self.series(definition, where):
            name = str(one.attributes.get(key, ""))
            more = _plain(one.at(times[1])) - _plain(one.at(times[0]))
            grown[name] = grown.get(name, 0.0) + more
        return grown

    def _between(self, first: float, last: float) -> tuple[float, float] | None:
        times, rows = self.clock()
        inside = np.flatnonzero((rows >= first) & (rows <= last))
        if len(inside) >= 2:
            return float(times[inside[0]]), float(times[inside[-1]])
        if not len(times) or last <= first:
            return None
        # Too short to lie between two exports: take the exports around it.
        after = min(int(np.searchsorted(rows, last)), len(times) - 1)
        before = max(int(np.searchsorted(rows, first)) - 1, 0)
        return (float(times[before]), float(times[after])) if after > before else None

    def _add(
        self,
        name: str,
        instance: str,
        point: NumberDataPoint | HistogramDataPoint,
        value: float | Buckets,
    ) -> None:
        key = (name, instance, tuple(sorted(_attributes(point.attributes).items())))
        held = self._points.setdefault(key, [])
        new = Point(point.time_unix_nano / SECOND_NS, value)
        # Of a stretch without change the two ends are enough; the clock keeps every export.
        unchanged = len(held) > 1 and held[-1].value == held[-2].value == value
        if unchanged and name != metric.ML_PREDICTIONS.name:
            held[-1] = new
        else:
            held.append(new)


def _plain(value: float | Buckets | None) -> float:
    return 0.0 if value is None or isinstance(value, Buckets) else value


def _number(point: NumberDataPoint) -> float:
    return point.as_int if point.WhichOneof("value") == "as_int" else point.as_double


def _buckets(point: HistogramDataPoint) -> Buckets:
    total = point.sum if point.HasField("sum") else None
    return Buckets(tuple(point.explicit_bounds), tuple(point.bucket_counts), total)


def _attributes(pairs: Sequence[KeyValue]) -> dict[str, Value]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Value:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        inner = (_value(each) for each in value.array_value.values)
        return tuple(str(each) if isinstance(each, tuple) else each for each in inner)
    if kind == "bool_value":
        return value.bool_value
    if kind == "int_value":
        return value.int_value
    if kind == "double_value":
        return value.double_value
    return value.string_value
