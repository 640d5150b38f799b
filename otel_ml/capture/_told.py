"""Calls of a request in, what its response and its span tell of them out."""

from __future__ import annotations

from collections.abc import Callable
from time import time_ns
from typing import Final

from otel_ml.frame import FEATURES, MODEL, MORE, OUTPUT, Frame, More, prediction_id

__all__ = ["LOOKED_BACK", "NAMED", "Told"]

LOOKED_BACK: Final = 8
"""Calls looked through for one on the same input, and models that are told."""

NAMED: Final = 32
"""Prediction ids a response header names at most: a header is limited to a few kilobytes."""


_rows: Callable[[object], int | None] | None = None


def _rows_of(value: object) -> int | None:
    """Count rows; what does it needs numpy, and is imported when there is something to count."""
    global _rows
    if _rows is None:
        from otel_ml.snapshot import rows

        _rows = rows
    return _rows(value)


class Told:
    """What the response and the span tell of the calls of a request.

    Attributes
    ----------
    calls
        How many there were.
    ids
        Of those that did not fail, `NAMED` at most.
    models
        The latest few.
    rows
        Rows of those that did not fail, None where that cannot be told.
    """

    __slots__ = ("calls", "ids", "models", "rows")

    def __init__(self) -> None:
        self.calls = 0
        self.ids: list[str] = []
        self.models: list[object] = []
        self.rows: int | None = 0

    def add(self, frame: Frame) -> None:
        """Add a call."""
        self.calls += 1
        more: More | None = frame[MORE]
        if more is None or more.error is None:
            if len(self.ids) < NAMED:
                self.ids.append(prediction_id(frame, time_ns()))
            count = _rows_of(frame[OUTPUT])
            count = _rows_of(frame[FEATURES]) if count is None else count
            self.rows = None if count is None or self.rows is None else self.rows + count
        for model in self.models:
            if model is frame[MODEL]:
                return
        self.models = [*self.models[-LOOKED_BACK:], frame[MODEL]]

    def copy(self) -> Told:
        """Return the same, to which more can be added."""
        other = Told()
        other.ids, other.models, other.rows = self.ids[:], self.models, self.rows
        other.calls = self.calls
        return other
