"""A reference and rows in, the windows in which PSI, Kolmogorov-Smirnov and chi-square alarm out.

This is how drift is usually watched: windows of 1,000 rows, each column by itself, one constant.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.models import Case
from benchmarks.detection.places import cache_folder
from benchmarks.detection.streams import KINDS, Rows, Traffic

WINDOW: Final = 1000
PSI_LIMIT: Final = 0.2
P_LIMIT: Final = 0.05
RULES: Final = ("PSI > 0.2", "PSI, calibrated", "KS p < 0.05", "KS, calibrated")
_CALIBRATION: Final = (12, 50)  # references, windows of each


class _Column:
    def __init__(self, held: NDArray[Any]) -> None:
        self.words = held.dtype == object
        if self.words:
            levels, counts = np.unique(held.astype(str), return_counts=True)
            self.levels = {v: i for i, v in enumerate(levels.tolist())}
            self.counts = np.append(counts, 0).astype(np.float64)
        else:
            self.sorted = np.sort(held[np.isfinite(held)])
            self.edges = np.unique(np.quantile(self.sorted, np.linspace(0, 1, 11)[1:-1]))
            self.missing = float(np.mean(~np.isfinite(held)))
            self.counts = np.bincount(self._bins(held), minlength=len(self.edges) + 2).astype(
                np.float64
            )
        self.n = len(held)

    def _bins(self, held: NDArray[Any]) -> NDArray[np.int64]:
        found = np.searchsorted(self.edges, held, side="right")
        return np.where(np.isfinite(held), found, len(self.edges) + 1)

    def compare(self, held: NDArray[Any]) -> tuple[float, float]:
        """Return PSI, and the p-value of Kolmogorov-Smirnov (numbers) or chi-square (words)."""
        from scipy import special

        if self.words:
            unseen = len(self.counts) - 1
            codes = np.array([self.levels.get(str(v), unseen) for v in held.tolist()])
        else:
            if held.dtype == object:
                held = np.full(len(held), np.nan)
            codes = self._bins(held)
        now = np.bincount(codes, minlength=len(self.counts)).astype(np.float64)
        p = np.maximum(self.counts / self.n, 1e-4)
        q = np.maximum(now / len(held), 1e-4)
        psi = float(((q - p) * np.log(q / p)).sum())
        if self.words:
            both = np.stack([self.counts, now])
            both = both[:, both.sum(axis=0) > 0]
            expected = np.outer(both.sum(axis=1), both.sum(axis=0)) / both.sum()
            statistic = float(((both - expected) ** 2 / expected).sum())
            return psi, float(special.chdtrc(max(both.shape[1] - 1, 1), statistic))
        known = np.sort(held[np.isfinite(held)])
        if not len(known):
            return psi, 0.0
        every = np.concatenate([known, np.nextafter(known, -np.inf)])
        gap = np.abs(
            np.searchsorted(known, every, side="right") / len(known)
            - np.searchsorted(self.sorted, every, side="right") / len(self.sorted)
        ).max()
        n = len(known) * len(self.sorted) / (len(known) + len(self.sorted))
        return psi, float(special.kolmogorov(np.sqrt(n) * gap))


@dataclass(frozen=True)
class Window:
    """A window of rows: where it ends, and the extreme column of either statistic."""

    stop: int
    psi: float
    psi_column: str
    p: float
    p_column: str


def columns_of(rows: Rows) -> dict[str, NDArray[Any]]:
    """Return all that peers look at: inputs and the score."""
    return {**rows.columns, "score": rows.scores}


def watch(reference: Rows, rows: Rows) -> list[Window]:
    """Return the windows of some rows."""
    profile = {n: _Column(v) for n, v in columns_of(reference).items()}
    found = []
    for stop in range(WINDOW, len(rows) + 1, WINDOW):
        values = {
            n: profile[n].compare(v[stop - WINDOW : stop]) for n, v in columns_of(rows).items()
        }
        most = max(values, key=lambda n: values[n][0])
        least = min(values, key=lambda n: (values[n][1], -values[n][0]))
        found.append(Window(stop, values[most][0], most, values[least][1], least))
    return found


def limits(case: Case) -> tuple[float, float]:
    """Return PSI and p-value that one window in a hundred exceeds when rows are independent."""
    path = cache_folder() / f"{case.name}-windows.json"
    if path.is_file():
        psi, p = json.loads(path.read_text())
        return float(psi), float(p)
    seen: list[Window] = []
    for seed in range(_CALIBRATION[0]):
        traffic = Traffic(case, KINDS["iid"], 900_000 + seed)
        reference, rows = traffic.draw(20_000), traffic.draw(_CALIBRATION[1] * WINDOW)
        for part in (reference, rows):
            part.scores = case.model.predict(part.columns)
        seen += watch(reference, rows)
    psi = float(np.quantile([w.psi for w in seen], 0.99))
    p = float(np.quantile([w.p for w in seen], 0.01))
    path.write_text(json.dumps([psi, p]))
    return psi, p


def alarms(case: Case, seen: list[Window]) -> dict[str, list[tuple[int, str]]]:
    """Return the rows at which each rule alarms, with the column it names."""
    psi, p = limits(case)
    return {
        "PSI > 0.2": [(w.stop, w.psi_column) for w in seen if w.psi > PSI_LIMIT],
        "PSI, calibrated": [(w.stop, w.psi_column) for w in seen if w.psi > psi],
        "KS p < 0.05": [(w.stop, w.p_column) for w in seen if w.p < P_LIMIT],
        "KS, calibrated": [(w.stop, w.p_column) for w in seen if w.p < p],
    }
