"""Is it fast enough, and does it answer? Calls in, cells of their duration and two streams out.

Latency has no reference in the training data: the first calls are its baseline, without the very
first ones, which load and compile. Asked is whether calls much slower than nearly all of those (2.5
times their 95th percentile, rounded up to the next bounds of the histogram: up to 7 times) have
become frequent. A call of a thousand rows takes longer than one of a single row: calls are compared
with those of about their size, and counted as the duration that a call of the most frequent size
would have had. Sizes of which fewer than 200 calls were seen are not asked.

Errors that are usual, such as requests that are not valid, are learned from the first calls and
tolerated.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.monitors.evidence import rate_bets, upper_rate
from otel_ml.profile import NumericCells
from otel_ml.profile.cells import fixed_cells
from otel_ml.types import FloatArray, IntArray, Stream

__all__ = [
    "ERRORS",
    "ERRORS_SOURCE",
    "ERROR_CELLS",
    "LATENCY",
    "LATENCY_BOUNDS",
    "LATENCY_CELLS",
    "LATENCY_SOURCE",
    "Errors",
    "Latency",
    "call_errors",
    "latency",
    "slow_from",
]

LATENCY: Final = "latency"
ERRORS: Final = "errors"
LATENCY_SOURCE: Final = "calls:latency"  # not what a feature is likely to be called
ERRORS_SOURCE: Final = "calls:errors"
ERROR_CELLS: Final = ("ok", "failed")
_STEPS: Final = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
LATENCY_BOUNDS: Final = tuple(
    float(f"{m * 10.0**e:.3g}") for e in range(-4, 2) for m in _STEPS
)  # 0.1 ms to 70 s
LATENCY_CELLS: Final = fixed_cells(LATENCY, LATENCY_BOUNDS)
_TOLERATED_SLOW: Final = 0.15  # a busy machine has slow spells; a slow model is slow most times
_TOLERATED_ERRORS: Final = 0.02
_MOST_ERRORS: Final = 0.5  # a service that fails most times from the beginning is not tolerated
_SLOWER: Final = 2.5
_RISES: Final = (0.01, 0.03, 0.1, 0.3, 0.7)
_FIRST_CALLS: Final = 20  # load and compile, and say nothing
_BASELINE_CALLS: Final = 200  # of about one size
_ERROR_CALLS: Final = 500
_FAULTLESS_CALLS: Final = 100  # as many without an error tell enough
_BROKEN_CALLS: Final = 50  # as many, most of which fail, are no baseline
_SIZES: Final = (1, 10, 100, 1000)  # largest call of each class but the last
_CLASSES: Final = len(_SIZES) + 1
_TYPICAL: Final = 0.95


def slow_from(baseline: IntArray) -> int:
    """Return the first cell of calls that are much slower than the baseline's 95th percentile.

    Parameters
    ----------
    baseline
        Calls per cell of `LATENCY_BOUNDS`, shape ``(cells,)``.
    """
    valid = baseline[: len(LATENCY_BOUNDS) + 1]
    share = np.cumsum(valid) / max(int(valid.sum()), 1)
    q95 = LATENCY_BOUNDS[min(int(np.searchsorted(share, _TYPICAL)), len(LATENCY_BOUNDS) - 1)]
    return int(np.searchsorted(np.array(LATENCY_BOUNDS), q95 * _SLOWER)) + 1


def latency(cells: NumericCells, baseline: IntArray) -> Stream:
    """Return the stream that asks whether calls became slow.

    Parameters
    ----------
    cells
        Cells of the durations.
    baseline
        Calls per cell at the beginning, shape ``(cells,)``.
    """
    slow = np.zeros(cells.size, dtype=bool)
    slow[slow_from(baseline) : cells.valid] = True
    seen = float(baseline[slow].sum()) / max(float(baseline.sum()), 1.0)
    law = (baseline + 0.5) / (baseline.sum() + 0.5 * cells.size)
    return _rate(LATENCY, LATENCY_SOURCE, law, slow, min(seen + _TOLERATED_SLOW, 0.5), cells.labels)


def call_errors(failed: int = 0, calls: int = 0) -> Stream:
    """Return the stream that asks whether more calls fail than are usual, one in fifty at least.

    Parameters
    ----------
    failed, calls
        Of the first calls.
    """
    usual = upper_rate(failed, calls, 0.0, z=2.0) if calls else 0.0
    end = min(max(usual, _TOLERATED_ERRORS), _MOST_ERRORS)
    law = np.array([1 - end, end])
    return _rate(ERRORS, ERRORS_SOURCE, law, np.array([False, True]), end, ERROR_CELLS)


def _rate(
    name: str,
    source: str,
    law: FloatArray,
    yes: NDArray[np.bool_],
    end: float,
    cells: tuple[str, ...],
) -> Stream:
    bets = rate_bets(law, yes, end, [end + rise for rise in _RISES])
    weights = np.full(len(bets.scores), 1 / max(len(bets.scores), 1))
    return Stream(name, "latency", name, source, "calls", law, *bets, weights, cells, yes=yes)


class Latency:
    """The durations of calls, brought to those of calls of one size."""

    def __init__(self) -> None:
        self._skipped = 0
        self._first: list[list[tuple[float, float]]] = [[] for _ in range(_CLASSES)]
        # log duration that is slow for a class, at one row, and how it grows with the log of rows
        self._slow = np.full(_CLASSES, np.nan)
        self._slope = np.zeros(_CLASSES)
        self._level = np.nan  # the same of the class whose sizes are the most frequent
        self.baseline: IntArray | None = None

    @property
    def known(self) -> bool:
        """Whether there is a baseline to compare with."""
        return self.baseline is not None

    def counts(self, durations: FloatArray, sizes: IntArray | None) -> tuple[IntArray, FloatArray]:
        """Count calls, and learn from them what is not known yet.

        Parameters
        ----------
        durations
            Seconds, shape ``(calls,)``.
        sizes
            Rows of each call, shape ``(calls,)``; None where they are not known.

        Returns
        -------
        counts
            Calls per cell of `LATENCY_CELLS` that can be compared, shape ``(cells,)``.
        durations
            What was counted, seconds.
        """
        rows = np.ones(len(durations)) if sizes is None else np.maximum(sizes, 1).astype(np.float64)
        kind = np.searchsorted(np.array(_SIZES), rows, side="left")
        usable = np.isfinite(durations) & (durations > 0)
        skipped = min(_FIRST_CALLS - self._skipped, len(durations))
        self._skipped += skipped
        usable[:skipped] = False
        log_duration = np.log(np.where(usable, durations, 1.0))
        # what this batch teaches holds from the next one on
        asked = usable & np.isfinite(self._slow[kind])
        equal = log_duration - self._slow[kind] - self._slope[kind] * np.log(rows)
        taken = np.exp(equal[asked] + self._level)
        for c in sorted(set(kind[usable & np.isnan(self._slow[kind])].tolist())):
            mine = usable & (kind == c)
            self._learn(c, np.log(rows[mine]), log_duration[mine])
        codes, _ = LATENCY_CELLS.codes(taken)
        return np.bincount(codes, minlength=LATENCY_CELLS.size).astype(np.int64), taken

    def warm_up(self) -> None:
        """Leave out the next calls as the very first were: the process was started again."""
        self._skipped = 0

    def _learn(self, kind: int, log_rows: FloatArray, log_duration: FloatArray) -> None:
        held = self._first[kind]
        room = _BASELINE_CALLS - len(held)
        held += list(zip(log_rows[:room].tolist(), log_duration[:room].tolist(), strict=True))
        if len(held) < _BASELINE_CALLS:
            return
        x, y = np.array(held).T
        middle = median(x.tolist())
        centred = x - middle
        spread = float(np.square(centred).sum())
        slope = float((centred * (y - median(y.tolist()))).sum()) / spread if spread > 1e-9 else 0.0
        slope = min(max(slope, 0.0), 1.0)
        self._slope[kind] = slope
        self._slow[kind] = float(np.quantile(y - slope * x, _TYPICAL))
        self._first[kind] = []
        if self.baseline is not None:
            return
        # as of a call of the middle size, so that durations of that size stay what they are
        self._level = float(self._slow[kind]) + slope * middle
        durations = np.exp(y - slope * centred)
        codes, _ = LATENCY_CELLS.codes(durations)
        self.baseline = np.bincount(codes, minlength=LATENCY_CELLS.size).astype(np.int64)

    def to_json(self) -> dict[str, Any]:
        """Return what is learned as plain JSON values."""
        return {
            "skipped": self._skipped,
            "first": [[list(pair) for pair in held] for held in self._first],
            "slow": [None if s != s else s for s in self._slow.tolist()],
            "slope": self._slope.tolist(),
            "level": None if self.baseline is None else self._level,
            "baseline": None if self.baseline is None else self.baseline.tolist(),
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take up what `to_json` wrote."""
        self._skipped = int(data["skipped"])
        self._first = [[(float(x), float(y)) for x, y in held] for held in data["first"]]
        self._slow = np.array(data["slow"], dtype=np.float64).reshape(_CLASSES)
        self._slope = np.array(data["slope"], dtype=np.float64).reshape(_CLASSES)
        base, level = data["baseline"], data["level"]
        self._level = np.nan if level is None else float(level)
        self.baseline = None if base is None else np.array(base, dtype=np.int64)


class Errors:
    """How many of the first calls failed."""

    def __init__(self) -> None:
        self.failed = 0
        self.calls = 0

    @property
    def known(self) -> bool:
        """Whether enough calls were seen to tell what is usual."""
        enough = _ERROR_CALLS if self.failed else _FAULTLESS_CALLS
        return self.calls >= enough or self._broken

    @property
    def _broken(self) -> bool:
        """Whether most calls failed from the beginning."""
        return self.calls >= _BROKEN_CALLS and self.failed > self.calls / 2

    def add(self, succeeded: int, failed: int) -> bool:
        """Take calls; tell whether they are to be counted, since what is usual was known before."""
        if self.known:
            return True
        self.calls += succeeded + failed
        self.failed += failed
        return False

    def stream(self) -> Stream:
        """Return the stream that asks whether more calls fail than at the beginning."""
        return call_errors() if self._broken else call_errors(self.failed, self.calls)

    def to_json(self) -> list[int]:
        """Return what is learned as plain JSON values."""
        return [self.failed, self.calls]

    def restore(self, data: list[int]) -> None:
        """Take up what `to_json` wrote."""
        self.failed, self.calls = (int(v) for v in data)
