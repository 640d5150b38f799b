"""Predictions and their labels in, outcomes and the counts of label monitors out; bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.profile import Joined, LabelJoin, Reference
from otel_ml.profile.coder import Codes, top_score
from otel_ml.profile.late import LateLabels
from otel_ml.profile.tables import ERROR, LabelledRows, LabelTable, table_source
from otel_ml.types import Batch, IntArray
from otel_ml.waiting import Waiting, WaitingRows

__all__ = ["Labelled", "Waiting", "fill"]

_RECENT_LABELS: Final = 2000  # labels that estimates of the present rest on
_SCORE_BINS: Final = 20


class Labelled:
    """What is known of a model once its labels have come.

    Parameters
    ----------
    reference
        What production is compared with.
    capacity
        Predictions that wait for labels, at least.

    Attributes
    ----------
    reference
        The same, with the outcomes labels are compared with, once those have come.
    late
        Whether the reference was given without labels.
    """

    def __init__(self, reference: Reference, capacity: int) -> None:
        self.reference = reference
        self.join: LabelJoin[Waiting] = LabelJoin(capacity)
        self.outcomes = None if reference.group_layout is None else reference.group_layout.zeros()
        self.residuals = np.zeros(3)
        self._recent: deque[tuple[int, IntArray, IntArray]] = deque()
        self.late = reference.outcomes is None and not reference.tables
        self._late = LateLabels(reference) if self.late else None

    def learned(self, rows: int) -> None:
        """Say that the first `rows` rows are those the reference was learned from."""
        if self._late is not None:
            self._late.own_rows = rows

    @property
    def complete(self) -> bool:
        """Whether `reference` has what labels are compared with, given or come late."""
        return self._late is None

    def wait(self, batch: Batch, codes: Codes, row: int) -> Sequence[Joined[Waiting]]:
        """Remember the predictions of a batch; return those whose label was here already."""
        if batch.ids is None or batch.n == 0:
            return ()
        layout = self.reference.label_layout
        predicted = np.full(batch.n, -1, dtype=np.int64)
        score = np.full(batch.n, np.nan)
        groups: list[NDArray[np.uint8]] = []
        if codes.predictions is not None:
            if self.reference.task == "regression":
                score = codes.predictions.astype(np.float64)
            else:
                predicted = layout.class_codes(codes.predictions).astype(np.int64)
                if batch.scores is not None:
                    score = top_score(self.reference, batch.scores)
            for group in layout.groups:
                column = batch.slices.get(group.attribute, batch.features.get(group.attribute))
                absent = np.full(batch.n, len(group.labels), dtype=np.uint8)
                groups.append(absent if column is None else group.codes(column))
        return self.join.expect(
            batch.ids, WaitingRows(row, predicted, score, tuple(groups)), batch.aliases
        )

    def judge(
        self, joined: Sequence[Joined[Waiting]], spans: Sequence[tuple[int, int]]
    ) -> tuple[int, Mapping[str, IntArray]]:
        """Count outcomes.

        Parameters
        ----------
        joined
            Predictions with their labels.
        spans
            Rows of incidents that are over: their labels are counted, but are no evidence.

        Returns
        -------
        first
            First row of what is evidence.
        counts
            What it adds to each source of the labels, shape ``(cells,)`` each.
        """
        joined = [j for j in joined if len(j.payload.groups) == len(self._groups)]
        if not joined:
            return 0, {}
        rows = self._columns(joined)
        numbers = np.array([j.payload.row for j in joined], dtype=np.int64)
        self._total(rows)
        if self._late is not None:
            found = self._late.add(rows, numbers)
            if found is not None:
                self.reference, self._late = found, None
            return 0, {}  # what becomes the reference is no evidence against it
        # labels of rows whose inputs were broken say nothing new: no echo of an incident that ended
        fresh = np.ones(len(numbers), dtype=bool)
        for lower, upper in spans:
            fresh &= (numbers < lower) | (numbers > upper)
        if not fresh.any():
            return 0, {}
        return int(numbers[fresh].min()), self._counted(rows.select(fresh))

    @property
    def _groups(self) -> Sequence[Any]:
        return self.reference.label_layout.groups

    def _columns(self, joined: Sequence[Joined[Waiting]]) -> LabelledRows:
        """Return joined predictions and labels in columns."""
        labels = np.array([j.label for j in joined], dtype=object)
        regression = self.reference.task == "regression"
        unknown = np.full(len(joined), np.nan)
        layout = self.reference.label_layout
        return LabelledRows(
            np.array([j.payload.predicted for j in joined], dtype=np.int16),
            layout.class_codes(labels),
            np.array([j.payload.score for j in joined], dtype=np.float64),
            np.array([_number(v) for v in labels.tolist()]) if regression else unknown,
            tuple(
                np.array([j.payload.groups[k] for j in joined], dtype=np.uint8)
                for k in range(len(layout.groups))
            ),
        )

    def _total(self, rows: LabelledRows) -> None:
        """Add to the totals and to what is recent."""
        if self.reference.task == "regression":
            error = rows.truth - rows.score
            error = error[np.isfinite(error)]
            self.residuals += [len(error), np.abs(error).sum(), np.square(error).sum()]
            return
        if self.outcomes is not None:
            layout = self.reference.label_layout
            counted = layout.count(rows.predicted, rows.actual, rows.groups)
            self.outcomes += counted
            self._remember(counted, rows)

    def _counted(self, rows: LabelledRows) -> dict[str, IntArray]:
        """Return the counts of every source of the labels."""
        layout = self.reference.label_layout
        out: dict[str, IntArray] = {}
        parts: list[tuple[str, IntArray]] = [
            (table.name, table.count(layout, rows)) for table in self.reference.tables
        ]
        if self.reference.outcomes is not None:
            pairs = layout.count(rows.predicted, rows.actual, rows.groups)
            right = np.trace(pairs, axis1=1, axis2=2)
            wrong = pairs.sum(axis=(1, 2)) - right
            parts.append((ERROR, np.stack([right, wrong], axis=1)))
        for name, counts in parts:
            for (attribute, group), cells in zip(layout.names, counts, strict=True):
                if cells.any():
                    out[table_source(name, attribute, group)] = cells
        return out

    def _remember(self, counted: IntArray, rows: LabelledRows) -> None:
        calibration = np.zeros((_SCORE_BINS, 2), dtype=np.int64)
        if self.reference.task == "binary":
            scores = rows.score
            ok = (scores >= 0) & (scores <= 1) & (rows.actual >= 0)
            bins = np.clip((scores[ok] * _SCORE_BINS).astype(np.int64), 0, _SCORE_BINS - 1)
            np.add.at(calibration, (bins, rows.actual[ok].astype(np.int64)), 1)
        n = int(counted[0].sum())
        if self._recent and self._recent[-1][0] < 100:
            last = self._recent.pop()
            n, counted, calibration = n + last[0], counted + last[1], calibration + last[2]
        self._recent.append((n, counted, calibration))
        held = sum(item[0] for item in self._recent)
        while len(self._recent) > 1 and held - self._recent[0][0] >= _RECENT_LABELS:
            held -= self._recent.popleft()[0]

    def recent_outcomes(self) -> tuple[IntArray, IntArray]:
        """Return confusion counts and score bin × label counts of about the latest 2,000 labels.

        Returns
        -------
        outcomes
            Shape ``(groups, predicted, true)``.
        calibration
            Shape ``(20, 2)``; equal-width bins of the score.
        """
        assert self.outcomes is not None
        counted = np.zeros_like(self.outcomes)
        calibration = np.zeros((_SCORE_BINS, 2), dtype=np.int64)
        for _, outcome, pairs in self._recent:
            counted += outcome
            calibration += pairs
        return counted, calibration

    def to_json(self) -> dict[str, Any]:
        """Return everything that is kept as plain JSON values."""
        return {
            "join": self.join.to_json(_plain),
            "outcomes": None if self.outcomes is None else self.outcomes.tolist(),
            "residuals": self.residuals.tolist(),
            "recent": [[n, c.tolist(), k.tolist()] for n, c, k in self._recent],
            "late": None if self._late is None else self._late.to_json(),
            "compared": self._compared_json() if self.late and self.complete else None,
        }

    def _compared_json(self) -> dict[str, Any]:
        outcomes = self.reference.outcomes
        return {
            "outcomes": None if outcomes is None else outcomes.tolist(),
            "tables": [table.to_json() for table in self.reference.tables],
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take up what `to_json` wrote."""
        self.join.restore(data["join"], _waiting)
        if self.outcomes is not None:
            fill(self.outcomes, data["outcomes"])
        fill(self.residuals, data["residuals"])
        self._recent = deque((int(n), np.array(c), np.array(k)) for n, c, k in data["recent"])
        if self._late is not None and data["late"] is not None:
            self._late.restore(data["late"])
        elif data["compared"] is not None:
            self._compare(data["compared"])

    def _compare(self, data: Mapping[str, Any]) -> None:
        """Take up the reference of performance that had come late."""
        outcomes = None
        if data["outcomes"] is not None:
            outcomes = self.reference.label_layout.zeros()
            fill(outcomes, data["outcomes"])
        tables = tuple(LabelTable.from_json(table) for table in data["tables"])
        self.reference, self._late = replace(self.reference, outcomes=outcomes, tables=tables), None


def fill(array: NDArray[Any], values: Any) -> None:
    """Set an array to values of its own shape; numpy would repeat those of a smaller one."""
    given = np.asarray(values)
    if given.shape != array.shape:
        raise ValueError(f"shape {given.shape} in place of {array.shape}")
    array[:] = given


def _plain(held: Waiting) -> list[Any]:
    return [held.row, held.predicted, None if held.score != held.score else held.score, held.groups]


def _waiting(data: Iterable[Any]) -> Waiting:
    row, predicted, score, groups = data
    return Waiting(row, predicted, float("nan") if score is None else score, tuple(groups))


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")
