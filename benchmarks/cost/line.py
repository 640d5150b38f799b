"""A measured figure and its anchor in, its ratio, its verdict and its JSON out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Line", "Unavailable"]


class Unavailable(RuntimeError):
    """Something that a row needs is not there; the message says what."""


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Parameters
    ----------
    what
        What was measured.
    unit
        Of both figures.
    ours
        What otel-ml takes.
    anchor
        What it stands beside, "" where the bound is on the figure itself.
    beside
        The anchor's figure in the same run, None without one.
    bound
        What the ratio to the anchor may be at most or, without an anchor, the figure itself. None
        where nothing is asked.
    note
        What the reader must know about this figure.
    """

    what: str
    unit: str
    ours: float
    anchor: str = ""
    beside: float | None = None
    bound: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours over the anchor's; None without an anchor."""
        return None if self.beside is None else self.ours / self.beside

    @property
    def met(self) -> bool | None:
        """Whether the budget is met; None where there is none."""
        if self.bound is None:
            return None
        return (self.ours if self.ratio is None else self.ratio) <= self.bound

    @property
    def verdict(self) -> str:
        """The same in a word."""
        return {None: "", True: "met", False: "MISSED"}[self.met]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, held: Mapping[str, Any]) -> Line:
        """Return the line that was written."""
        return cls(**held)
