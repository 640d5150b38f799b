"""A column of any kind in, numbers or category keys out: what cells are looked up by.

The values may be objects of the application. Whatever their code raises is a defect of that one
value: it must not lose the batch.
"""

from __future__ import annotations

import math
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from threading import current_thread, main_thread
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.types import FloatArray

__all__ = ["MOST_CHARS", "PLAIN", "category_key", "category_keys", "numeric_values", "plain"]

MOST_CHARS: Final = 200  # of a category that are kept
_ABSENT: Final = frozenset({"", "none", "null", "na", "<na>", "nat"})
_NO_NUMBER: Final = (complex, np.complexfloating, np.ndarray)  # `float` would warn, or take a part


_NUMBERS: Final = (
    *(np.float16, np.float32, np.float64, np.longdouble, np.int8, np.int16, np.int32, np.int64),
    *(np.uint8, np.uint16, np.uint32, np.uint64, np.longlong, np.ulonglong, np.bool_),
)
PLAIN: Final = frozenset(
    (type(None), bool, int, float, str, bytes, Decimal, Fraction, date, datetime, time, timedelta)
) | frozenset(_NUMBERS)


def plain(column: NDArray[Any]) -> NDArray[Any]:
    """Return a column in which nothing is left whose code is the application's.

    Parameters
    ----------
    column
        Shape ``(n,)``.

    Returns
    -------
    numpy.ndarray
        The column itself where it holds numbers, text and the like, of exactly those types; else a
        copy in which any other object is the number or the text that it says it is.
    """
    if column.dtype != object:
        return column
    items = column.tolist()
    if set(map(type, items)) <= PLAIN:
        return column
    out = column.copy()
    for i, item in enumerate(items):
        if type(item) not in PLAIN:
            out[i] = _said(item)
    return out


def _said(item: Any) -> Any:
    try:
        if isinstance(item, str):
            return str.__str__(item)
        if isinstance(item, int):
            return int(item)
        if hasattr(type(item), "__float__") and not isinstance(item, _NO_NUMBER):
            return float(item)
    except BaseException as error:
        if _interrupts(error):
            raise
        return category_key(item)
    return category_key(item)


def numeric_values(column: NDArray[Any]) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return a column as float64, and where it holds something that is no number at all.

    Parameters
    ----------
    column
        Shape ``(n,)``. Numbers, booleans, strings that parse as numbers, or None.

    Returns
    -------
    values
        Shape ``(n,)``; NaN where missing or not a number.
    text
        Shape ``(n,)``; True where the value is present and does not parse as a number.
    """
    if column.dtype.kind in "fiub":
        with np.errstate(over="ignore"):  # a long double beyond float64 becomes infinite
            return column.astype(np.float64), np.zeros(len(column), dtype=bool)
    if column.dtype.kind in "mM":
        # microseconds: nanoseconds overflow in 2262
        values = column.astype("datetime64[us]" if column.dtype.kind == "M" else "m8[us]")
        seconds = values.astype(np.int64).astype(np.float64) / 1e6
        return np.where(np.isnat(values), np.nan, seconds), np.zeros(len(column), dtype=bool)
    values = np.full(len(column), np.nan)
    text = np.zeros(len(column), dtype=bool)
    items = column.tolist()
    odd = any(issubclass(kind, _NO_NUMBER) for kind in set(map(type, items)))
    for i, item in enumerate(items):
        if item is None:
            continue
        if odd and isinstance(item, _NO_NUMBER):
            text[i] = True
            continue
        try:
            values[i] = float(item)
        except BaseException as error:
            if _interrupts(error):
                raise
            values[i], text[i] = _no_float(item, error)
    return values, text


def _no_float(item: Any, error: BaseException) -> tuple[float, bool]:
    """Return what counts for a value that `float` refused, and whether it is no number at all."""
    try:
        if isinstance(error, OverflowError):  # an int too large for a float
            return (math.inf if item > 0 else -math.inf), False
        return math.nan, str(item).strip().lower() not in _ABSENT
    except BaseException as further:
        if _interrupts(further):
            raise
        return math.nan, True


def _interrupts(error: BaseException) -> bool:
    """Say whether somebody wants this to end; only the main thread is ever told."""
    return isinstance(error, KeyboardInterrupt) and current_thread() is main_thread()


def category_key(item: object) -> str | None:
    """Return the text under which a categorical value is counted, None where it is missing.

    An object that cannot say what it is goes by the name of its type.
    """
    if item is None:
        return None
    if type(item) is str:
        return item[:MOST_CHARS]
    try:
        return _key(item)
    except BaseException as error:
        if _interrupts(error):
            raise
        return type(item).__name__[:MOST_CHARS]


def _key(item: Any) -> str | None:
    if isinstance(item, str):
        return item[:MOST_CHARS]
    if isinstance(item, (bool, np.bool_)):
        return str(bool(item))
    # to numpy a duration is an integer, but one that may be missing
    if isinstance(item, (int, np.integer)) and np.timedelta64 not in type(item).__mro__:
        try:
            return str(int(item))[:MOST_CHARS]
        except ValueError:  # longer than Python writes in decimal
            return hex(int(item))[:MOST_CHARS]
    if isinstance(item, (float, np.floating)):
        number = float(item)
        if number != number:
            return None
        return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)
    text = str(item)[:MOST_CHARS]
    return None if text in {"<NA>", "NaT", "nan", "NaN", "sNaN", "None"} else text


def category_keys(column: NDArray[Any]) -> NDArray[Any]:
    """Return the category keys of a column, shape ``(n,)``, object; None where missing."""
    if column.dtype.kind in "fiub":  # few distinct values: convert each once
        distinct, inverse = np.unique(column, return_inverse=True, equal_nan=True)
        keys = np.array([category_key(item) for item in distinct.tolist()], dtype=object)
        return np.asarray(keys[inverse.reshape(-1)])
    items = column.tolist()
    if (
        column.dtype == object
        and set(map(type, items)) <= {str}
        and max(map(len, items), default=0) <= MOST_CHARS
    ):
        return column  # keys already, as most columns of text are
    out = np.empty(len(column), dtype=object)
    for i, item in enumerate(items):
        out[i] = category_key(item)
    return out
