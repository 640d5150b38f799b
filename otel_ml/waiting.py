"""Rows of a batch in, what is kept of each until its label comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from otel_ml.types import FloatArray, IntArray

__all__ = ["Waiting", "WaitingRows"]


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


@dataclass(frozen=True, slots=True)
class WaitingRows(Sequence[Waiting]):
    """What is kept of the rows of a batch, as columns until a label asks for one of them.

    Parameters
    ----------
    first
        Number of the first row.
    predicted
        Position of the predicted class, shape ``(n,)``.
    score
        Watched score or predicted value, shape ``(n,)``.
    groups
        Group codes of each slicing attribute, shape ``(n,)`` each.
    """

    first: int
    predicted: IntArray
    score: FloatArray
    groups: tuple[NDArray[np.uint8], ...]

    def __len__(self) -> int:
        return len(self.predicted)

    @overload
    def __getitem__(self, i: int) -> Waiting: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[Waiting]: ...
    def __getitem__(self, i: int | slice) -> Waiting | Sequence[Waiting]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        groups = tuple(int(codes[i]) for codes in self.groups)
        return Waiting(self.first + i, int(self.predicted[i]), float(self.score[i]), groups)
