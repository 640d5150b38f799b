"""An argument or result of a model comes in; what the worker may safely read later goes out.

Only exact built-in containers and `numpy.ndarray` are looked at, because looking at anything else
runs code of the application. Everything else is passed on by reference.
"""

from __future__ import annotations

from typing import Any, Final

from numpy import ndarray

__all__ = ["COPY_BYTES", "COPY_ROWS", "rows", "snapshot"]

COPY_BYTES: Final = 1 << 24
"""Arrays up to this many bytes are copied; larger ones are taken by reference, so that a request
never waits for, and a full queue never holds, a second copy of a very large batch."""

COPY_ROWS: Final = 100_000
"""The same bound for lists, in rows."""


def snapshot(value: object) -> object:
    """Copy what the application may change after the call.

    Parameters
    ----------
    value
        An exact list, dict or ndarray is copied one level of rows deep; anything else, including
        subclasses, DataFrames and what is beyond `COPY_BYTES` or `COPY_ROWS`, is returned as is.
    """
    kind = type(value)
    if kind is ndarray:
        return value.copy("K") if value.nbytes <= COPY_BYTES else value  # type: ignore[attr-defined]  # narrowed by type()
    if kind is list:
        return value if len(value) > COPY_ROWS else [_row(item) for item in value]  # type: ignore[arg-type, attr-defined]  # narrowed by type()
    if kind is dict:
        return _columns(value)
    return value


def rows(value: object) -> int | None:
    """Count rows without running user code.

    Parameters
    ----------
    value
        Features or output of a call.

    Returns
    -------
    rows
        Number of rows of an exact ndarray, list, tuple or dict of columns; of a list of arrays
        (one per output) those of the first. None for any other type.
    """
    kind = type(value)
    if kind is ndarray:
        shape: tuple[int, ...] = value.shape  # type: ignore[attr-defined]  # narrowed by type()
        return shape[0] if shape else 1
    if kind is list or kind is tuple:
        items: Any = value
        if items and type(items[0]) is ndarray and items[0].ndim == 2:
            return int(items[0].shape[0])
        return len(items)
    if kind is dict and value:
        return rows(next(iter(value.values())))  # type: ignore[attr-defined]  # narrowed by type()
    return None


def _row(value: Any) -> Any:
    kind = type(value)
    if kind is list:
        return value[:]
    if kind is dict:
        return value.copy()
    if kind is ndarray:
        return snapshot(value)
    return value


def _columns(value: Any) -> Any:
    # `dict.copy` takes the stored hashes; assigning under a key that is no string might run code.
    copied = value.copy()
    for key, column in value.items():
        if type(key) is str:
            copied[key] = _row(column)
    return copied
