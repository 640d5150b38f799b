"""river's ADWIN and Page-Hinkley at their defaults, one per column, row by row.

They keep no reference: they are warmed with the last 2,000 rows of it, and started anew after each
alarm. Words count as the rank of their level. The second argument of the command says which.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import common
import numpy as np

WARM = 2000


def rule(reference: common.Columns, now: common.Columns) -> Iterator[tuple[int, str]]:
    """Yield the rows at which a column alarms."""
    from river import drift

    kind = drift.PageHinkley if sys.argv[2].endswith("hinkley") else drift.ADWIN
    streams = {}
    for name, held in reference.items():
        if held.dtype.kind == "f":
            middle, spread = np.nanmedian(held), np.nanstd(held) or 1.0
            both = np.concatenate([held[-WARM:], now[name]])
            streams[name] = np.where(np.isfinite(both), (both - middle) / spread, 0.0)
        else:
            words, counts = np.unique(held, return_counts=True)
            rank = {w: i for i, w in enumerate(words[np.argsort(-counts)].tolist())}
            both = np.concatenate([held[-WARM:], now[name]]).tolist()
            streams[name] = np.array([rank.get(w, len(rank)) for w in both], float) / len(rank)
    watching = {name: kind() for name in streams}
    rows = [streams[name].tolist() for name in streams]
    for at, values in enumerate(zip(*rows, strict=True)):
        moved = ""
        for name, value in zip(streams, values, strict=True):
            watching[name].update(value)
            if watching[name].drift_detected:
                watching[name] = kind()
                moved = moved or name
        if moved and at >= WARM:
            yield at - WARM + 1, moved


if __name__ == "__main__":
    common.main(rule)
