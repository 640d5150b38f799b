"""CPU time of a batch of 1,000 rows in the engine, beside the fastest exact binning in numpy.

The anchor finds the cells of the same values by the same bounds and counts them, and nothing else:
neither missing values, nor moments, nor evidence. Its counts are compared with ours.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from typing import Any, Final
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from benchmarks.cost.line import Line
from otel_ml import Batch, Engine, Reference
from otel_ml.profile.coder import chunk_counts, encode
from otel_ml.profile.joint import Joint

ROWS: Final = 1_000
REFERENCE_ROWS: Final = 20_000
HEAVY: Final = 1_000  # rows of an evaluation, as the worker asks for where traffic is heavy
TURNS: Final = 30
BATCHES: Final = 4  # of a turn
MARGINAL, JOINT = 1.5, 1.0

Array = NDArray[np.float64]


def measure(quick: bool) -> list[Line]:
    turns = 2 if quick else TURNS
    return [line for width in (20, 200) for line in _of(width, turns)]


def numbers(n: int, width: int, seed: int) -> Array:
    """Return rows with a few causes in common, and as much again of each column's own."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(n, 5)) @ np.random.default_rng(0).normal(size=(5, width))
    return np.asarray(mixed + 2 * rng.normal(size=mixed.shape))


def named(values: Array) -> dict[str, Array]:
    """Return the columns of an array by name, as the worker reads them."""
    return {f"n{i}": values[:, i] for i in range(values.shape[1])}


def binned(bounds: Sequence[Sequence[float]]) -> list[Callable[[Array], NDArray[np.int64]]]:
    """Return ways to count the cells of a batch, all exact: one sum of compares, one bincount."""
    most = max(map(len, bounds))
    edges = np.array([[*b, *[np.inf] * (most - len(b))] for b in bounds])  # (columns, bounds)
    columns, size = len(bounds), most + 1
    at_row = np.arange(columns) * size
    at_column = at_row[:, None]

    def by_row(values: Array) -> NDArray[np.int64]:
        codes = np.zeros(values.shape, dtype=np.uint8)
        for edge in edges.T:
            codes += values > edge
        flat = (codes + at_row).ravel()
        return np.bincount(flat, minlength=columns * size).reshape(columns, size)

    def by_column(values: Array) -> NDArray[np.int64]:
        turned = np.ascontiguousarray(values.T)
        codes = np.zeros(turned.shape, dtype=np.uint8)
        for edge in edges.T[:, :, None]:
            codes += turned > edge
        return np.bincount((codes + at_column).ravel(), minlength=columns * size).reshape(
            columns, size
        )

    def in_place(values: Array) -> NDArray[np.int64]:
        turned = np.ascontiguousarray(values.T)
        codes = np.zeros(turned.shape, dtype=np.uint8)
        above = np.empty(turned.shape, dtype=bool)
        for edge in edges.T[:, :, None]:
            np.greater(turned, edge, out=above)
            np.add(codes, above.view(np.uint8), out=codes)
        return np.bincount((codes + at_column).ravel(), minlength=columns * size).reshape(
            columns, size
        )

    return [by_row, by_column, in_place]


def _of(width: int, turns: int) -> list[Line]:
    taught = named(numbers(REFERENCE_ROWS, width, 1))
    with_joint = Reference.build(taught, model_name="benchmark")
    with patch.object(Joint, "build", return_value=None):
        marginal = Reference.build(taught, model_name="benchmark")
    bounds = [marginal.layout.sources[marginal.layout.index[n]].bounds for n in marginal.features]  # type: ignore[union-attr]  # all are numeric
    ways = binned(bounds)
    held = numbers(ROWS, width, 2)
    _compare(ways, held, marginal)
    engines = {"marginal": Engine(marginal), "joint": Engine(with_joint)}
    for engine in engines.values():
        engine.evaluation_rows = HEAVY
    found: dict[str, list[float]] = {}
    for turn in range(turns + 2):
        batches = [numbers(ROWS, width, 100 + turn * BATCHES + k) for k in range(BATCHES)]
        work: dict[str, Callable[[Array], Any]] = {way.__name__: way for way in ways}
        work["cells"] = lambda values: _cells(marginal, values)
        for name, engine in engines.items():
            work[name] = lambda values, e=engine: e.observe(Batch(ROWS, named(values)))
        for name, of in work.items():
            gc.collect()
            started = time.process_time()
            for values in batches:
                of(values)
            took = (time.process_time() - started) / BATCHES * 1e6
            if turn >= 2:
                found.setdefault(name, []).append(took)
    least = {name: min(values) for name, values in found.items()}
    way = min((way.__name__ for way in ways), key=lambda name: least[name])
    anchor, fastest = f"numpy binning ({way})", least[way]
    what = f"1,000 × {width} floats"
    added = least["joint"] - least["marginal"]
    return [
        Line(f"{what}, marginal streams", "µs", least["marginal"], anchor, fastest, MARGINAL),
        Line(f"{what}, of that cells and counts", "µs", least["cells"], anchor, fastest),
        Line(f"{what}, joint streams", "µs", added, "marginal streams", least["marginal"], JOINT),
    ]


def _cells(reference: Reference, values: Array) -> tuple[Any, Any]:
    codes = encode(reference, Batch(len(values), named(values)))
    return chunk_counts(reference.layout, codes, np.zeros(len(values), dtype=np.int64), 1)


def _compare(
    ways: Sequence[Callable[[Array], NDArray[np.int64]]], values: Array, reference: Reference
) -> None:
    """Refuse an anchor that counts otherwise than we do."""
    index = reference.layout.index
    ours = _cells(reference, values)[0][0][[index[n] for n in reference.features]]
    for way in ways:
        theirs = way(values)
        if not np.array_equal(ours[:, : theirs.shape[1]], theirs):
            raise AssertionError(f"{way.__name__} counts otherwise")
