"""What a batch costs its request: nothing that grows with its rows, or hardly more than a copy.

Small arrays are copied, because the application may change them; large ones and DataFrames are
taken by reference. The worker is idle: each round begins with an empty queue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.cost.line import Line
from benchmarks.cost.predictions import Answers
from benchmarks.cost.serving import Server, one, settled
from benchmarks.cost.timing import best, middle, rounds
from otel_ml.snapshot import COPY_BYTES

TURNS, FEW_TURNS = 50, 15
COPY, SAME = 1.5, 1.5
COLUMNS: Final = 20
ARRAYS: Final = ((1_000, 20, 40), (1_000, 200, 4))  # rows, columns and calls of a round
FRAMES: Final = (10, 60_000)  # rows
BEYOND: Final = (55_000, 110_000)  # rows of arrays of twice the columns
LARGE_CALLS: Final = 4  # of a round

Loop = Callable[[Any], None]
Array = NDArray[np.float64]


def measure(quick: bool) -> list[Line]:
    turns, few = (3, 2) if quick else (TURNS, FEW_TURNS)
    server = Server(Answers(1_000, 8))
    watched, plain = one(server.model), one(server.plain)
    lines = []
    with server.serving():
        for rows, width, calls in ARRAYS:
            held = np.random.default_rng(rows + width).normal(size=(rows, width))
            what = f"array of {rows:,} × {width}, copied"
            (ours, copied), half = _copied(watched, plain, held, calls, turns)
            lines.append(Line(what, "µs", ours, "X.copy()", copied, COPY))
            lines.append(Line(f"{what}, medians", "µs", half[0], "X.copy()", half[1]))
        for kind, make, sizes in (("DataFrame", _frame, FRAMES), ("array", _array, BEYOND)):
            taken = _by_reference(watched, plain, [make(rows) for rows in sizes], few)
            what = f"{kind} of {sizes[1]:,} rows, by reference"
            anchor = f"the same of {sizes[0]:,} rows"
            lines.append(Line(what, "µs", taken[1], anchor, taken[0], SAME))
    return lines


def _frame(rows: int) -> pd.DataFrame:
    values = np.random.default_rng(rows).normal(size=(rows, COLUMNS))
    return pd.DataFrame(values, columns=[f"n{i}" for i in range(COLUMNS)])


def _array(rows: int) -> Array:
    held = np.random.default_rng(rows).normal(size=(rows, COLUMNS * 2))
    if held.nbytes <= COPY_BYTES:
        raise AssertionError("such an array is copied")
    return held


def _by_reference(watched: Loop, plain: Loop, held: list[Any], turns: int) -> list[float]:
    """Return the microseconds that a call with each of several tables takes more, in turns."""
    loops: dict[str, Loop] = {}
    between: dict[str, Callable[[], object]] = {}
    for i in range(len(held)):
        for name, loop in (("watched", watched), ("plain", plain)):
            loops[f"{name} {i}"] = lambda tables, i=i, loop=loop: loop(tables[i])
            between[f"{name} {i}"] = settled
    found = rounds(
        loops, lambda: [[table[:] for _ in range(LARGE_CALLS)] for table in held], between, turns
    )
    least = {name: best(values) / LARGE_CALLS * 1e6 for name, values in found.items()}
    return [least[f"watched {i}"] - least[f"plain {i}"] for i in range(len(held))]


def _copied(
    watched: Loop, plain: Loop, held: Array, calls: int, turns: int
) -> list[tuple[float, float]]:
    """Return the microseconds that a call takes more, and those of a copy: least, and median.

    Every call brings another object, as requests do. The least is that of rounds in which memory
    was at hand; only the worker is waited for, since collecting garbage would take that away.
    """

    def copied(batches: list[Array]) -> None:
        kept = []  # as a queue would
        for batch in batches:
            kept.append(batch.copy())

    def nothing() -> None:
        """Have nothing done: nothing is left behind."""

    loops = {"watched": watched, "plain": plain, "copied": copied}
    between = {"watched": settled, "plain": nothing, "copied": nothing}
    found = rounds(loops, lambda: [held.copy() for _ in range(calls)], between, turns)
    out = []
    for of in (best, middle):
        each = {name: of(values) / calls * 1e6 for name, values in found.items()}
        out.append((each["watched"] - each["plain"], each["copied"]))
    return out
