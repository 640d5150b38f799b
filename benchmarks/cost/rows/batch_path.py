"""What a batch costs its request: nothing that grows with its rows, or hardly more than a copy.

Small arrays are copied, because the application may change them; large ones and DataFrames are
taken by reference. The worker is idle: each round begins with an empty queue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pandas as pd

from benchmarks.cost.line import Line
from benchmarks.cost.predictions import Answers
from benchmarks.cost.serving import Server, one, settled
from benchmarks.cost.timing import best, rounds
from otel_ml.snapshot import COPY_BYTES

TURNS, FEW_TURNS = 50, 8
COPY, SAME = 1.5, 1.5
COLUMNS: Final = 20
ARRAYS: Final = ((1_000, 20, 40), (1_000, 200, 4))  # rows, columns and calls of a round
FRAMES: Final = (10, 100_000)  # rows
BEYOND: Final = (55_000, 110_000)  # rows of arrays of twice the columns
LARGE_CALLS: Final = 4  # of a round

Loop = Callable[[Any], None]


def measure(quick: bool) -> list[Line]:
    turns, few = (3, 2) if quick else (TURNS, FEW_TURNS)
    server = Server(Answers(1_000, 8))
    watched, plain = one(server.model), one(server.plain)
    lines = []
    with server.serving():
        for rows, width, calls in ARRAYS:
            held = np.random.default_rng(rows + width).normal(size=(rows, width))
            found = _timed(watched, plain, held.copy, calls, turns)
            ours = found["watched"] - found["plain"]
            what = f"array of {rows:,} × {width}, copied"
            lines.append(Line(what, "µs", ours, "X.copy()", found["copied"], COPY))
        for kind, make, sizes in (("DataFrame", _frame, FRAMES), ("array", _array, BEYOND)):
            taken = []
            for rows in sizes:
                held = make(rows)
                found = _timed(watched, plain, lambda h=held: h[:], LARGE_CALLS, few)
                taken.append(found["watched"] - found["plain"])
            what = f"{kind} of {sizes[1]:,} rows, by reference"
            anchor = f"the same of {sizes[0]:,} rows"
            lines.append(Line(what, "µs", taken[1], anchor, taken[0], SAME))
    return lines


def _frame(rows: int) -> pd.DataFrame:
    values = np.random.default_rng(rows).normal(size=(rows, COLUMNS))
    return pd.DataFrame(values, columns=[f"n{i}" for i in range(COLUMNS)])


def _array(rows: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    held = np.random.default_rng(rows).normal(size=(rows, COLUMNS * 2))
    if held.nbytes <= COPY_BYTES:
        raise AssertionError("such an array is copied")
    return held


def _timed(
    watched: Loop, plain: Loop, make: Callable[[], Any], calls: int, turns: int
) -> dict[str, float]:
    """Return the microseconds of a call with otel-ml, without, and of a copy.

    Every call brings another object, as requests do.
    """

    def copied(batches: list[Any]) -> None:
        kept = []  # as a queue would
        for batch in batches:
            kept.append(batch.copy())

    def nothing() -> None:
        """Have nothing done: only the worker leaves anything behind."""

    loops = {"watched": watched, "plain": plain, "copied": copied}
    between = {"watched": settled, "plain": nothing, "copied": nothing}
    found = rounds(loops, lambda: [make() for _ in range(calls)], between, turns)
    return {name: best(values) / calls * 1e6 for name, values in found.items()}
