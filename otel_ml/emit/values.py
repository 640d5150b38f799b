"""Any Python value in, a value of OTLP's closed set out, or `Unencodable`.

One bad value makes a whole OTLP request unencodable, so nothing reaches protobuf unchecked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
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
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int):
        if _INT64_MIN <= value <= _INT64_MAX:
            return int(value)
        raise Unencodable("an integer outside int64")
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        raise Unencodable("not a finite number")
    raise Unencodable(f"not a number: {type(value).__name__}")


def uint64(value: object) -> int:
    """Return a count or a time: an exact non-negative integer of at most 64 bits."""
    if isinstance(value, np.integer):
        value = value.item()
    if isinstance(value, int) and 0 <= value <= _UINT64_MAX:
        return int(value)
    raise Unencodable(f"not a count: {type(value).__name__}")


def plain(value: object) -> str | bool | int | float:
    """Return an attribute value as an exact str, bool, int (within int64) or float."""
    if isinstance(value, np.generic) and not isinstance(value, str):
        value = value.item()
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return text(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int):
        return int(number(value))
    raise Unencodable(f"not an attribute value: {type(value).__name__}")


def any_value(value: object, limit: int | None = None) -> AnyValue:
    """Encode an attribute value; lists and tuples of plain values become arrays.

    Parameters
    ----------
    value
        The value.
    limit
        Longest string that is kept whole, in characters; None keeps all.
    """
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
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
