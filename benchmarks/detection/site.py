"""Rows and a place among them in, the values that are changed there out; and what is true of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.models import Case
from benchmarks.detection.streams import Rows, Traffic

OUTPUTS: Final = frozenset({"score", "prediction"})
QUALITY: Final = frozenset({"calibration", "performance", "error", "labels"})


@dataclass(frozen=True)
class Truth:
    """What was done.

    Parameters
    ----------
    right
        Targets that are right as the first member.
    causes
        Causes of the playbook that are right.
    column
        The one column whose law changed once and for all, for the known-law comparator, or None.
    outputs
        Changes the model's outputs, given row numbers and outputs, or None.
    from_labels
        Whether only labels show it.
    other
        The less important of two columns, or None.
    """

    right: frozenset[str]
    causes: tuple[str, ...]
    column: str | None = None
    outputs: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None
    from_labels: bool = False
    other: str | None = None


@dataclass
class Site:
    """Where a fault goes.

    Parameters
    ----------
    case, traffic
        Data set and model, and the traffic it is in.
    rows
        All rows; changed in place.
    onset, stop
        First row with the fault, and the first after it.
    pick
        Decides what is hit.
    rng
        Decides the rest.
    """

    case: Case
    traffic: Traffic
    rows: Rows
    onset: int
    stop: int
    pick: np.random.Generator
    rng: np.random.Generator

    @property
    def part(self) -> slice:
        """The rows with the fault."""
        return slice(self.onset, self.stop)

    @property
    def n(self) -> int:
        """How many there are."""
        return self.stop - self.onset

    def change(self, name: str, values: NDArray[Any]) -> None:
        """Put other values of a column in."""
        held = self.rows.columns[name]
        if values.dtype == object and held.dtype != object:
            held = held.astype(object)
        else:
            held = held.copy()
        held[self.part] = values
        self.rows.columns[name] = held

    def held(self, name: str) -> NDArray[Any]:
        """Return the values of a column where the fault goes."""
        return np.asarray(self.rows.columns[name][self.part])


Apply = Callable[[Site], Truth]
SHIFT: Final = ("input_shift", "shifted_offset")
