"""Samples in, OTLP metrics out: one metric per definition with all its points.

The protobuf messages are built directly: 1.6 times cheaper than going through the SDK's metric
data classes, without loading them, and each point is checked on its own, so a bad one loses only
itself. A test compares the bytes with those of the official encoder.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
)

from otel_ml.emit.temporality import Deltas, Series, series_of
from otel_ml.emit.values import Unencodable, key_values, number, text, uint64
from otel_ml.turns import give_way
from otel_ml.types import Buckets, MetricDef, Sample

__all__ = ["INSTRUMENTS", "Encoded", "encode_samples"]

INSTRUMENTS: Final = frozenset({"counter", "updowncounter", "gauge", "histogram"})
_CUMULATIVE: Final = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
_DELTA: Final = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA


@dataclass(frozen=True, slots=True)
class Encoded:
    """Metrics ready to be sent.

    Parameters
    ----------
    metrics
        One message per metric, in the order of first appearance.
    series
        Of each metric the series of its points; None for a point that is no difference, and empty
        where no differences were asked for.
    unencodable
        Points left out because a value has no place in OTLP.
    """

    metrics: tuple[Metric, ...]
    series: tuple[tuple[Series | None, ...], ...]
    unencodable: int


def encode_samples(
    samples: Sequence[Sample],
    *,
    start_ns: int,
    now_ns: int,
    deltas: Deltas | None = None,
    instruments: Collection[str] = INSTRUMENTS,
) -> Encoded:
    """Encode the samples as OTLP metrics.

    Parameters
    ----------
    samples
        One sample per series.
    start_ns, now_ns
        Start of the counts and time of the samples, nanoseconds since the epoch.
    deltas
        What was delivered so far: counters and histograms are then sent as differences, and a
        series without a difference is left out. None sends cumulative values.
    instruments
        Kinds of instruments to send.

    Returns
    -------
    Encoded
        The metrics, and how many points had to be left out.
    """
    metrics: dict[str, Metric] = {}
    series: dict[str, list[Series | None]] = {}
    unencodable = 0
    for sample in samples:
        give_way()
        definition = sample.metric
        if definition.instrument not in instruments:
            continue
        try:
            metric = metrics.get(definition.name)
            if metric is None:
                metric = _empty(definition, deltas is not None)
            point = _point(sample, start_ns, now_ns, deltas)
            of = None if deltas is None or point is None else series_of(sample)
        except Exception:  # Whatever its values do: it loses this point, and is counted.
            unencodable += 1
            continue
        if point is None:
            continue
        metrics[definition.name] = metric
        if deltas is not None:
            series.setdefault(definition.name, []).append(of)
        if isinstance(point, HistogramDataPoint):
            metric.histogram.data_points.append(point)
        elif definition.instrument == "gauge":
            metric.gauge.data_points.append(point)
        else:
            metric.sum.data_points.append(point)
    return Encoded(
        tuple(metrics.values()), tuple(tuple(series.get(name, ())) for name in metrics), unencodable
    )


def _empty(definition: MetricDef, delta: bool) -> Metric:
    metric = Metric(
        name=text(definition.name),
        description=text(definition.description),
        unit=text(definition.unit),
    )
    if definition.instrument == "histogram":
        metric.histogram.aggregation_temporality = _DELTA if delta else _CUMULATIVE
    elif definition.instrument == "counter":
        metric.sum.aggregation_temporality = _DELTA if delta else _CUMULATIVE
        metric.sum.is_monotonic = True
    elif definition.instrument == "updowncounter":
        # As in the SDK: a delta of a value that goes up and down helps nobody.
        metric.sum.aggregation_temporality = _CUMULATIVE
    return metric


def _point(
    sample: Sample, start_ns: int, now_ns: int, deltas: Deltas | None
) -> NumberDataPoint | HistogramDataPoint | None:
    kind = sample.metric.instrument
    attributes = key_values(sample.attributes)
    now = uint64(now_ns)
    if kind == "histogram":
        if not isinstance(sample.value, Buckets):
            raise Unencodable("a histogram needs buckets")
        buckets = _checked(sample.value)
        start = uint64(start_ns)
        if deltas is not None:
            step = deltas.buckets(sample, buckets, start)
            if step is None:
                return None
            buckets, start = step
        return HistogramDataPoint(
            attributes=attributes,
            start_time_unix_nano=start,
            time_unix_nano=now,
            count=sum(buckets.counts),
            sum=buckets.sum,
            bucket_counts=buckets.counts,
            explicit_bounds=buckets.bounds,
        )
    value = number(sample.value)
    if kind == "gauge":
        point = NumberDataPoint(attributes=attributes, time_unix_nano=now)
    else:
        start = uint64(start_ns)
        if kind == "counter":
            if value < 0:
                raise Unencodable("a counter below zero")
            if deltas is not None:
                change = deltas.number(sample, value, start)
                if change is None:
                    return None
                value, start = change
        point = NumberDataPoint(
            attributes=attributes, start_time_unix_nano=start, time_unix_nano=now
        )
    if isinstance(value, int):
        point.as_int = value
    else:
        point.as_double = value
    return point


def _checked(buckets: Buckets) -> Buckets:
    bounds = tuple(float(number(bound)) for bound in buckets.bounds)
    counts = tuple(uint64(count) for count in buckets.counts)
    if len(counts) != len(bounds) + 1:
        raise Unencodable("a histogram has one count more than bounds")
    if any(low >= high for low, high in pairwise(bounds)):
        raise Unencodable("bounds are not increasing")
    uint64(sum(counts))
    return Buckets(bounds, counts, None if buckets.sum is None else float(number(buckets.sum)))
