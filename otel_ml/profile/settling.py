"""The first rows of a learned reference in, how many of them do not belong to it out.

A service that starts with a fault, a warm-up or test traffic must not teach it to the reference.
Where the first rows depart from all that follow far more than chance and dependence allow, they are
left out.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.profile.reference import Reference
from otel_ml.stats.special import xlogy
from otel_ml.types import IntArray

__all__ = ["FIRST_SHARE", "unsettled_rows"]

FIRST_SHARE: Final = 0.1  # of the rows that may be left out
_SHARES: Final = (0.01, 0.02, 0.05, FIRST_SHARE)
_LEAST: Final = 10
_CLEAR: Final = 20.0  # natural log: half a billion to one, and again for every source and share


def unsettled_rows(
    rest: Reference, codes: NDArray[np.int16], rows: int, slots: IntArray | None = None
) -> int:
    """Return how many of the first rows are unlike the rest.

    Parameters
    ----------
    rest
        Reference of all but the first tenth of the rows.
    codes
        Cells of the first tenth, in the order of time, shape ``(n, S)``.
    rows
        Number of all rows.
    slots
        Slot of the week of each of the first rows, shape ``(n,)``, or None.

    Returns
    -------
    int
        0, or a hundredth to a tenth of the rows.

    Notes
    -----
    Under no change the log likelihood ratio of a source is at most a chi-square of a few dozen
    degrees of freedom, halved; it is divided by the design effect of the source.
    """
    bar = _CLEAR + float(np.log(max(codes.shape[1], 1) * len(_SHARES)))
    best, found = 0.0, 0
    for share in _SHARES:
        first = min(int(rows * share), len(codes))
        if first < _LEAST:
            continue
        gain = 0.0
        for i, cells in enumerate(rest.layout.sources):
            late = rest.profile.of(cells.name)
            told = codes[:first, i]
            early = np.bincount(told[told >= 0], minlength=cells.size)
            if not early.sum() or not late.sum():
                continue
            design = rest.design(cells.name)
            law = (late / design + 0.5) / (late.sum() / design + 0.5 * cells.size)
            if slots is not None and cells.name in rest.season.claimed:
                law = rest.season.laws(cells.name, law)[np.maximum(slots[:first], 0)].mean(axis=0)
            seen = early / early.sum()
            free = max(int((early > 0).sum()) - 1, 1)
            ratio = early.sum() * float((xlogy(seen, seen) - seen * np.log(law)).sum())
            gain = max(gain, (ratio - free) / design)
        if gain > bar and gain > best:
            best, found = gain, first
    return found
