"""Cumulative values in, differences to what was delivered out; exact per attribute set.

A difference counts as delivered when `Deltas.commit` is called, so what a failed export carried
is part of the next one.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeAlias

from otel_ml.emit.values import plain
from otel_ml.types import Buckets, Sample

__all__ = ["Deltas", "Series", "series_of"]

Series: TypeAlias = tuple[str, tuple[tuple[str, str, object], ...]]


class Deltas:
    """What one receiver was given so far.

    State is one number, or one set of buckets, and a time per series that was ever delivered.
    """

    def __init__(self) -> None:
        self._numbers: dict[Series, int | float] = {}
        self._buckets: dict[Series, Buckets] = {}
        self._new_numbers: dict[Series, int | float] = {}
        self._new_buckets: dict[Series, Buckets] = {}
        self._delivered_ns: dict[Series, int] = {}

    def begin(self) -> None:
        """Forget the differences of an export that was not delivered."""
        self._new_numbers = {}
        self._new_buckets = {}

    def commit(self, delivered: Collection[Series], now_ns: int) -> None:
        """Note that differences handed out since `begin` were delivered.

        Parameters
        ----------
        delivered
            Series that arrived; the others' differences stay due.
        now_ns
            Time of the samples, nanoseconds since the epoch.
        """
        for series in delivered:
            if series in self._new_numbers:
                self._numbers[series] = self._new_numbers[series]
            if series in self._new_buckets:
                self._buckets[series] = self._new_buckets[series]
            self._delivered_ns[series] = now_ns
        self.begin()

    def number(
        self, sample: Sample, value: int | float, start_ns: int
    ) -> tuple[int | float, int] | None:
        """Return the difference of a counter and the start of its interval; None for no change.

        A value below the delivered one is a counter that started again, and counts as a whole.
        """
        series = series_of(sample)
        delivered = self._numbers.get(series, 0)
        if value < delivered:
            delivered = 0
        difference = value - delivered
        if not difference:
            return None
        self._new_numbers[series] = value
        return difference, self._start(series, start_ns)

    def buckets(self, sample: Sample, value: Buckets, start_ns: int) -> tuple[Buckets, int] | None:
        """Return the difference of a histogram and the start of its interval; None for no change.

        Other bounds, or a count below the delivered one, are a histogram that started again.
        """
        series = series_of(sample)
        delivered = self._buckets.get(series)
        if (
            delivered is None
            or delivered.bounds != value.bounds
            or (delivered.sum is None) != (value.sum is None)
            or any(new < old for new, old in zip(value.counts, delivered.counts, strict=True))
        ):
            zero = None if value.sum is None else 0.0
            delivered = Buckets(value.bounds, (0,) * len(value.counts), zero)
        counts = tuple(new - old for new, old in zip(value.counts, delivered.counts, strict=True))
        if not any(counts):
            return None
        total = None
        if value.sum is not None and delivered.sum is not None:
            total = value.sum - delivered.sum
        self._new_buckets[series] = value
        return Buckets(value.bounds, counts, total), self._start(series, start_ns)

    def _start(self, series: Series, start_ns: int) -> int:
        return max(self._delivered_ns.get(series, 0), start_ns)


def series_of(sample: Sample) -> Series:
    """Return the key of a sample's series."""
    # The type is part of the key: True, 1 and 1.0 are equal in Python and different in OTLP.
    exact = ((key, plain(value)) for key, value in sample.attributes.items())
    parts = sorted((key, type(value).__name__, value) for key, value in exact)
    return sample.metric.name, tuple(parts)
