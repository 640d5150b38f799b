"""The engine in, its cost out: time of an evaluation, bytes of evidence, rows per second.

Times are ratios to anchors measured in the same rounds: binning the same matrix with
``numpy.searchsorted``, which any monitor has to do in some way, and a matrix product.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Final

import numpy as np

from benchmarks.detection.drive import BUDGET, Clock
from otel_ml import Engine, Reference
from otel_ml.types import Batch

_ROUNDS: Final = 9
_WINDOW: Final = 50  # rows of an evaluation
_EDGES: Final = np.linspace(-2, 2, 11)
_REFERENCE: Final = 20_000


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _engine(width: int, rng: np.random.Generator) -> Engine:
    rows = rng.normal(size=(_REFERENCE, width))
    scores = 1 / (1 + np.exp(-rows[:, 0]))
    reference = Reference.build(
        {f"x{i}": rows[:, i] for i in range(width)}, scores=scores, model_name="cost", task="binary"
    )
    return Engine(reference, budget=BUDGET, clock=Clock())


def _batch(rows: int, width: int, rng: np.random.Generator) -> Batch:
    held = rng.normal(size=(rows, width))
    return Batch(
        rows,
        {f"x{i}": held[:, i].copy() for i in range(width)},
        scores=1 / (1 + np.exp(-held[:, 0])),
    )


def state_bytes(engine: Engine) -> int:
    """Return the size of everything the engine would keep over a restart, without its reference."""
    kept = {k: v for k, v in engine.snapshot().items() if k != "reference"}
    return len(json.dumps(kept, default=str))


def report() -> str:
    """Return the costs as a table."""
    rng = np.random.default_rng(1)
    lines = [
        "| features | rows of a call | ms per evaluation | x searchsorted | x product | rows/s |"
    ]
    lines.append("|---|---|---|---|---|---|")
    sizes = []
    for width in (20, 200):
        engine = _engine(width, rng)
        product = rng.normal(size=(width, width))
        for rows in (_WINDOW, 1000):
            taken, binned, multiplied = [], [], []
            # new rows each time: the same ones again are a replay, and an incident has its own cost
            batches = [_batch(rows, width, rng) for _ in range(_ROUNDS)]
            matrix = np.stack(list(batches[0].features.values()), axis=1)
            for batch in batches:
                taken.append(_seconds(lambda e=engine, b=batch: (e.observe(b), e.evaluate(0.0))))
                binned.append(
                    _seconds(
                        lambda m=matrix: [
                            np.searchsorted(_EDGES, m[:, j]) for j in range(m.shape[1])
                        ]
                    )
                )
                multiplied.append(_seconds(lambda m=matrix, p=product: m @ p @ p))
            middle = statistics.median(taken)
            lines.append(
                f"| {width} | {rows} | {1000 * middle / (rows / _WINDOW):.2f} "
                f"| {statistics.median(t / b for t, b in zip(taken, binned, strict=True)):.0f} "
                f"| {statistics.median(t / b for t, b in zip(taken, multiplied, strict=True)):.0f} "
                f"| {rows / middle:,.0f} |"
            )
        sizes.append((width, state_bytes(engine)))
    (narrow, small), (wide, large) = sizes
    lines.append(
        f"\nState over a restart, as JSON: {small:,} bytes at {narrow} features, {large:,} at "
        f"{wide}; {(large - small) / (wide - narrow):,.0f} bytes for each further feature "
        "(budget 65,536). Evaluating 200 features: budget 50 ms."
    )
    return "\n".join(lines)
