"""Predictions with their labels in, counts per group and cell out: calibration, error and bias.

A table asks one question of every labelled row. *Calibration*: in which bin is the score, and did
the positive class come (of several classes: was the top one right)? *Error*: how far is a
regression off? *Bias*: to which side? Counts of replicas and windows add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from otel_ml.profile.outcomes import GroupLayout
from otel_ml.types import FloatArray, IntArray, Task

__all__ = [
    "BIAS",
    "CALIBRATION",
    "ERROR",
    "MAX_CELLS",
    "LabelTable",
    "LabelledRows",
    "label_tables",
    "table_source",
]

CALIBRATION: Final = "calibration"
ERROR: Final = "error"
BIAS: Final = "bias"
MAX_CELLS: Final = 24  # of any table
_MIN_ROWS: Final = 100  # labels below which no table is made
_MANY_ROWS: Final = 2000
# finer towards both ends, where a bin of equal mass would span scores of very different meaning
_SCORES: Final = (0.01, 0.03, 0.08, 0.17, 0.3, 0.5, 0.7, 0.83, 0.92, 0.97, 0.99)
_FEW_SCORES: Final = (0.05, 0.2, 0.5, 0.8, 0.95)
_ERRORS: Final = (*(i / 11 for i in range(1, 11)), 0.99)
_BIASES: Final = (0.02, *(i / 10 for i in range(1, 10)), 0.98)


class LabelledRows(NamedTuple):
    """Predictions whose labels are known, in columns of shape ``(n,)``.

    Parameters
    ----------
    predicted, actual
        Class positions, -1 where unknown.
    score
        Watched score, or the predicted value of a regression; NaN where there is none.
    truth
        True value of a regression, NaN elsewhere.
    groups
        Group code of each slicing attribute.
    """

    predicted: NDArray[np.int16]
    actual: NDArray[np.int16]
    score: FloatArray
    truth: FloatArray
    groups: tuple[NDArray[np.uint8], ...]

    def select(self, which: NDArray[np.bool_]) -> LabelledRows:
        """Return some of the rows."""
        return LabelledRows(
            self.predicted[which],
            self.actual[which],
            self.score[which],
            self.truth[which],
            tuple(g[which] for g in self.groups),
        )


def table_source(table: str, attribute: str, group: str) -> str:
    """Return the name of the source that counts a table's cells for one group."""
    return f"{table}:overall" if (attribute, group) == _ALL else f"{table}:{attribute}={group}"


_ALL: Final = GroupLayout((), ()).names[0]


@dataclass(frozen=True, eq=False)
class LabelTable:
    """Counts of one question about labelled rows.

    Parameters
    ----------
    name
        ``calibration``, ``error`` or ``bias``.
    task
        Kind of model.
    bounds
        Inner bounds of the bins, strictly increasing; a bin is ``(bounds[i-1], bounds[i]]``.
    counts
        Shape ``(groups, cells)``, groups as in `GroupLayout.names`. Cells of the calibration are
        bin by bin no, yes; those of the others are the bins.
    """

    name: str
    task: Task
    bounds: tuple[float, ...]
    counts: IntArray

    @property
    def answers(self) -> int:
        """Cells per bin."""
        return 2 if self.name == CALIBRATION else 1

    @property
    def size(self) -> int:
        """Number of cells."""
        return (len(self.bounds) + 1) * self.answers

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Name of each cell."""
        edges = ["", *(f"{b:.6g}" for b in self.bounds), ""]
        bins = [
            f"({low}, {high}]" if low and high else f"> {low}" if low else f"<= {high}"
            for low, high in pairwise(edges)
        ]
        if self.answers == 1:
            return tuple(bins) if self.bounds else ("any",)
        words = ("negative", "positive") if self.task == "binary" else ("wrong", "right")
        bins = bins if self.bounds else ["any"]
        return tuple(f"score {name}: {word}" for name in bins for word in words)

    def codes(self, rows: LabelledRows) -> IntArray:
        """Return the cell of each row, shape ``(n,)``; -1 where it says nothing."""
        value, answer = _asked(self.name, self.task, rows)
        known = np.isfinite(value) & (answer >= 0)
        found = np.searchsorted(np.array(self.bounds), value, side="left")
        return np.where(known, found * self.answers + answer, -1).astype(np.int64)

    def count(self, layout: GroupLayout, rows: LabelledRows) -> IntArray:
        """Count rows by group and cell, shape ``(groups, cells)``."""
        return layout.tally(self.codes(rows), self.size, rows.groups)

    def to_json(self) -> dict[str, Any]:
        """Return the table as plain JSON values."""
        return {
            "name": self.name,
            "task": self.task,
            "bounds": list(self.bounds),
            "counts": self.counts.tolist(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LabelTable:
        """Return the table that `to_json` wrote."""
        table = cls(
            str(data["name"]),
            data["task"],
            tuple(float(b) for b in data["bounds"]),
            np.array(data["counts"], dtype=np.int64),
        )
        if table.counts.ndim != 2 or table.counts.shape[1] != table.size:
            raise ValueError(f"counts of shape {table.counts.shape} for {table.size} cells")
        return table


def label_tables(task: Task, layout: GroupLayout, rows: LabelledRows) -> tuple[LabelTable, ...]:
    """Return the tables of labelled reference rows.

    Parameters
    ----------
    task
        Kind of model.
    layout
        Classes and groups; of a regression only the groups.
    rows
        Predictions with their labels.

    Returns
    -------
    tuple of LabelTable
        Error and bias of a regression, else the calibration; none for fewer than 100 labels that
        can be used.
    """
    out = []
    for name in (ERROR, BIAS) if task == "regression" else (CALIBRATION,):
        value, answer = _asked(name, task, rows)
        value = value[np.isfinite(value) & (answer >= 0)]
        if len(value) < _MIN_ROWS:
            continue
        empty = LabelTable(name, task, _bounds(name, value), np.zeros((0, 0), dtype=np.int64))
        out.append(replace(empty, counts=empty.count(layout, rows)))
    return tuple(out)


def _asked(name: str, task: Task, rows: LabelledRows) -> tuple[FloatArray, IntArray]:
    """Return the value that is binned and the answer that goes with it, shape ``(n,)`` each."""
    if name == CALIBRATION:
        known = rows.actual >= 0
        if task != "binary":
            known &= rows.predicted >= 0
        right = rows.actual == (1 if task == "binary" else rows.predicted)
        return rows.score, np.where(known, right, -1).astype(np.int64)
    residual = rows.truth - rows.score
    value = np.abs(residual) if name == ERROR else residual
    return value, np.zeros(len(value), dtype=np.int64)


def _bounds(name: str, value: FloatArray) -> tuple[float, ...]:
    """Return inner bounds at quantiles of the values; the largest value is never one."""
    levels = {ERROR: _ERRORS, BIAS: _BIASES}.get(name)
    if levels is None:
        levels = _SCORES if len(value) >= _MANY_ROWS else _FEW_SCORES
    edges = np.quantile(value, levels, method="lower")
    top = float(value.max())
    kept = sorted({float(f"{e:.9g}") for e in edges.tolist() if e < top})
    return tuple(k for k in kept if k < top)
