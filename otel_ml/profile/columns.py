"""Arrays and rows in, named columns of equal length out; no table library is needed for these."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otel_ml.errors import DataError
from otel_ml.profile.values import numeric_values
from otel_ml.turns import give_way

__all__ = [
    "Columns",
    "array_columns",
    "epoch_seconds",
    "named",
    "named_twice",
    "objects",
    "one_column",
    "row_columns",
]


@dataclass(frozen=True)
class Columns:
    """Named columns of equal length.

    Parameters
    ----------
    n
        Number of rows.
    data
        Column by name, shape ``(n,)`` each.
    where
        What they were read from, for error messages.
    """

    n: int
    data: Mapping[str, NDArray[Any]]
    where: str = "data"

    def require(self, name: str, option: str, *, also: Sequence[str] = ()) -> NDArray[Any]:
        """Return a column.

        Raises
        ------
        DataError
            If there is none of that name; names the option and the closest column.
        """
        if name in self.data:
            return self.data[name]
        from difflib import get_close_matches

        known = [*self.data, *also]
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        shown = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
        raise DataError(
            f"{self.where}: no column {name!r} (asked for by `{option}`)",
            remedy=f"{hint}columns are: {shown}",
        )


def named(pairs: Iterable[tuple[str, NDArray[Any]]], where: str) -> dict[str, NDArray[Any]]:
    """Return columns by name; a name that occurs twice is a `DataError`."""
    data: dict[str, NDArray[Any]] = {}
    for name, column in pairs:
        if name in data:
            raise named_twice(name, where)
        data[name] = column
        give_way()
    return data


def named_twice(name: str, where: str) -> DataError:
    """Return the error for a name that occurs twice."""
    return DataError(
        f"{where}: more than one column is named {name!r}", remedy="give every column its own name"
    )


def one_column(values: object) -> NDArray[Any]:
    """Return any sequence as an array of numbers, times or objects; missing is NaN or None."""
    if isinstance(values, np.ndarray):
        # `np.ma` is a megabyte that few need
        if type(values) is not np.ndarray and isinstance(values, np.ma.MaskedArray):
            return _unmasked(values)
        return values if values.dtype.kind in "fiubmMO" else values.astype(object)
    if isinstance(values, (list, tuple)):
        if set(map(type, values)) <= {int, float}:
            try:
                return np.fromiter(values, np.float64, len(values))
            except OverflowError:  # an int too large for a float: counted as infinite
                return numeric_values(objects(values))[0]
        return objects(values)
    if hasattr(values, "to_numpy"):
        return one_column(np.asarray(values.to_numpy()))
    return one_column(np.asarray(values))


def _unmasked(values: np.ma.MaskedArray[Any, Any]) -> NDArray[Any]:
    known: NDArray[Any] = values.data.astype(np.float64 if values.dtype.kind in "fiub" else object)
    known[np.ma.getmaskarray(values)] = np.nan if known.dtype.kind == "f" else None
    return known


def objects(values: Sequence[Any]) -> NDArray[Any]:
    """Return values as an object array, shape ``(n,)``, whatever they are."""
    if set(map(type, values)) <= {str}:
        return np.array(values, dtype=object)
    out = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):  # assigning all at once would unpack nested sequences
        out[i] = value
    return out


def array_columns(
    array: NDArray[Any], names: Sequence[str], where: str
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield name and values of each column of a 2-D or structured array."""
    if array.dtype.names:
        for name in array.dtype.names:
            yield name, one_column(array[name])
        return
    if array.ndim == 1:
        array = array.reshape(-1, 1)
    if array.ndim != 2:
        raise DataError(
            f"{where}: an array of shape {array.shape} is no table", remedy="give a 2-D array"
        )
    if names and len(names) != array.shape[1]:
        raise DataError(
            f"{where}: {array.shape[1]} columns, {len(names)} names",
            remedy="give the columns the reference was built with, in the same order",
        )
    for j in range(array.shape[1]):
        yield (names[j] if names else f"f{j}"), one_column(array[:, j])


def row_columns(
    rows: Sequence[Any], names: Sequence[str], where: str
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield name and values of each column of rows: mappings, sequences or single values."""
    if rows and isinstance(rows[0], Mapping):
        keys = dict.fromkeys(str(k) for row in rows for k in row)
        for key in keys:
            yield key, one_column([row.get(key) for row in rows])
        return
    if rows and not isinstance(rows[0], (list, tuple, np.ndarray)):
        rows = [[value] for value in rows]
    width = len(rows[0]) if rows else 0
    if not set(map(len, rows)) <= {width}:
        raise DataError(f"{where}: rows of different lengths", remedy="give rows of equal length")
    if names and len(names) != width:
        raise DataError(
            f"{where}: {width} columns, {len(names)} names",
            remedy="give the columns the reference was built with, in the same order",
        )
    for j, column in enumerate(zip(*rows, strict=True)):
        yield (names[j] if names else f"f{j}"), one_column(column)


def epoch_seconds(values: list[Any]) -> NDArray[Any]:
    """Return dates, times and durations as seconds (since the Unix epoch); NaN where missing."""
    import datetime as dt

    seconds = np.full(len(values), np.nan)
    for i, value in enumerate(values):
        if type(value).__name__ in {
            "NaTType",
            "NAType",
        }:  # pandas' are dates, or compare to neither
            continue
        if isinstance(value, dt.timedelta):
            seconds[i] = value.total_seconds()
        elif isinstance(value, dt.datetime):
            aware = value if value.tzinfo is not None else value.replace(tzinfo=dt.timezone.utc)
            seconds[i] = aware.timestamp()
        elif isinstance(value, dt.date):
            seconds[i] = (value - dt.date(1970, 1, 1)).days * 86_400.0
    return seconds
