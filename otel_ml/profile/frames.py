"""Arrays, mappings, DataFrames and parquet files in, named columns out.

DataFrames of any library are read through narwhals, so pandas, polars and arrow take one road.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otel_ml.errors import DataError
from otel_ml.profile.values import category_key, numeric_values

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
        If the object is not a table, a name occurs twice, or a column has another length than the
        others or more than one dimension.
    """
    data: dict[str, NDArray[Any]]
    if isinstance(features, Columns):
        data = dict(features.data)
    elif isinstance(features, Mapping):
        data = _named(((str(k), _column(v)) for k, v in features.items()), where)
    elif isinstance(features, np.ndarray):
        data = _named(_from_array(features, names, where), where)
    elif isinstance(features, (list, tuple)):
        data = _named(_from_rows(features, names, where), where)
    else:
        data = _named(_from_frame(features, where), where)
    for name, column in data.items():
        if column.ndim != 1:
            raise DataError(
                f"{where}: column {name!r} has shape {column.shape}",
                remedy="give one value per row and column",
            )
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


def _named(pairs: Iterable[tuple[str, NDArray[Any]]], where: str) -> dict[str, NDArray[Any]]:
    data: dict[str, NDArray[Any]] = {}
    for name, column in pairs:
        if name in data:
            raise _twice(name, where)
        data[name] = column
    return data


def _twice(name: str, where: str) -> DataError:
    return DataError(
        f"{where}: more than one column is named {name!r}", remedy="give every column its own name"
    )


def _column(values: object) -> NDArray[Any]:
    if isinstance(values, np.ma.MaskedArray):
        known: NDArray[Any] = values.data.astype(
            np.float64 if values.dtype.kind in "fiub" else object
        )
        known[np.ma.getmaskarray(values)] = np.nan if known.dtype.kind == "f" else None
        return known
    if isinstance(values, np.ndarray):
        return values if values.dtype.kind in "fiubmMO" else values.astype(object)
    if isinstance(values, (list, tuple)):
        if all(type(v) in (int, float) for v in values):
            try:
                return np.asarray(values, dtype=np.float64)
            except OverflowError:  # an int too large for a float: counted as infinite
                return numeric_values(_objects(values))[0]
        return _objects(values)
    if hasattr(values, "to_numpy"):
        return _column(np.asarray(values.to_numpy()))
    return _column(np.asarray(values))


def _objects(values: Sequence[Any]) -> NDArray[Any]:
    out = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):  # assigning all at once would unpack nested sequences
        out[i] = value
    return out


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


def _from_frame(frame: Any, where: str) -> Iterator[tuple[str, NDArray[Any]]]:
    try:
        import narwhals as nw
    except ImportError as error:
        raise DataError(
            f"{where}: reading a {type(frame).__name__} needs narwhals, which is not installed",
            remedy="pip install 'otel-ml[frames]', or give a mapping of numpy arrays",
        ) from error
    try:
        table = nw.from_native(frame, eager_only=True)
        columns = list(zip(table.columns, table.iter_columns(), strict=True))
    except nw.exceptions.DuplicateError as error:
        names = [
            str(name) for name in getattr(frame, "column_names", getattr(frame, "columns", ()))
        ]
        raise _twice(next((n for n in names if names.count(n) > 1), "?"), where) from error
    except TypeError as error:
        raise DataError(
            f"{where}: {type(frame).__name__} is no table",
            remedy="give a DataFrame, a 2-D array, or a mapping of columns",
        ) from error
    for name, series in columns:
        if series.dtype.is_numeric():
            whole = series if series.null_count() == 0 else series.cast(nw.Float64)
            yield str(name), _column(whole.to_numpy())
        elif series.dtype in (nw.Datetime, nw.Duration, nw.Date):
            yield str(name), _times(series.to_list())
        elif series.dtype in (nw.Categorical, nw.Enum):  # levels are names even where they count
            yield str(name), _objects([category_key(v) for v in series.to_list()])
        else:
            yield str(name), _column(series.to_list())


def _times(values: list[Any]) -> NDArray[Any]:
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
