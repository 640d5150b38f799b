"""Arrays, mappings, DataFrames and parquet files in, named columns out.

DataFrames of any library are read through narwhals, so pandas, polars and arrow take one road.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otel_ml.errors import DataError

__all__ = ["Columns", "read_table", "to_columns"]


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
        known = [*self.data, *also]
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        shown = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
        raise DataError(
            f"{self.where}: no column {name!r} (asked for by `{option}`)",
            remedy=f"{hint}columns are: {shown}",
        )


def to_columns(
    features: object, *, names: Sequence[str] = (), ignore: Sequence[str] = (), where: str = "data"
) -> Columns:
    """Return any table-like object as named columns.

    Parameters
    ----------
    features
        A mapping of columns, a 2-D array, a list of rows (mappings or sequences), a structured
        array, or a DataFrame that narwhals knows.
    names
        Names for columns that have none; ``f0``, ``f1``, … if left out.
    ignore
        Columns to leave out.
    where
        What they come from, for error messages.

    Raises
    ------
    DataError
        If the object is not a table, or its columns have different lengths.
    """
    data: dict[str, NDArray[Any]]
    if isinstance(features, Columns):
        data = dict(features.data)
    elif isinstance(features, Mapping):
        data = {str(k): _column(v) for k, v in features.items()}
    elif isinstance(features, np.ndarray):
        data = dict(_from_array(features, names, where))
    elif isinstance(features, (list, tuple)):
        data = dict(_from_rows(features, names, where))
    else:
        data = _from_frame(features, where)
    lengths = {name: len(column) for name, column in data.items()}
    if len(set(lengths.values())) > 1:
        (a, na), (b, nb) = sorted(lengths.items(), key=lambda kv: kv[1])[:: len(lengths) - 1]
        raise DataError(
            f"{where}: column {a!r} has {na} rows, column {b!r} has {nb}",
            remedy="give columns of equal length",
        )
    kept = {name: column for name, column in data.items() if name not in set(ignore)}
    return Columns(next(iter(lengths.values()), 0), kept, where)


def read_table(path: Path) -> Columns:
    """Read a parquet or CSV file.

    Raises
    ------
    DataError
        If the file is missing or unreadable, or the `frames` extra is not installed.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file", remedy="check the path")
    try:
        import pyarrow as pa
        import pyarrow.csv as pacsv
        import pyarrow.parquet as pq
    except ImportError as error:
        raise DataError(
            f"reading {path.suffix or 'tables'} needs pyarrow, which is not installed",
            remedy="pip install 'otel-ml[frames]'",
        ) from error
    suffixes = [s.lower() for s in path.suffixes]
    try:
        table = pacsv.read_csv(path) if ".csv" in suffixes else pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path}: cannot be read ({str(error).splitlines()[0]})",
            remedy="give a parquet file, or a CSV file whose name ends in .csv or .csv.gz",
        ) from error
    return to_columns(table, where=str(path))


def _column(values: object) -> NDArray[Any]:
    if isinstance(values, np.ndarray):
        return values if values.dtype.kind in "fiubmMO" else values.astype(object)
    if isinstance(values, (list, tuple)):
        if all(type(v) in (int, float) for v in values):
            return np.asarray(values, dtype=np.float64)
        out = np.empty(len(values), dtype=object)
        out[:] = values
        return out
    if hasattr(values, "to_numpy"):
        return _column(np.asarray(values.to_numpy()))
    return _column(np.asarray(values))


def _from_array(
    array: NDArray[Any], names: Sequence[str], where: str
) -> Iterator[tuple[str, NDArray[Any]]]:
    if array.dtype.names:
        for name in array.dtype.names:
            yield name, _column(array[name])
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
        yield (names[j] if names else f"f{j}"), _column(array[:, j])


def _from_rows(
    rows: Sequence[Any], names: Sequence[str], where: str
) -> Iterator[tuple[str, NDArray[Any]]]:
    if rows and isinstance(rows[0], Mapping):
        keys = dict.fromkeys(str(k) for row in rows for k in row)
        for key in keys:
            yield key, _column([row.get(key) for row in rows])
        return
    if rows and not isinstance(rows[0], (list, tuple, np.ndarray)):
        rows = [[value] for value in rows]
    width = len(rows[0]) if rows else 0
    if any(len(row) != width for row in rows):
        raise DataError(f"{where}: rows of different lengths", remedy="give rows of equal length")
    if names and len(names) != width:
        raise DataError(
            f"{where}: {width} columns, {len(names)} names",
            remedy="give the columns the reference was built with, in the same order",
        )
    for j in range(width):
        yield (names[j] if names else f"f{j}"), _column([row[j] for row in rows])


def _from_frame(frame: Any, where: str) -> dict[str, NDArray[Any]]:
    try:
        import narwhals as nw
    except ImportError as error:
        raise DataError(
            f"{where}: reading a {type(frame).__name__} needs narwhals, which is not installed",
            remedy="pip install 'otel-ml[frames]', or give a mapping of numpy arrays",
        ) from error
    try:
        table = nw.from_native(frame, eager_only=True)
    except TypeError as error:
        raise DataError(
            f"{where}: {type(frame).__name__} is no table",
            remedy="give a DataFrame, a 2-D array, or a mapping of columns",
        ) from error
    out = {}
    for name in table.columns:
        series = table[name]
        if series.dtype.is_numeric() and series.null_count() == 0:
            out[str(name)] = series.to_numpy()
        elif series.dtype.is_numeric():
            out[str(name)] = series.cast(nw.Float64).to_numpy().astype(np.float64)
        elif series.dtype in (nw.Datetime, nw.Duration, nw.Date):
            out[str(name)] = _times(series.to_list())
        else:
            out[str(name)] = _column(series.to_list())
    return {name: _column(column) for name, column in out.items()}


def _times(values: list[Any]) -> NDArray[Any]:
    """Return dates, times and durations as seconds (since the Unix epoch); NaN where missing."""
    import datetime as dt

    seconds = np.full(len(values), np.nan)
    for i, value in enumerate(values):
        if isinstance(value, dt.timedelta):
            seconds[i] = value.total_seconds()
        elif isinstance(value, dt.datetime):
            aware = value if value.tzinfo is not None else value.replace(tzinfo=dt.timezone.utc)
            seconds[i] = aware.timestamp()
        elif isinstance(value, dt.date):
            seconds[i] = (value - dt.date(1970, 1, 1)).days * 86_400.0
    return seconds
