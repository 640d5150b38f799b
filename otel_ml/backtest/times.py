"""A column of timestamps in, seconds since the Unix epoch and the time it is in the data out."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.profile.values import numeric_values
from otel_ml.types import FloatArray

__all__ = ["NOMINAL_EPOCH", "EventClock", "Timestamps", "iso"]

NOMINAL_EPOCH: Final = 946_684_800.0
"""1 January 2000, from which rows without times are counted at one a second."""
_DAY: Final = 86_400.0
_UNITS: Final = (
    (1e17, 1e9, "nanoseconds"),
    (1e14, 1e6, "microseconds"),
    (1e11, 1e3, "milliseconds"),
)
_AHEAD: Final = 7 * _DAY  # further ahead of its neighbours a time is a mistake, not a clock


class Timestamps:
    """Reads the timestamps of one column; the unit of numbers is told by the first of them."""

    def __init__(self) -> None:
        self.unit = ""
        self.unread = 0
        self._scale = 0.0

    def seconds(self, column: NDArray[Any]) -> FloatArray:
        """Return seconds since the Unix epoch, shape ``(n,)``; NaN where there is no time.

        Parameters
        ----------
        column
            Times, ISO 8601 texts, or seconds to nanoseconds since the Unix epoch, shape ``(n,)``;
            what has no time zone is UTC.
        """
        if column.dtype.kind in "mM":
            return numeric_values(column)[0]
        if column.dtype.kind in "fiu":
            values = self._scaled(numeric_values(column)[0])
        else:
            values = self._texts(column)
        missing = ~np.isfinite(values)
        self.unread += int(missing.sum())
        values[missing] = np.nan
        return values

    def _scaled(self, values: FloatArray) -> FloatArray:
        if not self._scale:
            known = np.abs(values[np.isfinite(values)])
            if not len(known):
                return values
            middle = float(np.median(known))
            self._scale, self.unit = next(
                ((scale, unit) for least, scale, unit in _UNITS if middle >= least),
                (1.0, "seconds"),
            )
        return values / self._scale

    def _texts(self, column: NDArray[Any]) -> FloatArray:
        items = column.tolist()
        numbers, text = numeric_values(column)
        if not text.any() and np.isfinite(numbers).any():
            return self._scaled(numbers)
        try:
            plain = [item.removesuffix("Z") for item in items]
            if not any("+" in item for item in plain):  # numpy warns of time zones
                return numeric_values(np.array(plain, dtype="datetime64[us]"))[0]
        except (AttributeError, ValueError):
            pass  # not all of them are texts of the one form that is read at once
        return np.array([_moment(item) for item in items], dtype=np.float64)


class EventClock:
    """A clock that shows the time in the data: a `Clock` that stands until it is set."""

    def __init__(self, start: float = NOMINAL_EPOCH) -> None:
        self._now = start
        self.set = False

    def time(self) -> float:
        """Return seconds since the Unix epoch."""
        return self._now

    def monotonic(self) -> float:
        """Return the same: it never goes backwards."""
        return self._now

    def advance(self, times: FloatArray) -> int:
        """Go on to the latest of some times; tell how many came out of order.

        Parameters
        ----------
        times
            Seconds since the Unix epoch, NaN where unknown, shape ``(n,)``. What is more than a
            week ahead of most others does not move the clock.
        """
        known = times[np.isfinite(times)]
        if not len(known):
            return 0
        sane = known[known <= np.median(known) + _AHEAD]
        before = np.concatenate([[self._now if self.set else -np.inf], sane])
        late = int(np.sum(sane < np.maximum.accumulate(before)[:-1]))
        latest = float(sane.max())
        self._now = max(self._now, latest) if self.set else latest
        self.set = True
        return late


def iso(seconds: float) -> str:
    """Return a time as ISO 8601 in UTC; the empty text where it is none."""
    if not np.isfinite(seconds):
        return ""
    try:
        moment = dt.datetime.fromtimestamp(seconds, dt.timezone.utc)
    except (OverflowError, OSError, ValueError):  # beyond the years 1 to 9999
        return ""
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _moment(item: Any) -> float:
    if isinstance(item, dt.datetime):
        aware = item if item.tzinfo is not None else item.replace(tzinfo=dt.timezone.utc)
        return aware.timestamp()
    if isinstance(item, dt.date):
        return (item - dt.date(1970, 1, 1)).days * _DAY
    if not isinstance(item, str):
        return float("nan")
    text = item.strip().replace("/", "-")
    if text.endswith(("Z", "z")):
        text = f"{text[:-1]}+00:00"
    try:
        return _moment(dt.datetime.fromisoformat(text))
    except ValueError:
        return float("nan")
