"""One question asked of counts: a null law, how far it may stray, and what to bet on against it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["FloatArray", "IntArray", "Stream", "StreamClock"]

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
StreamClock: TypeAlias = Literal["rows", "labels", "calls", "intervals"]


@dataclass(frozen=True, eq=False)
class Stream:
    """One question about one target, asked of the counts of one source.

    Parameters
    ----------
    monitor
        Name of the monitor, such as ``input_drift``.
    family
        Family whose share of the budget it draws on.
    target
        What it is about: a feature, ``group=value``, ``score``, …
    source
        Name of the counted source.
    clock
        Whether its counts come with rows, labels, calls or intervals of time.
    law
        Reference law over the source's cells, shape ``(cells,)``; zero on cells it ignores.
    scores
        Alternatives: log likelihood ratio of a cell against the end of the null, up to a constant
        that the detector derives from the law of the hour; shape ``(K, cells)``, zero on cells the
        stream ignores.
    ends
        Ends of the null: log tilt of the law that leads to the null's law nearest each
        alternative, shape ``(K, cells)``. Zero where the null is the law alone.
    weights
        Share of each alternative in the stream's evidence, shape ``(K,)``; what is missing to one
        goes to alternatives of any shape, learned from the counts.
    cells
        Names of the source's cells.
    defect
        Which data defect it counts (``missing``, ``unseen``, …), or "".
    yes
        Cells that answer yes where the question is about a rate, shape ``(cells,)``; None where it
        is about a change of any shape.
    radius
        Total variation within which the law may lie anywhere, for the alternatives of any shape.
    design
        Design effect of the source: how many rows say as much as one independent row, at least 1.
    share
        Weight among the streams of its family.
    """

    monitor: str
    family: str
    target: str
    source: str
    clock: StreamClock
    law: FloatArray
    scores: FloatArray
    ends: FloatArray
    weights: FloatArray
    cells: tuple[str, ...]
    defect: str = ""
    yes: NDArray[np.bool_] | None = None
    radius: float = 0.0
    design: float = 1.0
    share: float = 1.0

    def asked(self, counts: NDArray[Any]) -> FloatArray:
        """Return counts, or a law, over the answers of the stream's question.

        Parameters
        ----------
        counts
            Counts per cell of the source, shape ``(…, cells)`` or wider.

        Returns
        -------
        numpy.ndarray
            Shape ``(…, 2)``, no and yes, for a question about a rate; else ``(…, used cells)``.
        """
        used = self.law > 0
        held = counts[..., : len(self.law)].astype(np.float64)
        if self.yes is None:
            return np.asarray(held[..., used])
        yes = held[..., self.yes & used].sum(axis=-1)
        return np.stack([held[..., used].sum(axis=-1) - yes, yes], axis=-1)

    @property
    def shape_weight(self) -> float:
        """Share of the alternatives of any shape in the stream's evidence."""
        return max(1.0 - float(self.weights.sum()), 0.0) if self.radius > 0 else 0.0

    @property
    def empty(self) -> bool:
        """Whether there is nothing to bet on."""
        return not len(self.scores) and self.shape_weight == 0.0

    @property
    def logs(self) -> FloatArray:
        """Log e-value of one row per alternative and cell under the law, shape ``(K, cells)``."""
        used = self.law > 0
        out = np.zeros_like(self.scores)
        if len(out):
            tilted = np.exp(self.ends[:, used]) * self.law[used]
            mean = (tilted * np.exp(self.scores[:, used])).sum(axis=1) / tilted.sum(axis=1)
            out[:, used] = self.scores[:, used] - np.log(mean)[:, None]
        return out

    @property
    def key(self) -> str:
        """Identity of the stream within its model."""
        return f"{self.monitor}:{self.target}" + (f":{self.defect}" if self.defect else "")
