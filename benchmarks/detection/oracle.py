"""Two known laws and a stream of cells in, the row at which Shiryaev and Roberts would alarm out.

Both laws are measured on as many rows as one likes, so nobody who has to learn anything can be
faster by much: the recursion ``R <- (R + 1) q(x) / p(x)`` minimises the expected delay among all
rules with the same mean time to a false alarm (Pollak 1985; Moustakides 1986).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_BINS: Final = 30
ARL: Final = 100_000.0  # rows between false alarms


@dataclass(frozen=True)
class Laws:
    """What is known.

    Parameters
    ----------
    ratio
        Logarithm of ``q / p`` of each cell.
    kl
        Expected ratio under the law after the change, per row.
    threshold
        Logarithm of what the recursion has to exceed.
    cells
        Tells the cells of values.
    """

    ratio: NDArray[np.float64]
    kl: float
    threshold: float
    cells: Cells


class Cells:
    """Cells of one column: quantile bins of clean values, or its levels."""

    def __init__(self, clean: NDArray[Any]) -> None:
        self.levels: dict[str, int] = {}
        self.edges = np.empty(0)
        if clean.dtype == object:
            known = sorted({str(v) for v in clean.tolist() if v is not None})
            self.levels = {v: i for i, v in enumerate(known)}
            self.size = len(known) + 2
        else:
            known = clean[np.isfinite(clean)]
            inner = np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1])
            top = np.nextafter(known.max(), np.inf)
            self.edges = np.unique(np.concatenate([[known.min()], inner, [top]]))
            self.size = len(self.edges) + 2

    def of(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """Return the cell of each value; missing is the last, unseen or words the one before."""
        if values.dtype == object:
            missing, unseen = self.size - 1, self.size - 2
            return np.array(
                [missing if v is None else self.levels.get(str(v), unseen) for v in values.tolist()]
            )
        found = np.searchsorted(self.edges, values, side="right")
        return np.where(np.isnan(values), self.size - 1, found)


def laws_of(clean: NDArray[Any], faulty: NDArray[Any]) -> Laws:
    """Return the laws of a column before and after, with the threshold for `ARL`."""
    cells = Cells(clean)
    p = np.bincount(cells.of(clean), minlength=cells.size) + 0.5
    q = np.bincount(cells.of(faulty), minlength=cells.size) + 0.5
    p, q = p / p.sum(), q / q.sum()
    ratio = np.log(q / p)
    kl = float((q * ratio).sum())
    return Laws(ratio, kl, math.log(ARL * overshoot(q, ratio, kl)), cells)


def overshoot(q: NDArray[np.float64], ratio: NDArray[np.float64], kl: float) -> float:
    """Return the mean of ``exp(-excess)`` over a high boundary, simulated under the change.

    The mean time to a false alarm is the threshold divided by it (Pollak 1987).
    """
    if kl < 0.005:
        return 1.0
    rng = np.random.default_rng(0)
    steps = int(20 / kl) + 50
    found: list[float] = []
    for _ in range(max(1, min(40, 4_000_000 // (steps * 100)))):
        walk = ratio[rng.choice(len(q), p=q, size=(100, steps))].cumsum(axis=1)
        over = walk >= 8.0
        crossed = over.any(axis=1)
        first = over.argmax(axis=1)
        found += np.exp(8.0 - walk[crossed, first[crossed]]).tolist()
    return float(np.mean(found)) if found else 1.0


def alarm(laws: Laws, values: NDArray[Any], onset: int) -> int | None:
    """Return the first row after the onset at which the recursion is over its threshold.

    A false alarm before the onset starts it anew, as it would in practice.
    """
    held = -math.inf
    for row, step in enumerate(laws.ratio[laws.cells.of(values)].tolist()):
        held = (math.log1p(math.exp(held)) if held < 30 else held) + step
        if held >= laws.threshold:
            if row >= onset:
                return row + 1
            held = -math.inf
    return None
