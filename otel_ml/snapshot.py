"""A value the application may change in, one it cannot change, or its number of rows, out.

Only exact built-in containers and arrays are looked at: anything else would run the application's
code.
"""

from __future__ import annotations

from typing import Any, Final

from numpy import ndarray

from otel_ml.frame import BY_HAND, FEATURES, INLINE, METHOD, MORE, OUTPUT, Frame
from otel_ml.types import Captured

__all__ = ["COPY_BYTES", "COPY_ROWS", "by_value", "call_rows", "is_large", "rows"]


COPY_BYTES: Final = 1 << 24
"""Arrays up to this many bytes are copied; larger ones are taken by reference, so that a request
never waits for, and a full queue never holds, a second copy of a very large batch."""

COPY_ROWS: Final = 100_000
"""The same bound for lists, in rows."""


_LARGE_BYTES: Final = 1 << 16
_LARGE_ROWS: Final = 64


def by_value(value: Any) -> Any:
    """Copy what the application may change after the call.

    Parameters
    ----------
    value
        An exact list, dict or ndarray is copied one level of rows deep; anything else, including
        subclasses, DataFrames and what is beyond `COPY_BYTES` or `COPY_ROWS`, is returned as is.
    """
    kind = type(value)
    if kind is ndarray:
        return value.copy("K") if value.nbytes <= COPY_BYTES else value
    if kind is list:
        if len(value) == 1 and type(value[0]) is list:  # one row, as most requests have
            return [value[0][:]]
        return value if len(value) > COPY_ROWS else [_row(item) for item in value]
    if kind is dict:
        return _columns(value)
    return value


def rows(value: object) -> int | None:
    """Count the rows of an exact built-in container or array; None where that cannot be told."""
    kind = type(value)
    if kind is ndarray:
        shape: tuple[int, ...] = value.shape  # type: ignore[attr-defined]  # narrowed by type()
        return shape[0] if shape else 1
    if kind is list or kind is tuple:
        items: Any = value
        if items and type(items[0]) is ndarray and items[0].ndim == 2:
            return int(items[0].shape[0])  # several outputs, one matrix each
        return len(items)
    if kind is dict and value:
        return rows(next(iter(value.values())))  # type: ignore[attr-defined]  # narrowed by type()
    return 1 if value is INLINE else None


def call_rows(call: Captured | Frame) -> int:
    """Return the predictions that are lost with a call: its rows, one where it failed."""
    if type(call) is list:
        if call[MORE] is not None and call[MORE].error is not None:
            return 1
        values: tuple[object, ...] = (call[OUTPUT], call[FEATURES])
        if call[METHOD] == BY_HAND:
            scores, predictions = call[OUTPUT][:2]
            values = (predictions, scores, call[FEATURES])
    else:
        assert isinstance(call, Captured)
        if call.error is not None:
            return 1
        extra = call.extra or {}
        values = (call.output, extra.get("predictions"), extra.get("scores"), call.features)
    for value in values:
        found = None if value is None else rows(value)
        if found is not None:
            return max(found, 1)
    return 1


def is_large(call: Captured | Frame) -> bool:
    """Tell whether a call holds so much that it should not wait long."""
    features = call[FEATURES] if type(call) is list else None
    if features is INLINE:
        return False
    if type(features) is ndarray:
        return features.nbytes > _LARGE_BYTES
    return call_rows(call) > _LARGE_ROWS


def _row(value: Any) -> Any:
    kind = type(value)
    if kind is list:
        return value[:]
    if kind is dict:
        return value.copy()
    if kind is ndarray:
        return by_value(value)
    return value


def _columns(value: Any) -> Any:
    if sum(column.nbytes for column in value.values() if type(column) is ndarray) > COPY_BYTES:
        return value
    # `dict.copy` takes the stored hashes; assigning under a key that is no string might run code.
    copied = value.copy()
    for key, column in value.items():
        if type(key) is str:
            copied[key] = _row(column)
    return copied
