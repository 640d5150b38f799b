"""The cells of a numeric column and its law in, its law under another unit or offset out.

Mean and spread suggest a factor or an offset; whether it explains the counts is seen by applying it
to the reference's law. Within a cell values are taken to be spread evenly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from otel_ml.types import FloatArray

__all__ = ["bounds_of", "misfit", "transformed"]


def bounds_of(labels: Sequence[str]) -> FloatArray | None:
    """Return the bounds of numeric cells, read off their names, or None where they have none.

    Parameters
    ----------
    labels
        Names of the cells from below to above the range: ``below_range``, ``(0, 1]``, …

    Returns
    -------
    numpy.ndarray or None
        Shape ``(cells - 1,)``.
    """
    try:
        pairs = [tuple(float(v) for v in label.strip("(]").split(", ")) for label in labels[1:-1]]
        bounds = np.array([pairs[0][0], *(high for _, high in pairs)])
    except (ValueError, IndexError):
        return None
    return bounds if bool((np.diff(bounds) > 0).all()) else None


def transformed(
    p: FloatArray, bounds: FloatArray, factor: float, offset: float, share: float
) -> FloatArray:
    """Return the law of a mixture in which a share of the values went through ``f x + d``.

    Parameters
    ----------
    p
        Law before, shape ``(cells,)``.
    bounds
        Bounds of the cells, shape ``(cells - 1,)``.
    factor, offset
        f, not 0, and d.
    share
        Share of the values that went through it, 0 to 1.
    """
    margin = 0.25 * (bounds[-1] - bounds[0])
    points = np.concatenate([[bounds[0] - margin], bounds, [bounds[-1] + margin]])
    below = np.concatenate([[0.0], np.cumsum(p)])
    moved = np.interp((bounds - offset) / factor, points, below)
    if factor < 0:
        moved = 1 - moved
    mixed = (1 - share) * np.cumsum(p)[:-1] + share * moved
    return np.diff(np.concatenate([[0.0], mixed, [1.0]]))


def misfit(p: FloatArray, q: FloatArray, law: FloatArray, n: float) -> float:
    """Return what a law leaves of the change, 0 to about 1, less what noise leaves of any.

    Parameters
    ----------
    p, q
        Laws before and since the change, shape ``(cells,)``.
    law
        The law that should explain `q`.
    n
        Rows since the change.
    """
    spread = np.maximum(law * (1 - law), 0.0)  # rounding leaves a law a little above one
    noise = float(np.sqrt(2 * spread / (np.pi * n)).sum() / 2)
    left = max(float(np.abs(q - law).sum() / 2) - noise, 0.0)
    return left / max(float(np.abs(q - p).sum() / 2) - noise, 1e-3)
