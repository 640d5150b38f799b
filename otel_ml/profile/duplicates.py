"""Columns of a batch in, True for every row that an earlier row equals, out.

A row counts as a repeat where an identical one was among the rows just before it: the last
`capacity` rows, of this batch or of earlier ones. Only 64-bit hashes of rows are held. They are
local state: two processes cannot add theirs up.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.errors import DataError, StateError
from otel_ml.profile.values import category_key, numeric_values
from otel_ml.turns import give_way
from otel_ml.types import FloatArray

__all__ = ["MOST_ROWS", "RowMemory"]

MOST_ROWS: Final = 15_000  # hashes that fit into 128 kB
_EXACT: Final = 2.0**53  # larger whole numbers are not told apart by float64
_MULTIPLIERS: Final = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SHIFTS: Final = (np.uint64(30), np.uint64(27), np.uint64(31))
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_FEW: Final = 8  # rows up to which comparing with every held hash is faster than sorting


class RowMemory:
    """The hashes of the last rows, in order.

    Parameters
    ----------
    capacity
        How many rows back a repeat is looked for, 1 to 15,000.

    Raises
    ------
    DataError
        If the capacity is out of range.

    Notes
    -----
    Values count as they do in cells: 1, 1.0, True and "1" are equal, so are 0.0 and -0.0, and so
    are all missing values. Whole numbers beyond 2**53 are told apart. Two different rows share a
    hash with a probability below 1e-14, so a row is called a repeat by mistake about once in
    10**10 rows.

    Examples
    --------
    >>> memory = RowMemory(capacity=2)
    >>> memory.repeats({"x": np.array([1.0, 2.0, 1.0, 3.0, 4.0, 1.0])}, 6).tolist()
    [False, False, True, False, False, False]
    """

    __slots__ = ("_held", "capacity")

    def __init__(self, capacity: int = 4096) -> None:
        if not 1 <= capacity <= MOST_ROWS:
            raise DataError(
                f"a memory of {capacity} rows was asked for",
                remedy=f"give a capacity of 1 to {MOST_ROWS}",
            )
        self.capacity = capacity
        self._held: NDArray[np.uint64] = np.empty(0, dtype=np.uint64)

    def repeats(self, columns: Mapping[str, NDArray[Any]], n: int) -> NDArray[np.bool_]:
        """Tell which rows repeat one of the rows before them; as `lags` above zero."""
        return np.asarray(self.lags(columns, n) > 0)

    def lags(self, columns: Mapping[str, NDArray[Any]], n: int) -> NDArray[np.int64]:
        """Return how many rows ago the same row was there, and remember all of them.

        Parameters
        ----------
        columns
            Column by name, each of shape ``(n,)``; their order does not matter.
        n
            Number of rows.

        Returns
        -------
        numpy.ndarray
            Rows back to the latest equal one, 0 where there is none within the capacity, shape
            ``(n,)``. Rows without any column repeat nothing and are not remembered.

        Raises
        ------
        DataError
            If a column does not have one value per row.
        """
        for name, column in columns.items():
            if column.shape != (n,):
                raise DataError(
                    f"column {name!r} has shape {column.shape}, expected ({n},)",
                    remedy="give one value per row",
                )
        if not columns or n == 0:
            return np.zeros(n, dtype=np.int64)
        rows = _row_hashes(columns, n)
        step = self.capacity  # with no more than that at once, positions need few bits
        return np.concatenate([self._take(rows[i : i + step]) for i in range(0, n, step)])

    def _take(self, rows: NDArray[np.uint64]) -> NDArray[np.int64]:
        held, before = np.concatenate([self._held, rows]), len(self._held)
        self._held = held[-self.capacity :].copy()
        if len(rows) <= _FEW:
            ends = range(before, before + len(rows))
            return np.array([_lag(held[max(e - self.capacity, 0) : e], held[e]) for e in ends])
        # hash and position share a key, so that one fast sort brings equal rows together in order
        bits = np.uint64((2 * self.capacity).bit_length())
        low = (np.uint64(1) << bits) - np.uint64(1)
        keys = np.sort((held & ~low) | np.arange(len(held), dtype=np.uint64))
        position = (keys & low).astype(np.int64)
        same = (keys[1:] >> bits) == (keys[:-1] >> bits)
        lag = position[1:] - position[:-1]
        near = same & (lag <= self.capacity)
        out = np.zeros(len(held), dtype=np.int64)
        out[position[1:][near]] = lag[near]
        return out[before:]

    def to_json(self) -> dict[str, Any]:
        """Return everything that is held as plain JSON values."""
        text = base64.b64encode(self._held.astype("<u8").tobytes()).decode("ascii")
        return {"capacity": self.capacity, "hashes": text}

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take up what `to_json` wrote; a smaller capacity keeps the latest rows.

        Raises
        ------
        StateError
            If the data are damaged.
        """
        try:
            raw = base64.b64decode(str(data["hashes"]), validate=True)
            held = np.frombuffer(raw, dtype="<u8").astype(np.uint64)
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise StateError(
                f"the memory of rows is damaged: key 'hashes' {error}",
                remedy="start without it; repeats are found again after the next rows",
            ) from error
        self._held = held[-self.capacity :].copy()


