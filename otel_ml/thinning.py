"""A very large call in, a part of its rows out, and how many rows that leaves unread.

A million rows say hardly more than a hundred thousand of them do, and would take memory and time
from the application.
"""

from __future__ import annotations

import copy
from typing import Any, Final

import numpy as np

from otel_ml.types import Captured

__all__ = ["MOST_VALUES", "thinned"]

MOST_VALUES: Final = 1 << 21  # of one call that are read: about 16 MB as numbers


def thinned(call: Captured) -> tuple[Captured, int]:
    """Return a call with as many of its rows as can be read.

    Parameters
    ----------
    call
        As it was captured.

    Returns
    -------
    part
        The same call where it is small, or is no table whose rows can be chosen; else every k-th
        row of features and outputs.
    unread
        Rows that were left out.
    """
    shape = _shape(call.features)
    if shape is None:
        return call, 0
    rows, columns = shape
    step = -(-rows * columns // MOST_VALUES)
    if step <= 1 or rows < step:
        return call, 0
    part = copy.copy(call)
    part.features = _every(call.features, step)
    part.output = _every(call.output, step)
    if call.outputs is not None:
        part.outputs = {name: _every(value, step) for name, value in call.outputs.items()}
    if call.extra is not None:
        part.extra = {
            name: _columns(value, step) if name == "slices" else _every(value, step)
            for name, value in call.extra.items()
        }
    return part, rows - -(-rows // step)


def _shape(features: object) -> tuple[int, int] | None:
    """Return rows and columns of a table."""
    if type(features) is dict:
        columns = list(features.values())
        return (len(columns[0]), len(columns)) if columns and _is_sliced(columns[0]) else None
    if type(features) is list:
        first = features[0] if features else None
        return len(features), len(first) if isinstance(first, (list, tuple, dict)) else 1
    shape = getattr(features, "shape", None)
    if type(shape) is tuple and len(shape) == 2 and all(type(n) is int for n in shape):
        return None if hasattr(features, "toarray") else (shape[0], shape[1])
    return None


def _is_sliced(value: object) -> bool:
    return isinstance(value, (list, tuple, np.ndarray))


def _every(value: Any, step: int) -> Any:
    """Return every `step`-th row."""
    if value is None:
        return None
    if type(value) is dict:
        return _columns(value, step)
    if _is_sliced(value):
        return value[::step]
    if hasattr(value, "iloc"):  # of pandas, whose brackets choose columns
        return value.iloc[::step]
    return value[::step]


def _columns(value: Any, step: int) -> Any:
    if type(value) is not dict:
        return _every(value, step)
    return {name: _every(column, step) for name, column in value.items()}
