"""Labels that come late: in, ids and labels by row; out, lines of ``labels.jsonl`` when due."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

__all__ = ["LateLabels"]

LABEL_BLOCK: Final = 25


class LateLabels:
    """Appends the labels of rows that are old enough.

    Parameters
    ----------
    path
        The file.
    delay
        Rows between a prediction and its label.
    rows
        Rows there will be.
    """

    def __init__(self, path: Path, delay: int, rows: int) -> None:
        self._delay = delay
        self._ids: list[str | None] = [None] * rows
        self._values = np.zeros(rows, dtype=np.int64)
        self._next = 0
        self._file = path.open("a", encoding="utf-8")

    def expect(self, start: int, values: Sequence[int]) -> None:
        """Take the labels of the rows from `start` on."""
        self._values[start : start + len(values)] = values

    def answered(self, start: int, ids: Sequence[str | None]) -> None:
        """Take the prediction ids of the rows from `start` on; None where there is none."""
        self._ids[start : start + len(ids)] = ids

    def release(self, sent: int, *, all_of_them: bool = False) -> int:
        """Write the labels that are due, in blocks; return how many."""
        due = sent if all_of_them else sent - self._delay
        if due - self._next < (1 if all_of_them else LABEL_BLOCK):
            return 0
        now = round(time.time(), 3)
        lines = [
            json.dumps({"model": None, "id": name, "label": int(value), "time": now}) + "\n"
            for name, value in zip(
                self._ids[self._next : due], self._values[self._next : due], strict=True
            )
            if name is not None
        ]
        self._next = due
        # One write of whole lines, so that a reader never sees a torn one at a block's end.
        self._file.write("".join(lines))
        self._file.flush()
        return len(lines)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