def _lag(held: NDArray[np.uint64], row: np.uint64) -> int:
    """Return how many rows before the end of `held` the row was last seen, 0 where never."""
    found = np.flatnonzero(held == row)
    return len(held) - int(found[-1]) if len(found) else 0


def _row_hashes(columns: Mapping[str, NDArray[Any]], n: int) -> NDArray[np.uint64]:
    """Return one hash per row: the sum of the hashes of its named values."""
    words = np.empty((len(columns), n), dtype=np.uint64)
    given = list(columns.values())
    plain = np.array([_is_float(column) for column in given])
    if plain.any():  # all at once: most of the time of a small batch is calls, not work
        with np.errstate(over="ignore"):
            stacked = np.stack([c for c, p in zip(given, plain, strict=True) if p])
            words[plain] = _float_words(stacked.astype(np.float64))
    for i in np.flatnonzero(~plain):
        words[i] = _words(given[i])
        give_way()
    mixed = words + np.array([[_salt(name)] for name in columns], dtype=np.uint64)
    give_way()
    for shift, multiplier in zip(_SHIFTS, _MULTIPLIERS, strict=False):  # the mixer of splitmix64
        mixed ^= mixed >> shift
        mixed *= multiplier
    mixed ^= mixed >> _SHIFTS[-1]
    return np.asarray(mixed.sum(axis=0, dtype=np.uint64))


def _is_float(column: NDArray[Any]) -> bool:
    kind = column.dtype.kind
    return kind in "fb" or (kind in "iu" and not _large(column))


def _float_words(values: FloatArray) -> NDArray[np.uint64]:
    values = values + 0.0  # -0.0 becomes 0.0
    values[np.isnan(values)] = np.nan
    return values.view(np.uint64)


def _words(column: NDArray[Any]) -> NDArray[np.uint64]:
    """Return 64 bits per value, equal where the values count as equal."""
    if column.dtype.kind in "mM":
        return _float_words(numeric_values(column)[0])
    items = column.tolist()
    plain = [item for item in items if type(item) in _PLAIN]
    known = {item: _word(item) for item in set(plain)}
    words: Iterable[int] = map(known.__getitem__, items)
    if len(plain) < len(items):  # others may be unhashable, or compare in ways of their own
        words = (known[i] if type(i) in _PLAIN else _word(i) for i in items)
    return np.fromiter(words, np.uint64, len(items))


def _large(column: NDArray[Any]) -> bool:
    return column.itemsize == 8 and bool(
        len(column) and (column.max() >= _EXACT or column.min() <= -_EXACT)
    )


def _word(item: object) -> int:
    """Return the bits of one value: of its number where it is one, else a hash of its text."""
    key = category_key(item)
    if key is None:
        return _bits(float("nan"))
    try:
        plain = isinstance(item, (bool, int, float, str, np.number, np.bool_))
        number = float(item if plain else key)  # type: ignore[arg-type]  # narrowed by `plain`
    except (ValueError, OverflowError):
        number = float("nan")
    if number != number or not _faithful(key, number):
        return _salt(item if isinstance(item, str) else key)
    return _bits(number)


def _faithful(key: str, number: float) -> bool:
    """Tell whether a float64 holds the value a text stands for, as far as it is a whole number."""
    if abs(number) < _EXACT or abs(number) == float("inf"):
        return True
    try:
        return int(key) == int(number)
    except ValueError:  # no whole number, such as 1e300
        return True


def _bits(number: float) -> int:
    return int(np.float64(number + 0.0).view(np.uint64))


@lru_cache(maxsize=4096)
def _salt(text: str) -> int:
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")
