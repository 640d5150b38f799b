"""What residuals and distances of rows cost, beside encoding the same rows into cells.

Both are timed in turns on batches of 1,000 rows, in CPU time on one thread; the ratio is taken
within a turn, and medians over the turns are printed. The bound it is held against is a ratio of 1.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # read when numpy loads

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from otel_ml.profile.coder import encode  # noqa: E402
from otel_ml.profile.joint import Joint  # noqa: E402
from otel_ml.profile.reference import Reference  # noqa: E402
from otel_ml.types import Batch  # noqa: E402

ROWS: Final = 1_000
REFERENCE_ROWS: Final = 20_000
TURNS: Final = 31


def table(n: int, numeric: int, categorical: int, seed: int) -> dict[str, NDArray[Any]]:
    """Return correlated columns: a few common causes, and as much again of each column's own."""
    rng = np.random.default_rng(seed)
    causes = rng.normal(size=(n, 5))
    mixed = causes @ np.random.default_rng(0).normal(size=(5, numeric + categorical))
    mixed += 2 * rng.normal(size=mixed.shape)
    out: dict[str, NDArray[Any]] = {f"n{i}": mixed[:, i] for i in range(numeric)}
    for i in range(categorical):
        level = np.digitize(mixed[:, numeric + i], [-4.0, -2.0, 0.0, 2.0, 4.0])
        out[f"c{i}"] = np.array([f"level {k}" for k in level], dtype=object)
    return out


def cpu(run: Callable[[], object], repeats: int) -> float:
    """Return CPU seconds per call."""
    start = time.process_time()
    for _ in range(repeats):
        run()
    return (time.process_time() - start) / repeats


def measure(columns: Mapping[str, NDArray[Any]], numeric: int, categorical: int) -> str:
    """Return one line of the table."""
    reference = Reference.build(columns, model_name="benchmark")
    fitted = encode(reference, Batch(REFERENCE_ROWS, columns))
    start = time.process_time()
    joint = Joint.build(reference.layout, reference.features, fitted.codes, fitted.values)
    build = time.process_time() - start
    assert joint is not None
    batch = Batch(ROWS, table(ROWS, numeric, categorical, seed=2))
    codes = encode(reference, batch)
    turns = []
    for _ in range(TURNS):
        marginal = cpu(lambda: encode(reference, batch), 3)
        turns.append((marginal, cpu(lambda: joint.values(codes.codes, codes.values), 3)))
    marginal = statistics.median(m for m, _ in turns) * 1e3
    residual = statistics.median(j for _, j in turns) * 1e3
    ratio = statistics.median(j / m for m, j in turns)
    return (
        f"{numeric:>8}{categorical:>13}{len(joint.names):>9}{marginal:>10.3f} ms"
        f"{residual:>10.3f} ms{ratio:>8.2f}{build:>9.2f} s"
    )


def main() -> None:
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    print(f"batches of {ROWS} rows, medians of {TURNS} turns, CPU time on one thread")
    print(
        f"{'numeric':>8}{'categorical':>13}{'streams':>9}{'cells':>13}{'joint':>13}"
        f"{'ratio':>8}{'build':>11}"
    )
    for numeric, categorical in ((20, 0), (200, 0), (256, 0), (12, 8), (120, 80)):
        columns = table(REFERENCE_ROWS, numeric, categorical, seed=1)
        print(measure(columns, numeric, categorical))


if __name__ == "__main__":
    main()
