"""The faults: in, row numbers and clean rows; out, what is wrong there, and what arrives.

The timeline is data. A fault changes the rows (`Fault.corrupt`), the labels (`Fault.mislabel`), or
something outside of them (`Fault.action`), which the replay carries out when it reaches the row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from otel_ml.demo.data import COLUMNS
from otel_ml.types import FloatArray, IntArray

__all__ = ["LATENCY_MS", "STORE_MS", "TIMELINE", "TOTAL_ROWS", "Action", "Fault", "phases"]

Action = Literal["none", "roll_out", "slow_down"]
LATENCY_MS: Final = 120.0
STORE_MS: Final = 2.0  # without a fault; a machine that is busy for a moment does not double it
MONTHS_PER_YEAR: Final = 12.0
MISSING_SHARE: Final = 0.30
NEW_CODE: Final = 6.0
NEW_SHARE: Final = 0.15
FLIPPED_SHARE: Final = 0.45
TOTAL_ROWS: Final = 27_000

RowChange = Callable[[FloatArray, np.random.Generator], FloatArray]
LabelChange = Callable[[FloatArray, IntArray, np.random.Generator], IntArray]


def _unchanged_rows(features: FloatArray, rng: np.random.Generator) -> FloatArray:
    return features


def _unchanged_labels(features: FloatArray, labels: IntArray, rng: np.random.Generator) -> IntArray:
    return labels


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong, and what a monitor should say about it.

    Parameters
    ----------
    cause
        The cause it should be named by (``ml.incident.cause``).
    target
        The culprit it should be found in (``ml.incident.target``).
    start, end
        First row that is affected, and first row that no longer is.
    title
        A few words for a table.
    story
        One sentence: what happened to whom, as a person on call would tell it afterwards.
    corrupt, mislabel
        What it does to rows of shape ``(n, 16)`` and to labels of shape ``(n,)``.
    action
        What it does outside the rows.
    """

    cause: str
    target: str
    start: int
    end: int
    title: str
    story: str
    corrupt: RowChange = _unchanged_rows
    mislabel: LabelChange = _unchanged_labels
    action: Action = "none"

    @property
    def in_labels(self) -> bool:
        """Whether nothing can be seen of it before labels come."""
        return self.mislabel is not _unchanged_labels


def _months(features: FloatArray, rng: np.random.Generator) -> FloatArray:
    changed = features.copy()
    changed[:, COLUMNS.index("AGEP")] *= MONTHS_PER_YEAR
    return changed


def _lose_schooling(features: FloatArray, rng: np.random.Generator) -> FloatArray:
    changed = features.copy()
    changed[rng.random(len(features)) < MISSING_SHARE, COLUMNS.index("SCHL")] = np.nan
    return changed


def _new_marital_status(features: FloatArray, rng: np.random.Generator) -> FloatArray:
    changed = features.copy()
    changed[rng.random(len(features)) < NEW_SHARE, COLUMNS.index("MAR")] = NEW_CODE
    return changed


def _flip_women(features: FloatArray, labels: IntArray, rng: np.random.Generator) -> IntArray:
    flipped = (features[:, COLUMNS.index("SEX")] == 2) & (rng.random(len(labels)) < FLIPPED_SHARE)
    return np.where(flipped, 1 - labels, labels)


TIMELINE: Final = (
    Fault(
        cause="unit_change",
        target="AGEP",
        start=6_000,
        end=7_000,
        title="Age in months",
        story="An upstream team releases a new form that sends the age in months, not in years.",
        corrupt=_months,
    ),
    Fault(
        cause="missing_values",
        target="SCHL",
        start=9_500,
        end=11_000,
        title="Schooling lost",
        story="A join starts to lose the schooling (SCHL) of 30 % of the people.",
        corrupt=_lose_schooling,
    ),
    Fault(
        cause="new_category",
        target="MAR",
        start=13_500,
        end=15_000,
        title="Unknown marital status",
        story="15 % of the people arrive with a marital status (MAR = 6) that training never saw.",
        corrupt=_new_marital_status,
    ),
    Fault(
        cause="subgroup_performance_drop",
        target="SEX=2",
        start=17_000,
        end=19_000,
        title="Wrong for women only",
        story="For 45 % of the women (SEX = 2) the opposite of what the survey says comes true.",
        mislabel=_flip_women,
    ),
    Fault(
        cause="score_shift",
        target="score",
        start=21_500,
        end=23_000,
        title="Bad roll-out",
        story="A retrained model with too high scores is rolled out, and is rolled back later.",
        action="roll_out",
    ),
    Fault(
        cause="latency_increase",
        target="latency",
        start=25_000,
        end=26_000,
        title="Slow feature store",
        story=f"The feature store behind the model takes {LATENCY_MS:.0f} ms longer for each call.",
        action="slow_down",
    ),
)


def phases(
    rows: int, timeline: tuple[Fault, ...] = TIMELINE
) -> list[tuple[int, int, Fault | None]]:
    """Return the stretches of the replay: first row, row after the last, and the fault or None.

    Parameters
    ----------
    rows
        Length of the replay; faults that begin at or behind it are left out.
    timeline
        Faults in order, not overlapping.
    """
    stretches: list[tuple[int, int, Fault | None]] = []
    at = 0
    for fault in timeline:
        if fault.start >= rows:
            break
        if fault.start > at:
            stretches.append((at, fault.start, None))
        stretches.append((fault.start, min(fault.end, rows), fault))
        at = min(fault.end, rows)
    if at < rows:
        stretches.append((at, rows, None))
    return stretches
