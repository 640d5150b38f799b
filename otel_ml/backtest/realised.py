"""Predictions and their labels in, performance and fairness in windows out; bounded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.backtest.estimates import EDGES, Estimate, Tally, group_rates, performance
from otel_ml.backtest.times import iso
from otel_ml.profile import OVERALL, Reference
from otel_ml.profile.coder import decisions, top_score
from otel_ml.profile.values import category_keys, numeric_values
from otel_ml.stats.scores import score_counts
from otel_ml.types import Batch, FloatArray, IntArray

__all__ = ["Realised"]

_DAY: Final = 86_400.0
_WEEK: Final = 7
_SLOTS: Final = (60, 4000)  # at least and at most, as many as fit into so many bytes
_SLOT_BYTES: Final = 32_000_000
_WINDOWS: Final = 20
_LEAST_LABELS: Final = 100
_ERROR_LIMIT: Final = 1e75  # its fourth power is still a number


class Realised:
    """Counts what labels say, in slots that become windows at the end.

    Parameters
    ----------
    reference
        Classes, groups and threshold.
    timed
        Whether rows have times, so that windows can be days or weeks.
    """

    def __init__(self, reference: Reference, *, timed: bool) -> None:
        self.reference = reference
        self.timed = timed
        self.unknown = 0
        self._per_slot = _LEAST_LABELS
        self._slots: list[Tally] = []
        self._slot_key = -1
        layout = reference.group_layout
        self._shape = (0, 0, 0) if layout is None else layout.shape
        self._labelled = 0
        size = 8 * (math.prod(self._shape) + 3 * len(EDGES))
        self._most = min(max(_SLOT_BYTES // size, _SLOTS[0]), _SLOTS[1])

    def add(self, batch: Batch, labels: NDArray[Any] | None, row: int, times: FloatArray) -> None:
        """Count a batch.

        Parameters
        ----------
        batch
            Predictions.
        labels
            Their labels, None or NaN where there is none, shape ``(n,)``; None without any.
        row
            Rows seen before.
        times
            Time of each row, never decreasing, shape ``(n,)``.
        """
        if batch.n == 0:
            return
        taken = self._tally(batch, labels, row, times)
        key = int(times[-1] // _DAY) if self.timed else self._labelled // self._per_slot
        if self._slots and key == self._slot_key:
            self._slots[-1].add(taken)
        else:
            self._slots.append(taken)
            self._slot_key = key
        self._labelled += taken.labels
        if len(self._slots) > self._most:
            self._slots = list(_merged(self._slots, [i // 2 for i in range(len(self._slots))]))
            self._per_slot *= 2
            self._slot_key = key if self.timed else self._labelled // self._per_slot

    def _tally(
        self, batch: Batch, labels: NDArray[Any] | None, row: int, times: FloatArray
    ) -> Tally:
        groups, k, _ = self._shape
        out = Tally(
            row,
            row + batch.n,
            float(times[0]),
            float(times[-1]),
            np.zeros((groups, k, k), dtype=np.int64),
            np.zeros((groups, k), dtype=np.int64),
        )
        if self.reference.task == "regression":
            self._regression(out, batch, labels)
            return out
        layout = self.reference.group_layout
        if layout is None:
            return out
        predictions = decisions(self.reference, batch)
        if predictions is None:
            predicted = np.full(batch.n, -1, dtype=np.int16)
        else:
            predicted = layout.class_codes(predictions)
        codes = []
        for group in layout.groups:
            column = batch.slices.get(group.attribute, batch.features.get(group.attribute))
            absent = np.full(batch.n, len(group.labels), dtype=np.uint8)
            codes.append(absent if column is None else group.codes(column))
        # as if every prediction were right, the diagonal holds the rows of each class
        sure = layout.count(predicted, predicted, codes)
        out.chosen += np.diagonal(sure, axis1=1, axis2=2)
        if labels is None:
            return out
        keys = category_keys(labels)
        actual = layout.class_codes(keys)
        known = np.array([key is not None for key in keys.tolist()], dtype=bool)
        self.unknown += int(np.sum(known & (actual < 0)))
        out.labels = int(np.sum(known))
        out.outcomes += layout.count(predicted, actual, codes)
        if self.reference.task == "binary" and batch.scores is not None:
            self._scores(out, top_score(self.reference, batch.scores), actual)
        return out

    def _scores(self, out: Tally, scores: FloatArray, actual: NDArray[np.int16]) -> None:
        used = (scores >= 0) & (scores <= 1) & (actual >= 0)
        counted = score_counts(scores[used], actual[used] == 1, EDGES)
        out.scores[1] += counted.positives.astype(np.int64)
        out.scores[0] += (counted.totals - counted.positives).astype(np.int64)
        out.sums += counted.sums

    def _regression(self, out: Tally, batch: Batch, labels: NDArray[Any] | None) -> None:
        values = decisions(self.reference, batch)
        if labels is None:
            return
        truth, text = numeric_values(labels)
        self.unknown += int(text.sum())
        out.labels = int(np.isfinite(truth).sum())
        if values is None:
            return
        error = np.abs(truth - values.astype(np.float64))
        error = np.minimum(error[np.isfinite(error)], _ERROR_LIMIT)
        out.errors += [len(error), error.sum(), np.square(error).sum(), np.power(error, 4).sum()]

    def windows(self) -> list[Tally]:
        """Return the windows: days, weeks, or about twenty with as many labels each."""
        if not self._slots:
            return []
        return list(_merged(self._slots, self._numbers()))

    def _numbers(self) -> list[int]:
        """Return the number of the window of each slot."""
        if self.timed:
            days = [int(slot.last_time // _DAY) for slot in self._slots]
            for length in (1, _WEEK, 4 * _WEEK, 13 * _WEEK, 52 * _WEEK):
                # the epoch was a Thursday: weeks begin on Mondays
                numbers = [day if length == 1 else (day + 3) // length for day in days]
                if len(set(numbers)) <= 1.6 * _WINDOWS:
                    break
            if len(set(numbers)) >= 4:
                return numbers
        labels = np.cumsum([slot.labels for slot in self._slots])
        if not labels[-1]:  # without labels, by rows
            labels = np.array([slot.last_row for slot in self._slots])
        number = np.minimum((labels - 1) * _WINDOWS // labels[-1], _WINDOWS - 1)
        return [int(n) for n in np.maximum(number, 0)]

    def performance(self) -> list[dict[str, Any]]:
        """Return the performance of each window and of all of them, as JSON values."""
        out = []
        for window in self._with_labels():
            for metric, estimate in performance(window).items():
                out.append(
                    {**_span(window), "metric": metric, "source": "realised", **_json(estimate)}
                )
        return out

    def fairness(self) -> list[dict[str, Any]]:
        """Return the rates of each group in each window, as JSON values."""
        layout = self.reference.group_layout
        if layout is None or len(layout.names) == 1:
            return []
        out = []
        for window in self.windows():
            for i, (attribute, group) in enumerate(layout.names):
                if attribute == OVERALL:
                    continue
                rates = group_rates(window.outcomes[i], window.chosen[i])
                for metric, estimate in rates.items():
                    named = {"attribute": attribute, "group": group, "metric": metric}
                    out.append({**_span(window), **named, **_json(estimate)})
        return out

    def total(self) -> Tally | None:
        """Return the counts of all rows together."""
        found = list(_merged(self._slots, [0] * len(self._slots)))
        return found[0] if found else None

    def _with_labels(self) -> list[Tally]:
        return [window for window in self.windows() if window.labels]


def _merged(slots: Sequence[Tally], numbers: Sequence[int]) -> Iterator[Tally]:
    """Yield the sums of neighbouring slots with the same number."""
    held: Tally | None = None
    last: int | None = None
    for slot, number in zip(slots, numbers, strict=True):
        if held is not None and number == last:
            held.add(slot)
            continue
        if held is not None:
            yield held
        held, last = _copy(slot), number
    if held is not None:
        yield held


def _copy(slot: Tally) -> Tally:
    copies: dict[str, IntArray | FloatArray] = {
        name: getattr(slot, name).copy()
        for name in ("outcomes", "chosen", "scores", "sums", "errors")
    }
    return Tally(
        slot.first_row,
        slot.last_row,
        slot.first_time,
        slot.last_time,
        labels=slot.labels,
        **copies,  # type: ignore[arg-type]
    )


def _span(window: Tally) -> dict[str, Any]:
    return {
        "window": [window.first_row, window.last_row],
        "from": iso(window.first_time),
        "to": iso(window.last_time),
    }


def _json(estimate: Estimate) -> dict[str, Any]:
    return {
        name: round(value, 6) if math.isfinite(value) else None
        for name, value in zip(("value", "lower", "upper"), estimate[:3], strict=True)
    } | {"n": estimate.n}
