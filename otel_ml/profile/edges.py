"""Sorted values in, edges between them that no rounding error crosses out."""

from __future__ import annotations

import math
import sys
from typing import Final

import numpy as np

from otel_ml.types import FloatArray

__all__ = ["LARGEST", "edge_above", "edge_below"]

LARGEST: Final = sys.float_info.max


def edge_above(known: FloatArray, value: float, margin: float) -> float:
    """Return an edge between a value and the next larger one, or a margin above the largest.

    Never at a value: a value that is off by a rounding error, such as one that went through single
    precision, must stay in its cell.
    """
    at = int(np.searchsorted(known, value, side="right"))
    beyond = min(value + margin, LARGEST) if at == len(known) else float(known[at])
    return _between(value, beyond, value)


def edge_below(known: FloatArray, value: float, margin: float) -> float:
    """Return an edge between a value and the next smaller one, or a margin below the smallest."""
    at = int(np.searchsorted(known, value, side="left"))
    beyond = max(value - margin, -LARGEST) if at == 0 else float(known[at - 1])
    lowest = max(math.nextafter(value, -math.inf), -LARGEST)
    return _between(min(beyond, lowest), value, min(beyond, lowest))


def _between(low: float, high: float, otherwise: float) -> float:
    """Return the shortest number well between two others, `otherwise` where there is no room."""
    middle = low / 2 + high / 2
    quarter = high / 4 - low / 4
    for digits in range(2, 18):
        short = float(f"{middle:.{digits}g}")
        # both neighbours may be off by a rounding error
        if low < low + quarter <= short <= high - quarter < high:
            return short
    return otherwise
