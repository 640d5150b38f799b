"""Differences add up to the cumulative value, whatever failed in between."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from otel_ml.emit.points import Encoded, encode_samples
from otel_ml.emit.temporality import Deltas, Series
from otel_ml.types import Buckets, MetricDef, Sample

COUNTER = MetricDef("ml.c", "counter", "{row}", "", (), ())
HISTOGRAM = MetricDef("ml.h", "histogram", "{row}", "", (), ())
STEP = st.tuples(
    st.lists(st.integers(0, 5), min_size=2, max_size=2),
    st.lists(st.integers(0, 5), min_size=3, max_size=3),
    st.sampled_from(["delivered", "lost", "counter only"]),
)


def series_in(encoded: Encoded, names: Container[str]) -> set[Series]:
    """Return the series of the metrics with these names."""
    found = zip(encoded.metrics, encoded.series, strict=True)
    return {one for metric, series in found if metric.name in names for one in series if one}


@given(st.lists(STEP, max_size=12))
def test_what_arrives_adds_up_to_what_was_last_delivered(steps: list[Any]) -> None:
    deltas = Deltas()
    counters, buckets = [0, 0], [0, 0, 0]
    arrived: dict[str, int] = {}
    arrived_buckets = [0, 0, 0]
    arrived_sum = 0.0
    ends: dict[str, int] = {}
    start = 10
    for now, (adds, bucket_adds, fate) in enumerate(steps, 100):
        counters = [a + b for a, b in zip(counters, adds, strict=True)]
        buckets = [a + b for a, b in zip(buckets, bucket_adds, strict=True)]
        samples = [Sample(COUNTER, {"s": s}, counters[i]) for i, s in enumerate("xy")]
        samples.append(Sample(HISTOGRAM, {}, Buckets((0.5, 1.0), tuple(buckets), sum(buckets) / 4)))
        deltas.begin()
        encoded = encode_samples(samples, start_ns=start, now_ns=now, deltas=deltas)
        taken = {"ml.c"} if fate == "counter only" else {"ml.c", "ml.h"}
        if fate == "lost":
            continue
        names = {metric.name for metric in encoded.metrics} & taken
        for metric in encoded.metrics:
            if metric.name not in names:
                continue
            for number in metric.sum.data_points:
                key = number.attributes[0].value.string_value
                arrived[key] = arrived.get(key, 0) + number.as_int
                assert ends.get(key, start) == number.start_time_unix_nano < now
                ends[key] = now
            for point in metric.histogram.data_points:
                arrived_buckets = [
                    a + b for a, b in zip(arrived_buckets, point.bucket_counts, strict=True)
                ]
                arrived_sum += point.sum
                assert point.count == sum(point.bucket_counts)
                assert ends.get("ml.h", start) == point.start_time_unix_nano < now
                ends["ml.h"] = now
        deltas.commit(series_in(encoded, names), now)
        assert [arrived.get(s, 0) for s in "xy"] == counters
        if fate == "delivered":
            assert arrived_buckets == buckets
            assert arrived_sum == sum(buckets) / 4


def _delta(deltas: Deltas, sample: Sample, now: int) -> Any:
    deltas.begin()
    encoded = encode_samples([sample], start_ns=1, now_ns=now, deltas=deltas)
    deltas.commit(series_in(encoded, {sample.metric.name}), now)
    return encoded.metrics


def test_no_change_sends_no_point_and_gauges_are_untouched() -> None:
    deltas = Deltas()
    gauge = MetricDef("ml.g", "gauge", "{row}", "", (), ())
    updown = MetricDef("ml.u", "updowncounter", "{row}", "", (), ())
    assert _delta(deltas, Sample(COUNTER, {}, 3), 2)
    assert not _delta(deltas, Sample(COUNTER, {}, 3), 3)
    for sample in (Sample(gauge, {}, 5), Sample(updown, {}, 5)):
        for now in (2, 3):
            (metric,) = _delta(deltas, sample, now)
            points = metric.gauge.data_points or metric.sum.data_points
            assert points[0].as_int == 5
    assert metric.sum.aggregation_temporality == 2


def test_a_series_that_starts_again_counts_as_a_whole() -> None:
    deltas = Deltas()
    _delta(deltas, Sample(COUNTER, {}, 10), 2)
    (metric,) = _delta(deltas, Sample(COUNTER, {}, 4), 3)
    assert metric.sum.data_points[0].as_int == 4
    assert metric.sum.aggregation_temporality == 1
    _delta(deltas, Sample(HISTOGRAM, {}, Buckets((1.0,), (5, 5))), 2)
    (metric,) = _delta(deltas, Sample(HISTOGRAM, {}, Buckets((2.0,), (5, 6))), 3)
    assert list(metric.histogram.data_points[0].bucket_counts) == [5, 6]


def test_equal_values_of_other_types_are_other_series() -> None:
    deltas = Deltas()
    for value in (1, 1.0, True):
        (metric,) = _delta(deltas, Sample(COUNTER, {"a": value}, 3), 2)
        assert metric.sum.data_points[0].as_int == 3


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_floats_add_up_and_no_rounding_looks_like_a_restart(adds: list[float]) -> None:
    deltas = Deltas()
    cumulative = arrived = 0.0
    for now, add in enumerate(adds, 2):
        cumulative += add
        for metric in _delta(deltas, Sample(COUNTER, {}, cumulative), now):
            arrived += metric.sum.data_points[0].as_double
        assert not _delta(deltas, Sample(COUNTER, {}, cumulative), now)
        assert abs(arrived - cumulative) <= 1e-14 * max(cumulative, 1.0)


def test_a_lost_difference_is_not_taken_for_delivered_later() -> None:
    deltas = Deltas()
    x, y = Sample(COUNTER, {"s": "x"}, 5), Sample(COUNTER, {"s": "y"}, 1)
    deltas.begin()
    encode_samples([x], start_ns=1, now_ns=2, deltas=deltas)
    _delta(deltas, y, 3)
    (metric,) = _delta(deltas, x, 4)
    assert metric.sum.data_points[0].as_int == 5
