"""Any Python value in, a value of OTLP's closed set out, or `Unencodable`.

One bad value makes a whole OTLP request unencodable, so nothing reaches protobuf unchecked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue

__all__ = ["Unencodable", "any_value", "key_values", "number", "plain", "text", "uint64"]

_INT64_MIN: Final = -(2**63)
_INT64_MAX: Final = 2**63 - 1
_UINT64_MAX: Final = 2**64 - 1
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Unencodable(ValueError):
    """A value has no place in OTLP."""


def text(value: object) -> str:
    """Return an exact string in which lone surrogates became U+FFFD."""
    if not isinstance(value, str):
        raise Unencodable(f"not a string: {type(value).__name__}")
    # A subclass may override what it looks like; protobuf and sorting want the characters.
    exact = value if type(value) is str else str.__str__(value)
    return exact if exact.isascii() else _SURROGATE.sub("\ufffd", exact)


def number(value: object) -> int | float:
    """Return a finite number: an int within int64, or a float; booleans become 0 and 1."""
    exact = _exact(value)
    if type(exact) is float:
        if math.isfinite(exact):
            return exact
        raise Unencodable("not a finite number")
    if type(exact) is int or type(exact) is bool:
        if _INT64_MIN <= exact <= _INT64_MAX:
            return int(exact)
        raise Unencodable("an integer outside int64")
    raise Unencodable(f"not a number: {type(value).__name__}")


def uint64(value: object) -> int:
    """Return a count or a time: an exact non-negative integer of at most 64 bits."""
    exact = _exact(value)
    if (type(exact) is int or type(exact) is bool) and 0 <= exact <= _UINT64_MAX:
        return int(exact)
    raise Unencodable(f"not a count: {type(value).__name__}")


def plain(value: object) -> str | bool | int | float:
    """Return an attribute value as an exact str, bool, int (within int64) or float."""
    exact = _exact(value)
    if type(exact) is str:
        return text(exact)
    if type(exact) is int:
        return number(exact)
    if type(exact) is bool or type(exact) is float:
        return exact
    raise Unencodable(f"not an attribute value: {type(value).__name__}")


def _exact(value: object) -> object:
    """Return a value of an exact built-in type, or what it is where it stands for none.

    Only methods of the built-in types are called: a subclass may override its own.
    """
    if isinstance(value, np.generic):
        if isinstance(value, np.bool_):
            return bool(value)
        if isinstance(value, np.timedelta64):  # an integer to numpy, but none that means a number
            return value
        if isinstance(value, np.integer):
            return int(value)
        if isinstance(value, np.floating):
            return float(value)  # also of a long double, which has no item() of its own
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int.__index__(value)
    if isinstance(value, float):
        return float.__float__(value)
    return value


def any_value(value: Any, limit: int | None = None) -> AnyValue:
    """Encode an attribute value; lists and tuples of plain values become arrays.

    Parameters
    ----------
    value
        The value.
    limit
        Longest string that is kept whole, in characters; None keeps all.
    """
    if type(value) in (list, tuple):
        return AnyValue(array_value=ArrayValue(values=[_scalar(item, limit) for item in value]))
    return _scalar(value, limit)


def _scalar(value: object, limit: int | None) -> AnyValue:
    exact = plain(value)
    if isinstance(exact, str):
        return AnyValue(string_value=exact if limit is None else exact[:limit])
    if isinstance(exact, bool):
        return AnyValue(bool_value=exact)
    if isinstance(exact, int):
        return AnyValue(int_value=exact)
    return AnyValue(double_value=exact)


def key_values(attributes: Mapping[Any, Any]) -> list[KeyValue]:
    """Encode the attributes of a point; one that cannot be encoded makes the point unencodable.

    Leaving the attribute out instead would merge the point into another series.
    """
    return [KeyValue(key=text(key), value=_scalar(item, None)) for key, item in attributes.items()]
