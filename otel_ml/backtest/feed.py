"""Files, globs, folders or a DataFrame in, batches of rows of any wanted size out, in order."""

from __future__ import annotations

import glob
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.errors import DataError
from otel_ml.profile.columns import Columns
from otel_ml.profile.frames import TableFile, to_columns

__all__ = ["Feed", "expand"]

_READ_ROWS: Final = 8192
_TABLES: Final = (".parquet", ".pq", ".csv")


def expand(patterns: Sequence[str | Path]) -> list[Path]:
    """Return the files that paths, folders and patterns stand for, each once.

    Raises
    ------
    DataError
        If one of them stands for no file.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            files = [
                file
                for file in sorted(path.rglob("*"))
                if file.is_file() and {s.lower() for s in file.suffixes} & set(_TABLES)
            ]
        elif path.exists():
            files = [path]
        else:
            files = [Path(name) for name in sorted(glob.glob(str(pattern), recursive=True))]
        if not files:
            raise DataError(
                f"{pattern}: no such file" + (" that is a table" if path.is_dir() else ""),
                remedy="give parquet or CSV files, a folder of them, or a pattern in quotes",
            )
        found |= dict.fromkeys(files)
    return list(found)


class Feed:
    """The rows of several tables, one after the other.

    Parameters
    ----------
    tables
        Files, or columns that are in memory.
    """

    def __init__(self, tables: Sequence[TableFile | Columns]) -> None:
        self.tables = tuple(tables)
        self.rows = sum(t.n if isinstance(t, Columns) else t.rows for t in tables)
        self.bad_lines = sum(0 if isinstance(t, Columns) else t.bad_lines for t in tables)

    @classmethod
    def of(cls, data: object) -> Feed:
        """Return the feed of paths, patterns, a folder, or anything that is a table.

        Raises
        ------
        DataError
            If a file is missing or cannot be read, or the object is no table.
        """
        if isinstance(data, (str, Path)):
            data = [data]
        if (
            isinstance(data, (list, tuple))
            and data
            and all(isinstance(d, (str, Path)) for d in data)
        ):
            return cls([TableFile(path) for path in expand(data)])
        return cls([to_columns(data)])

    @property
    def names(self) -> tuple[str, ...]:
        """Columns of all tables, in order."""
        every = (n for t in self.tables for n in (t.data if isinstance(t, Columns) else t.names))
        return tuple(dict.fromkeys(every))

    @property
    def where(self) -> str:
        """What is read, for messages."""
        first = self.tables[0]
        name = first.where if isinstance(first, Columns) else str(first.path)
        more = len(self.tables) - 1
        return f"{name} and {more} more" if more else name

    def files(self) -> list[tuple[str, int]]:
        """Return name and first row of each table."""
        out, at = [], 0
        for table in self.tables:
            out.append((table.where if isinstance(table, Columns) else table.path.name, at))
            at += table.n if isinstance(table, Columns) else table.rows
        return out

    def column(self, name: str) -> Iterator[NDArray[Any]]:
        """Yield one column, a part at a time; tables that do not have it are left out."""
        for table in self.tables:
            if isinstance(table, Columns):
                if name in table.data:
                    yield table.data[name]
            elif name in table.names:
                for part in table.chunks(65_536, [name]):
                    yield part.data[name]

    def batches(self, wanted: Callable[[], int]) -> Iterator[Columns]:
        """Yield batches of the size that is wanted when each is made.

        Where the columns change from one table to the next, a batch ends early.

        Parameters
        ----------
        wanted
            Returns the rows of the next batch.
        """
        held: deque[Columns] = deque()
        rows = 0
        for part in self._parts():
            if held and held[0].data.keys() != part.data.keys():
                while rows:
                    size = min(wanted(), rows)
                    yield _take(held, size)
                    rows -= size
            held.append(part)
            rows += part.n
            while rows >= (size := wanted()):
                yield _take(held, size)
                rows -= size
        while rows:
            size = min(wanted(), rows)
            yield _take(held, size)
            rows -= size

    def _parts(self) -> Iterator[Columns]:
        for table in self.tables:
            if isinstance(table, Columns):
                if table.n:
                    yield table
            else:
                yield from table.chunks(_READ_ROWS)


def _take(held: deque[Columns], rows: int) -> Columns:
    """Remove the first rows from what is held, and return them."""
    taken: list[Columns] = []
    while rows:
        first = held[0]
        if first.n <= rows:
            taken.append(held.popleft())
            rows -= first.n
        else:
            taken.append(_slice(first, 0, rows))
            held[0] = _slice(first, rows, first.n)
            rows = 0
    if len(taken) == 1:
        return taken[0]
    data = {name: _joined([part.data[name] for part in taken]) for name in taken[0].data}
    return Columns(sum(part.n for part in taken), data, taken[0].where)


def _slice(table: Columns, start: int, end: int) -> Columns:
    return Columns(end - start, {k: v[start:end] for k, v in table.data.items()}, table.where)


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    kinds = {part.dtype.kind for part in parts}
    if len(kinds) > 1 and not kinds <= set("fiu"):  # nothing that numpy would join as it is
        parts = [part.astype(object) for part in parts]
    return np.concatenate(parts)
