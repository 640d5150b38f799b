"""Labels of the first predictions in, the reference of performance out, where none was given.

A reference learned from traffic has no labels: they come later. Those of its own rows become what
the model's performance is compared with once there are 500. Where few rows are ever labelled, the
first 2,000 labels do. Until then nothing is judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from otel_ml.profile.reference import Reference
from otel_ml.profile.tables import LabelledRows, label_tables
from otel_ml.types import IntArray

__all__ = ["LateLabels"]

_OWN: Final = 500  # labels of the reference's own rows
_ANY: Final = 2000  # labels of whatever rows came first


class LateLabels:
    """Labels held until they can become the reference of performance.

    Parameters
    ----------
    reference
        Without labels.
    """

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.own_rows = 0
        self._own = 0
        self._held: list[LabelledRows] = []
        self._rows: list[IntArray] = []

    def add(self, rows: LabelledRows, numbers: IntArray) -> Reference | None:
        """Hold labelled rows; return the reference with labels as soon as there are enough.

        Parameters
        ----------
        rows
            Predictions with their labels.
        numbers
            Number of each row since the start, shape ``(n,)``; those below `own_rows` are the
            reference's own.

        Returns
        -------
        Reference or None
            The same reference with outcomes and tables; its own rows stay as they are.
        """
        if self.reference.task == "regression":
            usable = np.isfinite(rows.truth - rows.score)
        else:
            usable = (rows.actual >= 0) & (rows.predicted >= 0)
        self._held.append(rows.select(usable))
        self._rows.append(numbers[usable])
        self._own += int((numbers[usable] < self.own_rows).sum())
        total = sum(len(r) for r in self._rows)
        if self._own < _OWN and total < _ANY:
            return None
        held = _stacked(self._held)
        if self._own >= _OWN:
            held = held.select(np.concatenate(self._rows) < self.own_rows)
        self._held, self._rows = [], []
        return self._with(held)

    def _with(self, rows: LabelledRows) -> Reference:
        layout = self.reference.label_layout
        tables = label_tables(self.reference.task, layout, rows)
        if self.reference.task == "regression":
            return replace(self.reference, tables=tables)
        outcomes = layout.count(rows.predicted, rows.actual, rows.groups)
        return replace(self.reference, tables=tables, outcomes=outcomes)

    def to_json(self) -> dict[str, Any]:
        """Return what is held as plain JSON values."""
        held = _stacked(self._held) if self._held else None
        columns: dict[str, Any] = {}
        if held is not None:
            columns = {
                "predicted": held.predicted.tolist(),
                "actual": held.actual.tolist(),
                "score": [None if s != s else s for s in held.score.tolist()],
                "truth": [None if t != t else t for t in held.truth.tolist()],
                "groups": [g.tolist() for g in held.groups],
                "rows": np.concatenate(self._rows).tolist(),
            }
        return {"own_rows": self.own_rows, "columns": columns}

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take up what `to_json` wrote."""
        self.own_rows = int(data["own_rows"])
        held = data["columns"]
        self._held, self._rows, self._own = [], [], 0
        if held:
            rows = LabelledRows(
                np.array(held["predicted"], dtype=np.int16),
                np.array(held["actual"], dtype=np.int16),
                np.array(held["score"], dtype=np.float64),
                np.array(held["truth"], dtype=np.float64),
                tuple(np.array(g, dtype=np.uint8) for g in held["groups"]),
            )
            self._held, self._rows = [rows], [np.array(held["rows"], dtype=np.int64)]
            self._own = int((self._rows[0] < self.own_rows).sum())


def _stacked(parts: list[LabelledRows]) -> LabelledRows:
    return LabelledRows(
        np.concatenate([p.predicted for p in parts]),
        np.concatenate([p.actual for p in parts]),
        np.concatenate([p.score for p in parts]),
        np.concatenate([p.truth for p in parts]),
        tuple(np.concatenate(g) for g in zip(*(p.groups for p in parts), strict=True)),
    )
