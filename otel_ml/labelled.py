"""Predictions and their labels in, confusion counts and errors per group out; bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from otel_ml.profile import Joined, LabelJoin, Reference
from otel_ml.profile.coder import Codes, top_score
from otel_ml.types import Batch, IntArray

__all__ = ["Labelled", "Waiting", "fill"]

_RECENT_LABELS: Final = 2000  # labels that estimates of the present rest on
_SCORE_BINS: Final = 20


class Waiting(NamedTuple):
    """What is kept of a prediction until its label comes.

    Parameters
    ----------
    row
        Number of the row.
    predicted
        Position of the predicted class, -1 where unknown.
    score
        Watched score, or the predicted value of a regression; NaN where there is none.
    groups
        Group code of each slicing attribute.
    """

    row: int
    predicted: int
    score: float
    groups: tuple[int, ...]


class Labelled:
    """What is known of a model once its labels have come.

    Parameters
    ----------
    reference
        What production is compared with.
    capacity
        Predictions that wait for labels, at least.
    """

    def __init__(self, reference: Reference, capacity: int) -> None:
        self.reference = reference
        self.join: LabelJoin[Waiting] = LabelJoin(capacity)
        self.outcomes = None if reference.group_layout is None else reference.group_layout.zeros()
        self.residuals = np.zeros(3)
        self._recent: deque[tuple[int, IntArray, IntArray]] = deque()

    def wait(self, batch: Batch, codes: Codes, row: int) -> Sequence[Joined[Waiting]]:
        """Remember the predictions of a batch; return those whose label was here already."""
        if batch.ids is None or batch.n == 0:
            return ()
        layout = self.reference.group_layout
        predicted = np.full(batch.n, -1, dtype=np.int64)
        score = np.full(batch.n, np.nan)
        groups: list[Any] = []
        if self.reference.task == "regression":
            if codes.predictions is not None:
                score = codes.predictions.astype(np.float64)
        elif layout is not None and codes.predictions is not None:
            predicted = layout.class_codes(codes.predictions).astype(np.int64)
            if batch.scores is not None:
                score = top_score(self.reference, batch.scores)
            for group in layout.groups:
                column = batch.slices.get(group.attribute, batch.features.get(group.attribute))
                absent = np.full(batch.n, len(group.labels), dtype=np.uint8)
                groups.append((absent if column is None else group.codes(column)).tolist())
        rows = zip(*groups, strict=True) if groups else [()] * batch.n
        waiting = [
            Waiting(row + i, p, s, tuple(g))
            for i, (p, s, g) in enumerate(
                zip(predicted.tolist(), score.tolist(), rows, strict=True)
            )
        ]
        return self.join.expect(batch.ids, waiting, batch.aliases)

    def judge(
        self, joined: Sequence[Joined[Waiting]], spans: Sequence[tuple[int, int]]
    ) -> tuple[int, Mapping[tuple[str, str], tuple[int, int]]]:
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
        errors
            Right and wrong predictions by attribute and group.
        """
        if not joined:
            return 0, {}
        if self.reference.task == "regression":
            truth = np.array([_number(j.label) for j in joined])
            error = truth - np.array([j.payload.score for j in joined])
            error = error[np.isfinite(error)]
            self.residuals += [len(error), np.abs(error).sum(), np.square(error).sum()]
            return 0, {}
        layout = self.reference.group_layout
        if layout is None or self.outcomes is None:
            return 0, {}
        predicted = np.array([j.payload.predicted for j in joined], dtype=np.int16)
        actual = layout.class_codes(np.array([j.label for j in joined], dtype=object))
        rows = np.array([j.payload.row for j in joined], dtype=np.int64)
        codes = [
            np.array([j.payload.groups[k] for j in joined], dtype=np.uint8)
            for k in range(len(layout.groups))
        ]
        counted = layout.count(predicted, actual, codes)
        self.outcomes += counted
        self._remember(counted, joined, actual)
        # labels of rows whose inputs were broken say nothing new: no echo of an incident that ended
        fresh = np.ones(len(rows), dtype=bool)
        for lower, upper in spans:
            fresh &= (rows < lower) | (rows > upper)
        if not fresh.any() or self.reference.outcomes is None:
            return 0, {}
        part = layout.count(predicted[fresh], actual[fresh], [c[fresh] for c in codes])
        right = np.trace(part, axis1=1, axis2=2)
        wrong = part.sum(axis=(1, 2)) - right
        pairs = zip(right.tolist(), wrong.tolist(), strict=True)
        return int(rows[fresh].min()), dict(zip(layout.names, pairs, strict=True))

    def _remember(self, counted: IntArray, joined: Sequence[Joined[Waiting]], actual: Any) -> None:
        calibration = np.zeros((_SCORE_BINS, 2), dtype=np.int64)
        if self.reference.task == "binary":
            scores = np.array([j.payload.score for j in joined])
            ok = (scores >= 0) & (scores <= 1) & (actual >= 0)
            bins = np.clip((scores[ok] * _SCORE_BINS).astype(np.int64), 0, _SCORE_BINS - 1)
            np.add.at(calibration, (bins, actual[ok].astype(np.int64)), 1)
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
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take up what `to_json` wrote."""
        self.join.restore(data["join"], _waiting)
        if self.outcomes is not None:
            fill(self.outcomes, data["outcomes"])
        fill(self.residuals, data["residuals"])
        self._recent = deque((int(n), np.array(c), np.array(k)) for n, c, k in data["recent"])


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
