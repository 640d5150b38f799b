"""Arrays, mappings, DataFrames and parquet files in, named columns out.

DataFrames of any library are read through narwhals, so pandas, polars and arrow take one road.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.errors import DataError
from otel_ml.profile.columns import (
    Columns,
    array_columns,
    epoch_seconds,
    named,
    named_twice,
    objects,
    one_column,
    row_columns,
)
from otel_ml.profile.values import category_key, plain

__all__ = ["Columns", "TableFile", "read_table", "to_columns"]

_WHOLE_BYTES: Final = 64_000_000  # a CSV file up to here is read at once: types are of all its rows
_BLOCK_BYTES: Final = 8_000_000
_PACKED: Final = (".gz", ".bz2", ".zst", ".lz4")


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
        data = named(((str(k), one_column(v)) for k, v in features.items()), where)
    elif isinstance(features, np.ndarray):
        data = named(array_columns(features, names, where), where)
    elif isinstance(features, (list, tuple)):
        data = named(row_columns(features, names, where), where)
    else:
        data = named(_from_frame(features, where), where)
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
    left_out = set(ignore)
    kept = {name: plain(column) for name, column in data.items() if name not in left_out}
    return Columns(next(iter(lengths.values()), 0), kept, where)


def read_table(path: Path) -> Columns:
    """Read a parquet or CSV file.

    Raises
    ------
    DataError
        If the file is missing or unreadable, or the `frames` extra is not installed.
    """
    pa = _arrow(path)
    import pyarrow.csv as pacsv
    import pyarrow.parquet as pq

    try:
        table = pacsv.read_csv(path) if _is_csv(path) else pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    return to_columns(table, where=str(path))


class TableFile:
    """A parquet or CSV file that is read a part at a time, so that memory does not grow with it.

    A column of a CSV file has one type in all its rows, the narrowest that fits every value, as if
    the file were read at once; lines with too many or too few fields are left out and counted.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    DataError
        If the file is missing or unreadable, or the `frames` extra is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self.bad_lines = 0
        self.names: tuple[str, ...] = ()
        self._arrow = _arrow(path)
        self._types: dict[str, Any] = {}
        self._whole: Any = None
        try:
            if _is_csv(path):
                self._survey()
            else:
                with self._parquet() as file:
                    self.names = tuple(file.schema_arrow.names)
                    self.rows = file.metadata.num_rows
        except (self._arrow.ArrowException, OSError) as error:
            raise _unreadable(path, error) from error

    def chunks(self, rows: int, only: Sequence[str] | None = None) -> Iterator[Columns]:
        """Yield the file in parts of at most so many rows.

        Parameters
        ----------
        rows
            Rows of a part, at most.
        only
            Columns to read; all if left out.

        Raises
        ------
        DataError
            Where the file turns out to be damaged.
        """
        try:
            for table in self._tables(rows, only):
                for start in range(0, table.num_rows, rows):
                    yield to_columns(table.slice(start, rows), where=str(self.path))
        except (self._arrow.ArrowException, OSError) as error:
            raise _unreadable(self.path, error) from error

    def _tables(self, rows: int, only: Sequence[str] | None) -> Iterator[Any]:
        names = None if only is None else list(only)
        if self._whole is not None:
            yield self._whole if names is None else self._whole.select(names)
        elif _is_csv(self.path):
            for block in self._stream(names):
                yield self._arrow.Table.from_batches([block])
        else:
            with self._parquet() as file:
                for block in file.iter_batches(rows, columns=names):
                    yield self._arrow.Table.from_batches([block])

    def _parquet(self) -> Any:
        import pyarrow.parquet as pq

        return pq.ParquetFile(self.path, pre_buffer=False)

    def _survey(self) -> None:
        """Learn names, types and number of rows of a CSV file."""
        import pyarrow.csv as pacsv

        size = self.path.stat().st_size * (10 if self.path.suffix.lower() in _PACKED else 1)
        if size <= _WHOLE_BYTES:
            self._whole = pacsv.read_csv(
                self.path, parse_options=pacsv.ParseOptions(invalid_row_handler=self._skip)
            )
            self.names, self.rows = tuple(self._whole.column_names), self._whole.num_rows
            return
        while True:  # each time round, one column gets a wider type
            self.rows = self.bad_lines = 0
            try:
                for block in self._stream(None):
                    self.rows += block.num_rows
            except self._arrow.ArrowInvalid as error:
                if not self._widened(str(error)):
                    raise
            else:
                return

    def _stream(self, only: list[str] | None) -> Iterator[Any]:
        import pyarrow.csv as pacsv

        reader = pacsv.open_csv(
            self.path,
            read_options=pacsv.ReadOptions(block_size=_BLOCK_BYTES),
            parse_options=pacsv.ParseOptions(invalid_row_handler=self._skip),
            convert_options=pacsv.ConvertOptions(column_types=self._types, include_columns=only),
        )
        if only is None:
            self.names = tuple(reader.schema.names)
            self._types = dict(zip(self.names, reader.schema.types, strict=True)) | self._types
        return iter(reader)

    def _widened(self, problem: str) -> bool:
        """Give the column that an error of the reader names the next wider type."""
        pa = self._arrow
        number = problem.partition("CSV column #")[2].partition(":")[0]
        if not number.isdigit() or int(number) >= len(self.names):
            return False
        name = self.names[int(number)]
        wider = [pa.null(), pa.int64(), pa.float64(), pa.string(), pa.binary()]
        now = self._types[name]
        at = wider.index(now) if now in wider else wider.index(pa.float64())
        if at + 1 == len(wider):
            return False
        self._types[name] = wider[at + 1]
        return True

    def _skip(self, row: Any) -> str:
        self.bad_lines += 1
        return "skip"


def _arrow(path: Path) -> Any:
    if not path.is_file():
        raise DataError(f"{path}: no such file", remedy="check the path")
    try:
        import pyarrow
    except ImportError as error:
        raise DataError(
            f"reading {path.suffix or 'tables'} needs pyarrow, which is not installed",
            remedy="pip install 'otel-ml[frames]'",
        ) from error
    return pyarrow


def _is_csv(path: Path) -> bool:
    return ".csv" in [suffix.lower() for suffix in path.suffixes]


def _unreadable(path: Path, error: BaseException) -> DataError:
    said = next(iter(str(error).splitlines()), type(error).__name__)
    return DataError(
        f"{path}: cannot be read ({said})",
        remedy="give a parquet file, or a CSV file whose name ends in .csv or .csv.gz",
    )


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
        raise named_twice(next((n for n in names if names.count(n) > 1), "?"), where) from error
    except TypeError as error:
        raise DataError(
            f"{where}: {type(frame).__name__} is no table",
            remedy="give a DataFrame, a 2-D array, or a mapping of columns",
        ) from error
    for name, series in columns:
        if series.dtype.is_numeric():
            whole = series if series.null_count() == 0 else series.cast(nw.Float64)
            yield str(name), one_column(whole.to_numpy())
        elif series.dtype in (nw.Datetime, nw.Duration, nw.Date):
            yield str(name), epoch_seconds(series.to_list())
        elif series.dtype in (nw.Categorical, nw.Enum):  # levels are names even where they count
            yield str(name), objects([category_key(v) for v in series.to_list()])
        else:
            yield str(name), one_column(series.to_list())
