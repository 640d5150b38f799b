"""Is it fast enough, and does it answer? Counts of the first calls in, two streams out.

Latency has no reference in the training data: the first calls are its baseline. Asked is whether
calls much slower than nearly all of those (2.5 times their 95th percentile, rounded up to the next
bounds of the histogram: up to 7 times) have become frequent.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from otel_ml.monitors.evidence import rate_increments
from otel_ml.profile import NumericCells
from otel_ml.types import IntArray, Stream

__all__ = [
    "ERRORS",
    "ERRORS_SOURCE",
    "LATENCY",
    "LATENCY_BOUNDS",
    "LATENCY_SOURCE",
    "call_errors",
    "latency",
    "slow_from",
]

LATENCY: Final = "latency"
ERRORS: Final = "errors"
LATENCY_SOURCE: Final = "calls:latency"  # not what a feature is likely to be called
ERRORS_SOURCE: Final = "calls:errors"
_STEPS: Final = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
LATENCY_BOUNDS: Final = tuple(
    float(f"{m * 10.0**e:.3g}") for e in range(-4, 2) for m in _STEPS
)  # 0.1 ms to 70 s
_TOLERATED_SLOW: Final = 0.15  # a busy machine has slow spells; a slow model is slow most times
_TOLERATED_ERRORS: Final = 0.02
_SLOWER: Final = 2.5


def slow_from(baseline: IntArray) -> int:
    """Return the first cell of calls that are much slower than the baseline's 95th percentile.

    Parameters
    ----------
    baseline
        Calls per cell of `LATENCY_BOUNDS`, shape ``(cells,)``.
    """
    valid = baseline[: len(LATENCY_BOUNDS) + 1]
    share = np.cumsum(valid) / max(int(valid.sum()), 1)
    q95 = LATENCY_BOUNDS[min(int(np.searchsorted(share, 0.95)), len(LATENCY_BOUNDS) - 1)]
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
    pair = rate_increments(min(seen + _TOLERATED_SLOW, 0.5))
    logs = np.where(slow, pair[:, 1:], pair[:, :1])
    law = (baseline + 0.5) / (baseline.sum() + 0.5 * cells.size)
    return Stream(
        LATENCY, "latency", LATENCY, LATENCY_SOURCE, "calls", law, logs, cells.labels, yes=slow
    )


def call_errors() -> Stream:
    """Return the stream that asks whether more than one call in fifty fails."""
    logs = rate_increments(_TOLERATED_ERRORS)
    law = np.array([1 - _TOLERATED_ERRORS, _TOLERATED_ERRORS])
    failed = np.array([False, True])
    return Stream(
        ERRORS, "latency", ERRORS, ERRORS_SOURCE, "calls", law, logs, ("ok", "failed"), yes=failed
    )
