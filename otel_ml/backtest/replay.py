"""Historical rows in, what the engine would have said about them out: one pass, constant memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.backtest.feed import Feed
from otel_ml.backtest.late import LateLabels
from otel_ml.backtest.realised import Realised
from otel_ml.backtest.roles import Roles
from otel_ml.backtest.runner import Runner
from otel_ml.backtest.settings import Allowance, Settings, compared
from otel_ml.backtest.times import NOMINAL_EPOCH, EventClock, Timestamps
from otel_ml.backtest.trace import DriftWindows, RowTimes
from otel_ml.budget import Budget
from otel_ml.engine import Engine
from otel_ml.profile import PREDICTION, SCORE, Reference
from otel_ml.profile.columns import Columns
from otel_ml.profile.values import category_key, category_keys, numeric_values
from otel_ml.types import Batch, FloatArray, ModelKey

__all__ = ["Progress", "Replay"]

COMPARE_BELOW: Final = 1_000_000
_FIRST_BATCH: Final = 250
_LARGEST_BATCH: Final = 5000
_LABELLED_BATCH: Final = 500  # labels come between batches, so these must not be long
_WAITING: Final = (50_000, 2_000_000)
_DAY: Final = 86_400.0
_VERSIONS: Final = 50
_SAMPLED: Final = 100_000
Progress = Callable[[int, int, int], None]


class Replay:
    """One pass over the data.

    Parameters
    ----------
    feed
        The data.
    reference
        What they are compared with; None: the first rows become it.
    roles
        What the columns are; those whose column the data do not have are left out.
    settings
        What is asked for.
    model
        Name and version.
    """

    def __init__(
        self,
        feed: Feed,
        reference: Reference | None,
        roles: Roles,
        settings: Settings,
        model: ModelKey,
    ) -> None:
        self.feed = feed
        self.roles = roles
        self.settings = settings
        self.clock = EventClock()
        self.timestamps = Timestamps()
        self.times = RowTimes()
        self.late = LateLabels(settings.label_delay)
        self.late_rows = 0
        self.rows = 0
        self.versions: dict[str, int] = {}
        self.reserved: set[str] = set()
        self.span = self._span() if roles.timestamp is not None else None
        self.rows_per_day = self._rows_per_day()
        others = compared(settings, feed.rows, COMPARE_BELOW)
        self.runners = [
            Runner(self._engine(reference, allowance, model), allowance)
            for allowance in (settings.budget, *others)
        ]
        self.realised: Realised | None = None
        self.drift: DriftWindows | None = None

    @property
    def reference(self) -> Reference | None:
        """What the data were compared with; None where there were too few to learn from."""
        return self.runners[0].engine.reference

    @property
    def timed(self) -> bool:
        """Whether rows have times of their own."""
        return self.span is not None

    def run(self, progress: Progress | None = None) -> None:
        """Take all rows.

        Parameters
        ----------
        progress
            Called with rows done, rows in all and open incidents.
        """
        for table in self.feed.batches(self._wanted):
            self._take(table)
            if progress is not None:
                progress(self.rows, self.feed.rows, len(self.runners[0].engine.incidents))

    def _engine(self, reference: Reference | None, allowance: Allowance, model: ModelKey) -> Engine:
        settings, roles = self.settings, self.roles
        options: dict[str, Any] = {}
        if settings.min_effect is not None:
            options["min_effect"] = settings.min_effect
        if settings.learn_rows is not None:
            options["learn_rows"] = settings.learn_rows
        if reference is None:
            options["learn"] = {
                "categorical": roles.categorical,
                "sensitive": roles.groups,
                "task": roles.task,
                "positive": roles.positive,
                "threshold": roles.threshold,
            }
        return Engine(
            reference,
            budget=Budget(allowance.count, allowance.per, self.rows_per_day),
            clock=self.clock,
            label_capacity=self._capacity(),
            model=model,
            **options,
        )

    def _capacity(self) -> int:
        """Return how many predictions may have to wait for their labels."""
        delay = self.settings.label_delay
        rows = delay.rows or 0
        if delay.seconds:
            rows = int(delay.seconds / _DAY * self.rows_per_day)
        return min(max(2 * rows, _WAITING[0]), _WAITING[1])

    def _span(self) -> tuple[float, float] | None:
        """Return the first and last time of the data; None where none can be read."""
        timestamps, sampled, seen = Timestamps(), [np.empty(0)], 0
        every = max(self.feed.rows // _SAMPLED, 1)
        assert self.roles.timestamp is not None
        for column in self.feed.column(self.roles.timestamp):
            sampled.append(timestamps.seconds(column[-seen % every :: every]))
            seen += len(column)
        times = np.concatenate(sampled)
        known = times[np.isfinite(times)]
        if not len(known):
            return None
        # a few mistakes at the ends must not make a century
        low, high = np.quantile(known, (0.001, 0.999))
        return float(low), float(high)

    def _rows_per_day(self) -> float:
        if self.span is None:
            return _DAY
        days = max((self.span[1] - self.span[0]) / _DAY, 1 / 24)
        return max(self.feed.rows / days, 1.0)

    def _wanted(self) -> int:
        size = max(self.rows // 40 // 50 * 50, _FIRST_BATCH)
        most = _LARGEST_BATCH if self.roles.label is None else _LABELLED_BATCH
        return min(size, most)

    def _take(self, table: Columns) -> None:
        n = table.n
        event_times, steady = self._moments(table)
        labels = None if self.roles.label is None else table.data.get(self.roles.label)
        batch = self._batch(table, event_times, with_ids=labels is not None)
        # a label of a row without an output says nothing of the model
        answered = batch.scores is not None or batch.predictions is not None
        if labels is not None and batch.ids is not None and answered:
            self._hold(batch.ids, labels, steady)
        if self.roles.version is not None and self.roles.version in table.data:
            self._roll_out(table.data[self.roles.version])
        start, self.rows = self.rows, self.rows + n
        self.times.add(start, float(steady[0]))
        self.times.add(self.rows, float(steady[-1]))
        ids, due = self.late.due(self.rows, self.clock.time())
        for runner in self.runners:
            runner.take(batch, ids, due)
        reference = self.reference
        if reference is None:
            return
        if self.realised is None:
            self.realised = Realised(reference, timed=self.timed)
            self.drift = DriftWindows(reference)
        self.realised.add(batch, labels, start, steady)
        state = self.runners[0].engine.state
        if state is not None and self.drift is not None:
            self.drift.add(start, self.rows, state.total.counts)

    def _moments(self, table: Columns) -> tuple[FloatArray, FloatArray]:
        """Return the times of rows as they are, and as a clock that never goes back shows them."""
        column = None if self.roles.timestamp is None else table.data.get(self.roles.timestamp)
        if column is None or not self.timed:
            times = NOMINAL_EPOCH + self.rows + np.arange(table.n, dtype=np.float64)
            if self.timed:  # a table without the column: its rows come now
                times = np.full(table.n, self.clock.time())
            self.clock.advance(times)
            return times, times
        before = self.clock.time() if self.clock.set else -math.inf
        times = self.timestamps.seconds(column)
        self.late_rows += self.clock.advance(times)
        now = self.clock.time()
        steady = np.where(np.isfinite(times) & (times <= now), times, -math.inf)
        steady = np.maximum(np.maximum.accumulate(steady), before)
        return times, np.where(np.isfinite(steady), steady, now)

    def _batch(self, table: Columns, times: FloatArray, *, with_ids: bool) -> Batch:
        roles, data, n = self.roles, table.data, table.n
        self.reserved |= {SCORE, PREDICTION} & (data.keys() - roles.outside)
        features = {
            name: _feature(column)
            for name, column in data.items()
            if name not in roles.outside and name not in (SCORE, PREDICTION)
        }
        scores = None
        if roles.score and all(name in data for name in roles.score):
            columns = [numeric_values(data[name])[0] for name in roles.score]
            scores = columns[0] if len(columns) == 1 else np.stack(columns, axis=1)
        return Batch(
            n,
            features,
            predictions=None if roles.prediction is None else data.get(roles.prediction),
            scores=scores,
            ids=self._ids(table) if with_ids else None,
            slices={name: data[name] for name in self._slices() if name in data},
            clients=self._clients(data),
            versions=self._versions(data),
            event_times=times if self.timed else None,
        )

    def _versions(self, data: Mapping[str, NDArray[Any]]) -> list[str | None] | None:
        name = self.roles.version
        return None if name is None or name not in data else _keys(data[name])

    def _clients(self, data: Mapping[str, NDArray[Any]]) -> list[str | None] | None:
        name = self.roles.client
        return None if name is None or name not in data else _keys(data[name])

    def _slices(self) -> tuple[str, ...]:
        """Return the columns of groups: those asked for, and those the reference has."""
        reference = self.reference
        known = reference.group_layout.groups if reference and reference.group_layout else ()
        return tuple(dict.fromkeys((*self.roles.groups, *(group.attribute for group in known))))

    def _ids(self, table: Columns) -> list[str]:
        rows = range(self.rows, self.rows + table.n)
        if self.roles.id is None or self.roles.id not in table.data:
            return [str(row) for row in rows]
        given = _keys(table.data[self.roles.id])
        return [f"row {row}" if key is None else key for row, key in zip(rows, given, strict=True)]

    def _hold(self, ids: Sequence[str], labels: NDArray[Any], times: FloatArray) -> None:
        keys = [category_key(label) for label in labels.tolist()]
        kept = np.array([key is not None and key != "" for key in keys], dtype=bool)
        places = np.flatnonzero(kept).tolist()
        rows = np.arange(self.rows + 1, self.rows + len(ids) + 1, dtype=np.float64)
        self.late.add(
            [ids[i] for i in places],
            [keys[i] for i in places],
            rows[kept],
            times[kept],
        )

    def _roll_out(self, column: NDArray[Any]) -> None:
        for i, version in enumerate(category_keys(column).tolist()):
            if version is not None and version not in self.versions:
                if len(self.versions) >= _VERSIONS:
                    return
                self.versions[version] = self.rows + i


def _feature(column: NDArray[Any]) -> NDArray[Any]:
    return column.astype(np.float64) if column.dtype.kind in "iu" else column


def _keys(column: NDArray[Any]) -> list[str | None]:
    return list(category_keys(column).tolist())
