"""A value the application may change in, one it cannot change, or its number of rows, out.

Only exact built-in containers and arrays are looked at: anything else would run the application's
code.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from otel_ml.types import Captured

__all__ = ["by_value", "call_rows", "rows"]


def by_value(value: Any) -> Any:
    """Copy exact built-in containers and arrays; take everything else by reference.

    Subclasses and foreign objects are left alone: copying them would run their code.
    """
    kind = type(value)
    if kind is np.ndarray:
        return value.copy()
    if kind is list:
        return [row.copy() if type(row) in (list, dict, np.ndarray) else row for row in value]
    if kind is dict:
        return {k: v.copy() if type(v) in (list, np.ndarray) else v for k, v in value.items()}
    return value


def rows(value: object) -> int | None:
    """Count the rows of an exact built-in container or array; None where that cannot be told."""
    kind = type(value)
    if kind is np.ndarray:
        shape: tuple[int, ...] = value.shape  # type: ignore[attr-defined]  # narrowed by type()
        return shape[0] if shape else 1
    if kind is list or kind is tuple:
        items: Any = value
        if items and type(items[0]) is np.ndarray and items[0].ndim == 2:
            return int(items[0].shape[0])  # several outputs, one matrix each
        return len(items)
    if kind is dict and value:
        return rows(next(iter(value.values())))  # type: ignore[attr-defined]  # narrowed by type()
    return None


def call_rows(call: Captured) -> int:
    """Return the predictions that are lost with a call: its rows, one where it failed."""
    if call.error is not None:
        return 1
    extra = call.extra or {}
    for value in (call.output, extra.get("predictions"), extra.get("scores"), call.features):
        found = None if value is None else rows(value)
        if found is not None:
            return max(found, 1)
    return 1
