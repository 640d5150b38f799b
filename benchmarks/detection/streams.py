"""A case, a kind of traffic and a seed in, rows in time order out: the reference first, then more.

Rows are drawn from held-out rows with replacement. A numeric value is then moved by up to half a
percent of the ranks of its column, so that rows do not repeat exactly more than they do in the
data, and yet no law, no precision and no range changes; values that make up more than 1 % of their
column stay. Reference and production come from one continuing traffic, so under no change they have
one law in every respect, and what there is of dependence is in the reference, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.models import Case
from benchmarks.detection.ranks import Ranks

START: Final = 1_704_067_200.0  # a Monday, midnight UTC
DAY: Final = 86_400.0
_GRID: Final = 900.0  # seconds between the nodes of the cumulative rate
_SEGMENTS: Final = 5
_CLIENTS: Final = 30
_SHARED: Final = {"light": 0.3, "faint": 0.2}  # pairs of rows correlate by the square of it


@dataclass(frozen=True)
class Kind:
    """How traffic differs from independent rows.

    Parameters
    ----------
    name
        Its name in tables.
    sessions
        "", ``strong`` (all columns nearly alike), ``mild`` (60 % of them do not change within a
        session) or ``light`` or ``faint`` (every value is its session's in 30 or 20 % of the rows).
    interleaved
        Sessions that run at the same time.
    hours, weekdays
        How strongly the mix of segments follows the hour of day, or the day of week; log odds.
    bursts
        Share of rows in bursts of 20 to 80 rows of one client and one segment within a minute.
    growth
        Growth of the volume in four weeks, relative to its beginning.
    clock_column
        Whether the hour of day is itself an input.
    width
        Further columns the model does not use, jointly normal with ten factors.
    reference_days
        Days that the reference spans.
    """

    name: str = "iid"
    sessions: str = ""
    interleaved: int = 1
    hours: float = 0.0
    weekdays: float = 0.0
    bursts: float = 0.0
    growth: float = 0.0
    clock_column: bool = False
    width: int = 0
    reference_days: float = 28.0


@dataclass
class Rows:
    """Rows in the order in which they come.

    Parameters
    ----------
    columns
        Features by name.
    labels
        True classes, or values.
    times
        Seconds since the Unix epoch, never decreasing.
    clients
        Who sent each row.
    session
        Number of the session of each row; unique per row where there are none.
    scores
        What the model says.
    gone
        Row from which a column is not sent any more, by column.
    """

    columns: dict[str, NDArray[Any]]
    labels: NDArray[np.float64]
    times: NDArray[np.float64]
    clients: NDArray[Any]
    session: NDArray[np.int64]
    scores: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    gone: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.times)

    def take(self, rows: Any) -> Rows:
        """Return some of the rows, or in another order; times stay sorted."""
        return Rows(
            {k: v[rows] for k, v in self.columns.items()},
            self.labels[rows],
            np.sort(self.times[rows]),
            self.clients[rows],
            self.session[rows],
            self.scores[rows] if len(self.scores) else self.scores,
        )


class Traffic:
    """Rows of one kind, without end."""

    def __init__(self, case: Case, kind: Kind, seed: int, *, reference_rows: int = 20_000) -> None:
        self.case, self.kind = case, kind
        self.rng = np.random.default_rng([seed, 17])
        self.per_day = reference_rows / kind.reference_days
        self.spent = 0.0
        self.sessions = 0
        pool = case.table.pool
        self.size = len(case.table.pool_labels)
        self.ranks = {n: Ranks(pool[n], self.rng) for n in case.table.numeric}
        self.popularity = 1.0 / np.arange(1, _CLIENTS + 1)
        self.popularity /= self.popularity.sum()
        self.loads = self.rng.normal(size=(10, kind.width))
        self.loads /= np.sqrt((self.loads**2).sum(axis=0) + 1.0)
        self._times = np.array([START])
        self._mass = np.array([0.0])

    @cached_property
    def segments(self) -> list[NDArray[np.int64]]:
        """Pool rows by fifths of one column, which column being the seed's choice."""
        names = list(self.case.table.pool)
        name = names[int(self.rng.integers(len(names)))]
        held = self.case.table.pool[name]
        if held.dtype == object:
            held = np.unique(held.astype(str), return_inverse=True)[1]
        held = np.where(np.isfinite(held.astype(np.float64)), held.astype(np.float64), -np.inf)
        order = np.lexsort((self.rng.random(self.size), held))
        return [np.sort(part) for part in np.array_split(order, _SEGMENTS)]

    def draw(self, n: int) -> Rows:
        """Return the next rows."""
        rng, kind = self.rng, self.kind
        times = self._arrivals(n)
        starts, owner = self._sessions(n)
        base = self._rows_at(times[starts])
        clients = rng.choice(_CLIENTS, size=len(starts), p=self.popularity)
        chosen = base[owner]
        own = self._rows_at(times) if kind.sessions in {"mild", *_SHARED} else chosen
        client = clients[owner]
        if kind.bursts:
            self._burst(times, chosen, client)
            own = chosen
        columns: dict[str, NDArray[Any]] = {}
        for name, held in self.case.table.pool.items():
            source = chosen
            if kind.sessions == "mild":
                repeats = rng.random(len(starts)) < 0.6
                source = np.where(repeats[owner], chosen, own)
            elif kind.sessions in _SHARED:
                source = np.where(rng.random(n) < _SHARED[kind.sessions], chosen, own)
            ranks = self.ranks.get(name)
            columns[name] = held[source] if ranks is None else ranks.moved(held, source, rng)
        columns |= self._further(n, owner, len(starts))
        if kind.clock_column:
            columns["clock_hour"] = np.floor(times % DAY / 3600.0)
        session = self.sessions + owner
        self.sessions += len(starts)
        order = np.arange(n)
        if kind.interleaved > 1:
            order = np.argsort(order + rng.uniform(0, 27.0 * kind.interleaved, n))
        rows = Rows(
            {k: v[order] for k, v in columns.items()},
            self.case.table.pool_labels[own if kind.sessions in _SHARED else chosen][order],
            times,
            np.array([f"client-{i:02d}" for i in range(_CLIENTS)], dtype=object)[client[order]],
            session[order],
        )
        if kind.clock_column:
            rows.columns["clock_hour"] = columns["clock_hour"]
        return rows

    def of_pool(self, chosen: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return the columns of given pool rows, moved a little like all others."""
        columns: dict[str, NDArray[Any]] = {}
        for name, held in self.case.table.pool.items():
            ranks = self.ranks.get(name)
            columns[name] = held[chosen] if ranks is None else ranks.moved(held, chosen, self.rng)
        return columns

    def _arrivals(self, n: int) -> NDArray[np.float64]:
        spent = self.spent + np.cumsum(self.rng.exponential(size=n))
        self.spent = float(spent[-1])
        while self._mass[-1] < self.spent + 1:
            t = self._times[-1] + _GRID * np.arange(1, 3001)
            age = (t - START) / DAY
            rate = self.per_day * (1 + self.kind.growth * age / 28.0)
            if self.kind.hours:
                rate = rate * (1 + 0.6 * np.sin(2 * np.pi * (age % 1.0 - 0.3)))
            if self.kind.weekdays:
                rate = rate * np.where(age % 7.0 >= 5.0, 0.6, 1.16)
            self._mass = np.append(self._mass, self._mass[-1] + np.cumsum(rate * _GRID / DAY))
            self._times = np.append(self._times, t)
        return np.asarray(np.interp(spent, self._mass, self._times))

    def _sessions(self, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if not self.kind.sessions:
            return np.arange(n), np.arange(n)
        lengths = self.rng.integers(5, 51, size=n // 5 + 1)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        starts = starts[starts < n]
        owner = np.searchsorted(starts, np.arange(n), side="right") - 1
        return starts, owner

    def _rows_at(self, times: NDArray[np.float64]) -> NDArray[np.int64]:
        rng, kind = self.rng, self.kind
        if not (kind.hours or kind.weekdays):
            return rng.integers(self.size, size=len(times))
        age = (times - START) / DAY
        phase = np.arange(_SEGMENTS) / _SEGMENTS
        odds = kind.hours * np.sin(2 * np.pi * (age[:, None] - phase))
        # a law of its own for every day of the week, not a wave
        days = np.sin(np.outer(np.arange(7) + 1.0, np.arange(_SEGMENTS) + 1.7) ** 2)
        odds += kind.weekdays * days[(age % 7.0).astype(np.int64)]
        weight = np.exp(odds).cumsum(axis=1)
        pick = (rng.random(len(times))[:, None] * weight[:, -1:] > weight).sum(axis=1)
        out = np.empty(len(times), dtype=np.int64)
        for s, members in enumerate(self.segments):
            here = np.flatnonzero(pick == s)
            out[here] = members[rng.integers(len(members), size=len(here))]
        return out

    def _burst(
        self, times: NDArray[np.float64], chosen: NDArray[np.int64], client: NDArray[np.int64]
    ) -> None:
        rng, n = self.rng, len(times)
        for first in np.flatnonzero(rng.random(n) < self.kind.bursts / 50.0).tolist():
            stop = min(first + int(rng.integers(20, 81)), n)
            members = self.segments[int(rng.integers(_SEGMENTS))]
            chosen[first:stop] = members[rng.integers(len(members), size=stop - first)]
            client[first:stop] = rng.choice(_CLIENTS, p=self.popularity)
            last = times[stop] if stop < n else times[-1]
            until = min(times[first] + 60.0, last)
            times[first:stop] = np.sort(rng.uniform(times[first], until, stop - first))

    def _further(self, n: int, owner: NDArray[np.int64], sessions: int) -> dict[str, Any]:
        width, rng, kind = self.kind.width, self.rng, self.kind.sessions
        if not width:
            return {}
        count = sessions if kind == "strong" else n
        values = rng.normal(size=(count, 10)) @ self.loads
        noise = np.sqrt(np.maximum(1 - (self.loads**2).sum(axis=0), 0))
        values += noise * rng.normal(size=values.shape)
        if kind == "strong":
            values = values[owner]
        elif kind == "mild":
            first = np.searchsorted(owner, np.arange(sessions))
            repeats = rng.random((sessions, width)) < 0.6
            values = np.where(repeats[owner], values[first][owner], values)
        elif kind in _SHARED:
            first = np.searchsorted(owner, np.arange(sessions))
            repeats = rng.random(values.shape) < _SHARED[kind]
            values = np.where(repeats, values[first][owner], values)
        return {f"further{j:04d}": values[:, j] for j in range(width)}


KINDS: Final = {
    k.name: k
    for k in (
        Kind("iid"),
        Kind("hours", hours=1.0),
        Kind("weekdays", weekdays=0.8),
        Kind("strong sessions", sessions="strong"),
        Kind("mild sessions", sessions="mild"),
        Kind("light sessions", sessions="light"),
        Kind("faint sessions", sessions="faint"),
        Kind("bursts", bursts=0.1),
        Kind("growth", growth=1.0, hours=0.3),
    )
}


def variant(kind: Kind, name: str, **changes: Any) -> Kind:
    """Return a kind of another name with some settings changed."""
    return replace(kind, name=name, **changes)
