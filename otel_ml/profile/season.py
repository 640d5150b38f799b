"""Cell codes and their times in, the laws of hours and weekdays that were seen to repeat out.

A pattern is claimed only where other days (other weeks) show it again, by more than days differ
from each other anyway: rows of one hour come in sessions and resemble each other, so a test on
pooled rows finds an hour of day in any traffic.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.profile.cells import Cells, NumericCells
from otel_ml.profile.profile import Layout
from otel_ml.stats.repeats import ordered_scores, repeat_score, seasonal_law
from otel_ml.types import FloatArray, IntArray

__all__ = ["Season", "slots"]

_HOUR: Final = 3600
_DAY: Final = 86_400
_LAST: Final = 1e15  # seconds from 1970 that can still be counted in hours
_CLEAR: Final = 5.6  # normal deviate of one in 1e8: a model has many sources
_CLEAR_OF_TWO: Final = 8.4
_FEW_DAYS: Final = 4  # counted from the first hour on, the last one in part
_MANY: Final = 0.2  # share of the sources
_LIKELY: Final = 3.5
_LIMIT: Final = 5.0  # no cell is ever 150 times more or less frequent than overall
_FEW: Final = 48  # rows of a cell from which nothing is said about its hours
_DECIMALS: Final = 3
_REPLICATES: Final = 56  # compared with each other, at most
_FOLDS: Final = 14  # days or weeks left out together, at most


def slots(times: FloatArray) -> IntArray:
    """Return the slot of the week of each row.

    Parameters
    ----------
    times
        Seconds since the Unix epoch, shape ``(n,)``.

    Returns
    -------
    IntArray
        UTC hour of day + 24 × weekday (Monday = 0), shape ``(n,)``; -1 where the time is not
        finite, or beyond any calendar.
    """
    known = np.abs(times) <= _LAST
    hours = np.floor(np.where(known, times, 0.0) / _HOUR).astype(np.int64)
    day, hour = np.divmod(hours, 24)
    return np.where(known, hour + 24 * ((day + 3) % 7), -1)  # 1 January 1970 was a Thursday


@dataclass(frozen=True, eq=False)
class Season:
    """Log effects of hour and weekday on the cells of some sources.

    Parameters
    ----------
    hours
        By source, shape ``(24, cells)``: log of the law of that UTC hour over the overall law.
    weekdays
        By source, shape ``(7, cells)``, Monday first, on top of the hours.
    """

    hours: Mapping[str, FloatArray] = field(default_factory=dict)
    weekdays: Mapping[str, FloatArray] = field(default_factory=dict)

    @property
    def claimed(self) -> frozenset[str]:
        """Sources of which a season is claimed."""
        return frozenset(self.hours) | frozenset(self.weekdays)

    def effect(self, source: str, hour: int, weekday: int) -> FloatArray | None:
        """Return the log effect on each cell at an hour (0-23) of a weekday (Monday = 0).

        Returns
        -------
        FloatArray or None
            Shape ``(cells,)``; None where no season is claimed.
        """
        by_hour, by_day = self.hours.get(source), self.weekdays.get(source)
        if by_hour is None:
            return None if by_day is None else by_day[weekday]
        return by_hour[hour] if by_day is None else np.asarray(by_hour[hour] + by_day[weekday])

    def laws(self, source: str, law: FloatArray) -> FloatArray:
        """Return the law of every slot of the week.

        Parameters
        ----------
        source
            Its name.
        law
            Overall law of its cells, shape ``(cells,)``.

        Returns
        -------
        FloatArray
            Shape ``(168, cells)``, in the order of `slots`.
        """
        logs = np.zeros((7, 24, len(law)))
        if source in self.hours:
            logs += self.hours[source]
        if source in self.weekdays:
            logs += self.weekdays[source][:, None, :]
        weighted = law * np.exp(logs)
        total = np.maximum(weighted.sum(axis=-1, keepdims=True), 1e-300)
        return np.asarray((weighted / total).reshape(168, -1))

    @classmethod
    def build(cls, layout: Layout, codes: NDArray[np.int16], times: FloatArray | None) -> Season:
        """Find the sources whose law depends on the hour or the weekday.

        Parameters
        ----------
        layout
            Sources and cells.
        codes
            Cell of each row and source, shape ``(n, S)``; -1 where nothing is known.
        times
            Seconds since the Unix epoch, shape ``(n,)``, or None. Rows of unknown time are left
            out.

        Returns
        -------
        Season
            Empty without times, with less than two days, and where nothing repeats. Hours need
            two days and are clear from three or four; weekdays need two weeks.
        """
        if times is None:
            return cls()
        known = np.isfinite(times)
        slot, codes = slots(times)[known], codes[known]
        hours = np.floor(times[known] / _HOUR).astype(np.int64)
        if not len(hours) or hours.max() - hours.min() < 24:
            return cls()
        # replicates begin with the first row, not at midnight, so that none is cut without need
        hour = _Grid.of((hours - hours.min()) // 24, slot % 24, 24)
        weeks = (hours - hours.min()) // (7 * 24)
        day = _Grid.of(weeks, slot // 24, 7) if weeks.max() >= 1 else None
        by_hour = _claims(layout, [_Pattern.of(hour, *each) for each in _each(codes, layout)])
        if day is None:
            return cls(by_hour)
        patterns = []
        for column, cells in _each(codes, layout):
            laws = None
            if cells.name in by_hour:
                laws = cls(by_hour).laws(cells.name, _law(column, cells.size))[:24]
            patterns.append(_Pattern.of(day, column, cells, slot % 24, laws))
        return cls(by_hour, _claims(layout, patterns))

    def to_json(self) -> dict[str, Any]:
        """Return the effects as plain JSON values; nothing is lost."""
        return {
            name: {source: table.tolist() for source, table in sorted(tables.items())}
            for name, tables in (("hours", self.hours), ("weekdays", self.weekdays))
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Season:
        """Return the season that `to_json` wrote."""
        hours, weekdays = (
            {str(k): np.array(v, dtype=np.float64) for k, v in data[name].items()}
            for name in ("hours", "weekdays")
        )
        return cls(hours, weekdays)


@dataclass(frozen=True)
class _Grid:
    """Rows by replicate (day, week) and phase (hour, weekday)."""

    place: IntArray
    replicates: int
    phases: int

    @classmethod
    def of(cls, replicate: IntArray, phase: IntArray, phases: int) -> _Grid:
        # gaps take no room; of long references neighbours are taken together
        present, dense = np.unique(replicate, return_inverse=True)
        kept = min(len(present), _REPLICATES)
        return cls(dense * kept // len(present) * phases + phase, kept, phases)

    def counts(self, column: IntArray, size: int) -> FloatArray:
        """Rows by replicate, phase and cell."""
        said = column >= 0
        flat = self.place[said] * size + column[said]
        length = self.replicates * self.phases * size
        table = np.bincount(flat, minlength=length).astype(np.float64)
        return table.reshape(self.replicates, self.phases, size)

    def expected(self, column: IntArray, hour: IntArray, laws: FloatArray) -> FloatArray:
        """Rows to be expected from laws by hour, same shape as `counts`."""
        said = column >= 0
        flat = self.place[said] * 24 + hour[said]
        length = self.replicates * self.phases * 24
        volume = np.bincount(flat, minlength=length).reshape(-1, 24)
        return np.asarray((volume @ laws).reshape(self.replicates, self.phases, -1))


@dataclass(frozen=True)
class _Pattern:
    """Rows of a source, and those expected without the pattern, (replicates, phases, cells)."""

    counts: FloatArray
    expected: FloatArray

    @classmethod
    def of(
        cls,
        grid: _Grid,
        column: IntArray,
        cells: Cells,
        hour: IntArray | None = None,
        laws: FloatArray | None = None,
    ) -> _Pattern:
        counts = grid.counts(column, cells.size)
        if laws is not None and hour is not None:
            return cls(counts, grid.expected(column, hour, laws))
        return cls(counts, counts.sum(axis=2, keepdims=True) * _law(column, cells.size))

    def clear(self, cells: Cells) -> float:
        """How clearly it repeats, as a normal deviate."""
        total = self.counts.sum(axis=(0, 1))
        if total.max(initial=0.0) == total.sum():
            return -np.inf
        ordered = isinstance(cells, NumericCells)
        scores = ordered_scores(total, cells.valid) if ordered else None
        return repeat_score(self.counts, self.expected, scores, smooth=self.smooth)

    @property
    def smooth(self) -> bool:
        """Whether neighbouring phases resemble each other: hours do."""
        return bool(self.counts.shape[1] == 24)

    def effects(self) -> FloatArray | None:
        """Log effects of the phases, shape ``(phases, cells)``; None where none predicts."""
        folds = min(len(self.counts), _FOLDS)
        starts = np.flatnonzero(
            np.diff(np.arange(len(self.counts)) * folds // len(self.counts), prepend=-1)
        )
        learned = seasonal_law(
            np.add.reduceat(self.counts, starts),
            np.add.reduceat(self.expected, starts),
            smooth=self.smooth,
        )
        if learned is None:
            return None
        learned[:, self.counts.sum(axis=(0, 1)) < _FEW] = 0.0
        effects = learned.clip(-_LIMIT, _LIMIT).round(_DECIMALS)
        return effects if effects.any() else None


def _each(codes: NDArray[np.int16], layout: Layout) -> Iterator[tuple[IntArray, Cells]]:
    for i, cells in enumerate(layout.sources):
        yield codes[:, i].astype(np.int64), cells


def _law(column: IntArray, size: int) -> FloatArray:
    counts = np.bincount(column[column >= 0], minlength=size)
    return np.asarray(counts / max(int(counts.sum()), 1))


def _claims(layout: Layout, patterns: list[_Pattern]) -> dict[str, FloatArray]:
    """Effects of the sources whose pattern is clear, by name."""
    deviates = np.array(
        [pattern.clear(cells) for pattern, cells in zip(patterns, layout.sources, strict=True)]
    )
    few = bool(patterns) and patterns[0].smooth and len(patterns[0].counts) < _FEW_DAYS
    # two days can agree by a single burst in each
    limit = _CLEAR_OF_TWO if few else _CLEAR
    clear = deviates > limit
    if clear.sum() >= max(2.0, _MANY * len(clear)):
        clear = deviates > _LIKELY  # a season of so many sources is one of the traffic
    claimed = {}
    for i in np.flatnonzero(clear):
        found = patterns[i].effects()
        if found is not None:
            claimed[layout.sources[i].name] = found
    return claimed
