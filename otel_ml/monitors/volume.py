"""Do as many rows come as at this time of other days? Arrivals in, usual or unusual intervals out.

Nothing is stated by anybody: what is usual is the range of the same hour and its neighbours on
earlier days of the same kind (the same weekday, once one is known), and for the upper end the range
of all hours. An interval is low below two fifths of the smallest of that range, about a quarter of
what is typical, and X

Intervals are one minute to one hour long: the shortest whose smallest usual count is 16 rows and
not far from the mean, so that chance alone never looks like an outage. Where even an hour brings
fewer, low is not asked.

Time is that of arrival. Silence calls nobody, so `advance` must be called by the clock as well.
What passed while nobody was there (a restart) is not known, and is not taken for silence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from otel_ml.monitors.evidence import joined, rate_bets
from otel_ml.types import IntArray, Stream

__all__ = ["VOLUME", "VOLUME_CELLS", "VOLUME_SOURCE", "Interval", "Volume", "volume"]

VOLUME: Final = "volume"
VOLUME_SOURCE: Final = "intervals:volume"
VOLUME_CELLS: Final = ("usual", "low", "high")
_MINUTES: Final = (1, 5, 15, 60)  # lengths of intervals; each divides the next
_WORTH: Final = (1, 1, 2, 2)  # a quarter of an hour says more than a minute that follows another
_HOUR: Final = 3600.0
_DAYS: Final = 14  # looked back upon
_RING: Final = (_DAYS + 1) * 24  # hours remembered: one day more, for the neighbours of an hour
_RESTARTED: Final = 1  # minutes a process may be away without anything being unknown
_KNOWN_DAYS: Final = 3
# of the ends of the range, which chance puts well beyond what is typical
_LOW_FACTOR: Final = 2.5
_HIGH_FACTOR: Final = 3.0
_WIDE_FACTOR: Final = 20.0  # while fewer days are known
_KNOWN_BURSTS: Final = 7  # days in which most of what comes in bursts has come
_BURST_FACTOR: Final = 6.0  # until then
_LEAST: Final = 16  # rows of the smallest usual interval
_EVEN: Final = 0.4  # of the mean: intervals whose smallest is less are too short for such traffic
_EXTRA: Final = 16  # rows above the range that are never a surge
_LONGEST: Final = 96  # hours of silence that are followed; after more of them nothing is known
_UNUSUAL: Final = 0.002
_TOLERATED: Final = 0.05
_RATES: Final = (0.3, 0.95)
_DESIGN: Final = 2.0


class Interval(NamedTuple):
    """A completed interval.

    Parameters
    ----------
    cell
        Position in `VOLUME_CELLS`.
    worth
        How many times it counts.
    rows
        Rows that came.
    low, high
        Range of the usual rows of such an interval, before the factors.
    """

    cell: int
    worth: int
    rows: int
    low: float
    high: float


class _Usual(NamedTuple):
    """The length of intervals to look at in an hour, their usual range, and factors on it."""

    length: int
    low: float
    high: float
    low_factor: float
    high_factor: float


def volume() -> Stream:
    """Return the stream that asks whether intervals with too few or too many rows are frequent."""
    law = np.array([1 - 2 * _UNUSUAL, _UNUSUAL, _UNUSUAL])
    kinds = np.arange(len(law))
    bets = joined([rate_bets(law, kinds == k, _TOLERATED, _RATES) for k in (1, 2)], len(law))
    return Stream(
        VOLUME,
        "latency",
        VOLUME,
        VOLUME_SOURCE,
        "intervals",
        law,
        *bets,
        np.full(len(bets.scores), 1 / len(bets.scores)),
        VOLUME_CELLS,
        yes=kinds > 0,
        design=_DESIGN,
    )


class Volume:
    """Rows by hour of the latest two weeks, and what is usual at this hour."""

    def __init__(self) -> None:
        # by hour and length of interval: smallest, largest and mean count; -1 where not known
        self._range = np.full((_RING, len(_MINUTES), 3), -1, dtype=np.int64)
        self._minutes = np.zeros(60, dtype=np.int64)
        self._hour = -1  # the current one, since the Unix epoch
        self._done = 0  # minutes of it that are over
        self._from = 0  # first minute of it that is known
        self._usual: _Usual | None = None
        self._restored = False

    def add(self, rows: int, now: float) -> list[Interval]:
        """Take rows that arrived.

        Parameters
        ----------
        rows
            How many.
        now
            Seconds since the Unix epoch.

        Returns
        -------
        list of Interval
            Those that are over by then, as for `advance`.
        """
        out = self.advance(now)
        # a clock that was set back a little adds to the minute that runs
        self._minutes[self._done] += rows
        return out

    def advance(self, now: float) -> list[Interval]:
        """Complete the intervals that are over.

        Parameters
        ----------
        now
            Seconds since the Unix epoch.

        Returns
        -------
        list of Interval
            Those that were asked about; at most those of four days.
        """
        hour, minute = int(now // _HOUR), int(now % _HOUR // 60)
        away = 60 * (hour - self._hour) + minute - self._done
        was_away = self._restored and not 0 <= away <= _RESTARTED
        self._restored = False
        if self._hour < 0 or was_away or not -1 <= hour - self._hour <= _LONGEST:
            self._resume(hour, minute)
            return []
        out: list[Interval] = []
        while self._hour < hour:
            out += self._until(60)
            self._close()
        if self._hour == hour:
            out += self._until(minute)
        return out

    def _resume(self, hour: int, minute: int) -> None:
        """Go on at a minute, knowing nothing of what lies between."""
        if self._hour >= 0 and hour > self._hour:
            past = np.arange(self._hour, min(hour, self._hour + _RING)) % _RING
            self._range[past] = -1
        elif hour < self._hour:
            self._range[:] = -1  # another clock
        self._hour, self._done, self._from = hour, minute, minute + 1
        self._minutes[:] = 0
        self._usual = self._expected(hour)

    def _until(self, minute: int) -> list[Interval]:
        """Complete the intervals of the current hour that end by a minute of it."""
        out = []
        while self._done < minute:
            self._done += 1
            if self._usual is None:
                continue
            usual = self._usual
            length = _MINUTES[usual.length]
            start = self._done - length
            if self._done % length or start < self._from:
                continue
            rows = int(self._minutes[start : self._done].sum())
            cell = 0
            if usual.low >= _LEAST and rows < usual.low / usual.low_factor:
                cell = 1
            elif rows > usual.high * usual.high_factor + _EXTRA:
                cell = 2
            out.append(Interval(cell, _WORTH[usual.length], rows, usual.low, usual.high))
        return out

    def _close(self) -> None:
        """Remember the current hour and begin the next."""
        slot = self._hour % _RING
        self._range[slot] = -1
        if self._from == 0:
            for k, length in enumerate(_MINUTES):
                counts = self._minutes.reshape(-1, length).sum(axis=1)
                self._range[slot, k] = counts.min(), counts.max(), counts.sum() // len(counts)
        self._hour += 1
        self._done = self._from = 0
        self._minutes[:] = 0
        self._usual = self._expected(self._hour)

    def _expected(self, hour: int) -> _Usual | None:
        """Return what is usual in an hour, None where no earlier day is known."""
        days = [d for d in range(1, _DAYS + 1) if len(self._near(hour - 24 * d))]
        if not days:
            return None
        # what came within the last day may be the surge itself
        earlier = self._range[(hour - np.arange(24, _RING, dtype=np.int64)) % _RING]
        high = earlier[:, :, 1].max(axis=0)
        low, mean = self._lows(hour, days)
        enough = np.flatnonzero((low >= _LEAST) & (low >= _EVEN * mean))
        k = int(enough[0]) if len(enough) else len(_MINUTES) - 1
        factors = (_LOW_FACTOR, _HIGH_FACTOR if len(days) >= _KNOWN_BURSTS else _BURST_FACTOR)
        if len(days) < _KNOWN_DAYS:
            factors = (_WIDE_FACTOR, _WIDE_FACTOR)
        return _Usual(k, float(low[k]), float(high[k]), *factors)

    def _lows(self, hour: int, days: list[int]) -> tuple[IntArray, IntArray]:
        """Return the smallest and the mean usual count by length of interval, 0 if unknown."""
        alike = [d for d in days if d % 7 == 0]
        if not alike:
            weekend = _is_weekend(hour)
            alike = [d for d in days if _is_weekend(hour - 24 * d) == weekend]
        if not alike:
            unknown = np.zeros(len(_MINUTES), dtype=np.int64)
            return unknown, unknown
        found = np.concatenate([self._near(hour - 24 * d) for d in alike])
        return found[:, :, 0].min(axis=0), found[:, :, 2].min(axis=0)

    def _near(self, hour: int) -> IntArray:
        """Return what is known of an hour and its neighbours, shape ``(≤ 3, lengths, 3)``.

        Empty unless the hour itself is known.
        """
        slots = (hour + np.array([0, -1, 1])) % _RING
        held: IntArray = self._range[slots]
        return held[held[:, 0, 0] >= 0] if held[0, 0, 0] >= 0 else held[:0]

    def to_json(self) -> dict[str, Any]:
        """Return what is remembered as plain JSON values."""
        return {
            "range": self._range.reshape(-1).tolist(),
            "minutes": self._minutes.tolist(),
            "hour": self._hour,
            "done": self._done,
            "from": self._from,
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take up what `to_json` wrote; the time since then is not known.

        Raises
        ------
        ValueError
            If it has another shape.
        """
        self._range = np.array(data["range"], dtype=np.int64).reshape(self._range.shape)
        self._minutes = np.array(data["minutes"], dtype=np.int64).reshape(self._minutes.shape)
        self._hour, self._done = int(data["hour"]), int(data["done"])
        self._from = int(data["from"])
        self._usual = None if self._hour < 0 else self._expected(self._hour)
        self._restored = True


def _is_weekend(hour: int) -> bool:
    """Tell whether an hour since the Unix epoch, a Thursday, is on a Saturday or Sunday (UTC)."""
    return math.floor(hour / 24 + 4) % 7 in (0, 6)
