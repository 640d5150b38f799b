"""What an application gave in, tables, scores and predictions as arrays out. Runs in the worker."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.errors import DataError
from otel_ml.profile.columns import objects
from otel_ml.profile.frames import Columns, to_columns
from otel_ml.types import FloatArray

__all__ = ["MOST_FEATURES", "array", "checked", "table"]

_log = logging.getLogger("otel_ml")

MOST_FEATURES: Final = 2000
"""Features that are watched where nobody chose them."""

_ROUNDING: Final = 1e-9  # by which a probability may be off
_said: set[int] = set()  # numbers of features of which it was said that they are too many


def table(features: object, named: Sequence[Sequence[str]], ignore: Sequence[str]) -> Columns:
    """Return features as columns, under the first of several lists of names that fits."""
    if hasattr(features, "toarray") and hasattr(features, "nnz"):
        raise DataError("a sparse matrix", remedy="it is never made dense")
    width = -1
    if isinstance(features, np.ndarray) and features.dtype.names is None:
        width = 1 if features.ndim < 2 else features.shape[1]
    elif isinstance(features, (list, tuple)) and features:
        row = features[0]
        width = len(row) if isinstance(row, (list, tuple, np.ndarray)) else 1
    chosen = next((names for names in named if len(names) == width), ())
    columns = to_columns(features, names=tuple(chosen), ignore=ignore)
    if len(columns.data) <= MOST_FEATURES:
        return columns
    if not _said:
        _said.add(len(columns.data))
        text = "of %d features only %d are watched: name those that matter by a reference of them"
        _log.warning(text, len(columns.data), MOST_FEATURES)
    known = set(named[-1]) & columns.data.keys()  # those of the reference
    room = max(MOST_FEATURES - len(known), 0)
    more = [name for name in columns.data if name not in known][:room]
    kept = known.union(more)
    return Columns(columns.n, {k: v for k, v in columns.data.items() if k in kept}, columns.where)


def checked(scores: FloatArray) -> tuple[FloatArray, int]:
    """Return scores of which those that are no probabilities are missing, and how many rows.

    Parameters
    ----------
    scores
        Shape ``(n,)`` or ``(n, K)``; one class out of range is a whole row out of it.
    """
    wrong = (scores < -_ROUNDING) | (scores > 1 + _ROUNDING)
    if not wrong.any():
        return scores, 0
    rows = wrong if scores.ndim == 1 else wrong.any(axis=1)
    scores = scores.copy()
    scores[rows] = np.nan
    return scores, int(rows.sum())


def array(values: Any) -> NDArray[Any]:
    """Return predictions as an array; of objects where numpy has no other type for them."""
    try:
        return np.asarray(values)
    except Exception:  # what numpy makes of text and of nested lists depends
        if isinstance(values, (list, tuple)):
            return objects(values)
        raise
