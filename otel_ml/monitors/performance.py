"""Is the model still right, and for whom? Reference errors in, one stream per group out.

Each asks, on the clock of the labels, whether the errors of a group have grown: of a classification
whether their rate is above the upper bound of the reference rate plus the tolerance, of a
regression whether absolute errors are larger, most of them or some of them. Getting better is never
an alarm.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from otel_ml.monitors.evidence import (
    Bets,
    joined,
    location_bets,
    rate_bets,
    smoothed,
    upper_rate,
)
from otel_ml.profile import OVERALL, Reference
from otel_ml.profile.tables import BIAS, CALIBRATION, ERROR, MAX_CELLS, table_source
from otel_ml.types import FloatArray, IntArray, Stream

__all__ = ["error_rates", "error_source", "label_sources", "performance"]

_MIN_ROWS: Final = 100  # a group's reference rate is too uncertain below
_CELLS: Final = ("correct", "error")
_REGRESSION: Final = (ERROR, BIAS)
_RISES: Final = (0.01, 0.03, 0.1, 0.3, 0.7)
_TAILS: Final = (1, 2)  # last cells whose share is asked about: about 1 and 9 % of the reference
_SLACK: Final = 0.02  # fewer than two more errors in a hundred rows are not worth an incident
_GROUPS_SHARE: Final = 1.0  # of all groups together
_Z: Final = 2.0


def error_source(attribute: str, group: str) -> str:
    """Return the name of the source that counts right and wrong predictions of a group."""
    return table_source(ERROR, attribute, group)


def label_sources(reference: Reference) -> dict[str, int]:
    """Return the name of every source that is counted from labels, and its number of cells.

    Where the reference has no labels yet, those that may come into being once some have come.
    """
    names = reference.label_layout.names
    late = reference.outcomes is None and not reference.tables
    cells = {table.name: table.size for table in reference.tables}
    if late and reference.task == "regression":
        cells = dict.fromkeys(_REGRESSION, MAX_CELLS)
    elif late:
        cells = {CALIBRATION: MAX_CELLS}
    if reference.task != "regression":
        cells[ERROR] = len(_CELLS)
    return {table_source(t, a, g): size for t, size in cells.items() for a, g in names}


def error_rates(reference: Reference) -> Iterator[tuple[str, str, int, int]]:
    """Yield attribute, group, errors and rows of every group of the reference."""
    if reference.group_layout is None or reference.outcomes is None:
        return
    for i, (attribute, group) in enumerate(reference.group_layout.names):
        counts = reference.outcomes[i]
        rows = int(counts.sum())
        yield attribute, group, rows - int(np.trace(counts)), rows


def performance(reference: Reference, min_effect: float) -> Iterator[Stream]:
    """Yield a stream for all rows and one per group with at least 100 labelled reference rows.

    Parameters
    ----------
    reference
        What production is compared with.
    min_effect
        Effect floor of the model; half of it, or 0.02, is the slack of each reference error rate.
    """
    slack = max(min_effect / 2, _SLACK)
    tables = [t for t in reference.tables if t.name == ERROR]
    if tables:
        names, counts = reference.label_layout.names, tables[0].counts
        held = [(a, g, c) for (a, g), c in zip(names, counts, strict=True)]
        cells = tables[0].labels
    else:
        rates = error_rates(reference)
        held = [(a, g, np.array([rows - errors, errors])) for a, g, errors, rows in rates]
        cells = _CELLS
    held = [item for item in held if item[2].sum() >= _MIN_ROWS]
    groups = sum(attribute != OVERALL for attribute, _, _ in held)
    for attribute, group, errors in held:
        source = error_source(attribute, group)
        design = reference.design(source)
        law = smoothed(errors)
        rate = not tables
        bets = (_of_rate if rate else _of_size)(law, errors, design, slack)
        if not len(bets.scores):
            continue
        yield Stream(
            "performance",
            "performance",
            "performance" if attribute == OVERALL else f"{attribute}={group}",
            source,
            "labels",
            law,
            bets.scores,
            bets.ends,
            np.full(len(bets.scores), 1 / len(bets.scores)),
            cells,
            yes=np.array([False, True]) if rate else None,
            design=design,
            share=1.0 if attribute == OVERALL else _GROUPS_SHARE / groups,
        )


def _of_rate(law: FloatArray, counts: IntArray, design: float, slack: float) -> Bets:
    """Return that more predictions are wrong."""
    right, wrong = counts.tolist()
    top = upper_rate(wrong / design, (right + wrong) / design, slack, z=_Z)
    return rate_bets(law, np.array([False, True]), top, [top + rise for rise in _RISES])


def _of_size(law: FloatArray, counts: IntArray, design: float, slack: float) -> Bets:
    """Return that absolute errors are larger: all of them, or more of the largest."""
    rows = float(counts.sum()) / design
    both = location_bets(law, rows, slack)
    grown = both.scores[:, -1] > both.scores[:, 0]
    parts = [Bets(both.scores[grown], both.ends[grown])]
    for last in _TAILS:
        yes = np.arange(len(law)) >= len(law) - last
        top = upper_rate(float(counts[yes].sum()) / design, rows, slack, z=_Z)
        parts.append(rate_bets(law, yes, top, [top + rise for rise in _RISES]))
    return joined(parts, len(law))
