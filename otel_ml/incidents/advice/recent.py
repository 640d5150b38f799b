"""Rows as they come in, the latest few thousand of them out, with columns that are no features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.profile.profile import Layout
from otel_ml.types import IntArray

__all__ = ["RecentRows"]

_CAPACITY: Final = 4096


class RecentRows:
    """A ring of the latest rows as cell codes, with the columns that are no features.

    Parameters
    ----------
    layout
        Sources and cells of the codes.
    capacity
        Rows kept, at most 4,096.
    """

    def __init__(self, layout: Layout, capacity: int = _CAPACITY) -> None:
        self.layout = layout
        self.capacity = min(capacity, _CAPACITY)
        self._codes = np.full((self.capacity, len(layout.sources)), -1, dtype=np.int16)
        self._rows = np.zeros(self.capacity, dtype=np.int64)
        self._extras: dict[str, NDArray[Any]] = {}
        self._taken = 0

    def __len__(self) -> int:
        """Return the number of rows kept."""
        return min(self._taken, self.capacity)

    @property
    def rows(self) -> IntArray:
        """Numbers of the rows kept, in no order, shape ``(m,)``."""
        return self._rows[: len(self)]

    @property
    def codes(self) -> NDArray[np.int16]:
        """Cell codes, shape ``(m, S)``; -1 where nothing is known."""
        return self._codes[: len(self)]

    @property
    def extras(self) -> Mapping[str, NDArray[Any]]:
        """Further columns by name, shape ``(m,)``, object; None where nothing is known."""
        return {name: column[: len(self)] for name, column in self._extras.items()}

    def add(
        self,
        rows: IntArray,
        codes: NDArray[np.integer[Any]],
        extras: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        """Take rows; the oldest ones give way.

        Parameters
        ----------
        rows
            Row numbers, shape ``(n,)``.
        codes
            Cell codes, shape ``(n, S)``.
        extras
            Columns that are no features: ``client``, ``version``, ``replica`` and slices by their
            name, shape ``(n,)``.
        """
        kept = slice(max(len(rows) - self.capacity, 0), None)
        rows, codes = rows[kept], codes[kept]
        n = len(rows)
        start = self._taken % self.capacity
        at: slice | IntArray = slice(start, start + n)
        if start + n > self.capacity:
            at = (start + np.arange(n)) % self.capacity
        self._rows[at] = rows
        self._codes[at] = codes
        for name in extras or {}:
            if name not in self._extras:
                self._extras[name] = np.full(self.capacity, None, dtype=object)
        for name, column in self._extras.items():
            given = None if extras is None else extras.get(name)
            column[at] = None if given is None else np.asarray(given, dtype=object)[kept]
        # a position on the ring, not a count of rows: it never grows beyond two rounds
        self._taken = self._taken + n
        if self._taken >= 2 * self.capacity:
            self._taken = self.capacity + self._taken % self.capacity

    def to_json(self) -> dict[str, Any]:
        """Return the rows as plain JSON values."""
        return {
            "taken": self._taken,
            "rows": self.rows.tolist(),
            "codes": self.codes.tolist(),
            "extras": {
                name: [None if v is None else str(v) for v in column.tolist()]
                for name, column in self.extras.items()
            },
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take up what `to_json` wrote."""
        m = len(data["rows"])
        self._taken = int(data["taken"])
        self._rows[:m] = data["rows"]
        if m:
            self._codes[:m] = data["codes"]
        self._extras = {}
        for name, values in data["extras"].items():
            column = np.full(self.capacity, None, dtype=object)
            column[:m] = values
            self._extras[name] = column
