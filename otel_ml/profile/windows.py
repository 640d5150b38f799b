"""Counted rows with event times in, profiles of closed time windows out.

A row belongs to the window its own event time falls into, whenever it arrives. A window is open
until the watermark (the latest event time seen) has passed its end by the grace period; what comes
later still is counted as late and left out. Times far in the future count as the latest time there
is and do not move the watermark, so that one bad clock cannot close every window.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from otel_ml.profile.profile import Layout, Profile
from otel_ml.types import FloatArray, IntArray

__all__ = ["Windows"]

_FAR: Final = 2.0**53  # window numbers beyond are clipped: they are no times


class Windows:
    """Tumbling event-time windows of profiles.

    Parameters
    ----------
    layout
        Sources and cells.
    width
        Length of a window, seconds.
    grace
        How long a window stays open after its end, seconds.
    keep
        Closed windows that are kept.
    horizon
        Event times further ahead of the caller's clock than this are clamped, seconds.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        width: float = 60.0,
        grace: float = 30.0,
        keep: int = 120,
        horizon: float = 600.0,
    ) -> None:
        self.layout = layout
        self.width = width
        self.grace = grace
        self.keep = keep
        self.horizon = horizon
        self.watermark = float("-inf")
        self.late = 0
        self.clamped = 0
        self._open: dict[int, Profile] = {}
        self._closed: dict[int, Profile] = {}

    def place(self, event_times: FloatArray, now: float) -> tuple[IntArray, IntArray]:
        """Return the window of each row, and the distinct windows.

        Parameters
        ----------
        event_times
            Seconds since the Unix epoch, shape ``(n,)``; NaN means now.
        now
            The caller's clock.

        Returns
        -------
        position
            Position of each row's window in `windows`; -1 where the row is late, or its window
            would be dropped at once. Shape ``(n,)``.
        windows
            Distinct window numbers, shape ``(w,)``.
        """
        future = event_times > now + self.horizon
        self.clamped += int(future.sum())
        times = np.where(np.isfinite(event_times), event_times, now)
        times = np.where(future, max(now, self.watermark), times)
        numbers = np.floor(np.clip(times / self.width, -_FAR, _FAR)).astype(np.int64)
        late = numbers < self._oldest_open()
        if not future.all():
            self.watermark = max(self.watermark, float(times[~future].max()))
        self.late += int(late.sum())
        if len(numbers) and numbers.min() == numbers.max():  # as most often
            windows, position = numbers[:1], np.where(late, -1, 0)
        else:
            windows, inverse = np.unique(numbers, return_inverse=True)
            position = np.where(late, -1, inverse.reshape(-1))
        # of the windows this batch closes by itself only the latest would be kept
        gone = max(int((windows < self._oldest_open()).sum()) - self.keep, 0)
        return np.where(position < gone, -1, position - gone), windows[gone:]

    def add(self, window: int, profile: Profile) -> None:
        """Add counts to an open window."""
        held = self._open.get(window)
        if held is None:
            self._open[window] = profile.copy()
        else:
            held.add(profile)

    def close(self) -> list[tuple[float, float, Profile]]:
        """Close the windows the watermark has passed; return start, end and profile of each."""
        oldest = self._oldest_open()
        done = sorted(w for w in self._open if w < oldest)
        closed = {window: self._open.pop(window) for window in done}
        self._closed |= closed
        while len(self._closed) > self.keep:
            del self._closed[min(self._closed)]
        return [(w * self.width, (w + 1) * self.width, closed[w]) for w in done]

    def recent(self, rows: int) -> Profile:
        """Return the latest windows together, open ones included, until they hold `rows` rows."""
        total = Profile(self.layout)
        windows = {**self._closed, **self._open}
        for window in sorted(windows, reverse=True):
            total.add(windows[window])
            if len(self.layout.sources) and int(total.counts.sum(axis=1).max()) >= rows:
                break
        return total

    def _oldest_open(self) -> int:
        if self.watermark == float("-inf"):
            return np.iinfo(np.int64).min
        return int(np.floor((self.watermark - self.grace) / self.width))

    def to_json(self) -> dict[str, Any]:
        """Return everything that is held as plain JSON values."""
        return {
            "watermark": None if self.watermark == float("-inf") else self.watermark,
            "late": self.late,
            "clamped": self.clamped,
            "open": {str(w): p.to_json() for w, p in self._open.items()},
            "closed": {str(w): p.to_json() for w, p in self._closed.items()},
        }

    def restore(self, data: dict[str, Any]) -> None:
        """Take up what `to_json` wrote."""
        self.watermark = float("-inf") if data["watermark"] is None else float(data["watermark"])
        self.late, self.clamped = int(data["late"]), int(data["clamped"])
        for name, held in (("open", self._open), ("closed", self._closed)):
            for window, profile in data[name].items():
                held[int(window)] = Profile.from_json(self.layout, profile)
