"""Columns of rows in, whether each row repeats an earlier one, and in which way, out.

A caller that retries sends a row again within a few rows. A log that is replayed sends rows again
in their old order, so that each is as far from its original as the one before was. Rows that merely
happen to be equal, such as draws from a small population, do neither, and count as new.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.profile.duplicates import RowMemory
from otel_ml.types import IntArray

__all__ = ["REPEATS", "REPEATS_SOURCE", "Repeats", "reference_repeats"]

REPEATS: Final = ("new", "repeated", "replayed")
REPEATS_SOURCE: Final = "rows:duplicate"
_NEAR: Final = 128  # rows within which a repeat is a retry
_BLOCKS: Final = (50, 200)


class Repeats:
    """Which of the latest rows repeat earlier ones.

    Parameters
    ----------
    capacity
        How many rows back a repeat is looked for.
    """

    def __init__(self, capacity: int = 4096) -> None:
        self._memory = RowMemory(capacity)
        self._lag = 0

    def codes(self, columns: Mapping[str, NDArray[Any]], n: int) -> NDArray[np.int64]:
        """Return the position of each row's kind in `REPEATS`, shape ``(n,)``.

        Parameters
        ----------
        columns
            Column by name, shape ``(n,)`` each.
        n
            Number of rows.
        """
        lags = self._memory.lags(columns, n)
        before = np.concatenate([[self._lag], lags[:-1]])
        self._lag = int(lags[-1]) if n else self._lag
        near = (lags > 0) & (lags <= _NEAR)
        replayed = (lags > _NEAR) & (lags == before)
        return np.where(near, 1, np.where(replayed, 2, 0))

    def to_json(self) -> dict[str, Any]:
        """Return what is held as plain JSON values."""
        return {"memory": self._memory.to_json(), "lag": self._lag}

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take up what `to_json` wrote."""
        self._memory.restore(data["memory"])
        self._lag = int(data["lag"])


def reference_repeats(
    columns: Mapping[str, NDArray[Any]], n: int
) -> tuple[tuple[int, int, int], float]:
    """Return how often rows of a reference repeat earlier ones, and in how long runs.

    Parameters
    ----------
    columns
        Column by name in the order of time, shape ``(n,)`` each.
    n
        Number of rows.

    Returns
    -------
    counts
        Rows by kind.
    design
        How many rows say as much about it as one independent row, at least 1.
    """
    if not columns or n == 0:
        return (0, 0, 0), 1.0
    kinds = Repeats().codes(columns, n)
    counts = np.bincount(kinds, minlength=len(REPEATS)).tolist()
    return (counts[0], counts[1], counts[2]), _design((kinds > 0).astype(np.int64))


def _design(repeated: IntArray) -> float:
    rate = float(repeated.mean())
    worst = 1.0
    for size in _BLOCKS:
        blocks = len(repeated) // size
        if blocks < 10 or rate * (1 - rate) * size < 0.1:
            continue
        sums = repeated[: blocks * size].reshape(blocks, size).sum(axis=1)
        ratio = float(sums.var(ddof=1)) / (size * rate * (1 - rate))
        worst = max(worst, ratio / (1 + (8 / blocks) ** 0.5))  # less what chance alone shows
    return 1 + 2 * (worst - 1)
