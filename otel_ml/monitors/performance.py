"""Is the model still right, and for whom? Reference errors in, one stream per group out.

Each asks, on the clock of the labels, whether the error rate of a group is above the upper bound of
its reference rate plus the tolerance. Getting better is never an alarm.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from otel_ml.monitors.evidence import rate_increments, upper_rate
from otel_ml.profile import OVERALL, Reference
from otel_ml.types import Stream

__all__ = ["error_rates", "error_source", "performance"]

_MIN_ROWS: Final = 100  # a group's reference rate is too uncertain below
_CELLS: Final = ("correct", "error")


def error_source(attribute: str, group: str) -> str:
    """Return the name of the source that counts right and wrong predictions of a group."""
    return "error:overall" if attribute == OVERALL else f"error:{attribute}={group}"


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
        Effect floor of the model; added to each reference error rate.
    """
    for attribute, group, errors, rows in error_rates(reference):
        if rows < _MIN_ROWS:
            continue
        logs = rate_increments(upper_rate(errors, rows, max(min_effect / 2, 0.02), z=2.0))
        if not len(logs):
            continue
        rate = (errors + 0.5) / (rows + 1)
        target = "performance" if attribute == OVERALL else f"{attribute}={group}"
        yield Stream(
            "performance",
            "performance",
            target,
            error_source(attribute, group),
            "labels",
            np.array([1 - rate, rate]),
            logs,
            _CELLS,
            yes=np.array([False, True]),
        )
