"""Run as a process: gathers a model's telemetry over and over, from a line of input to the next.

The same class has a thread of this process do so: what the worker does once in an export interval,
for a model of many features.
"""

from __future__ import annotations

import threading
from typing import Final

import numpy as np

from benchmarks.cost.flat_out import obey
from otel_ml import Engine, Reference
from otel_ml.samples import model_samples
from otel_ml.tally import Tally

__all__ = ["Gathering"]

FEATURES: Final = 200
REFERENCE_ROWS: Final = 1_000
ROWS: Final = 2_000
MIN_GROUP: Final = 50


class Gathering:
    """A thread that gathers the telemetry of a model, or rests."""

    def __init__(self) -> None:
        rng = np.random.default_rng(4)
        reference = Reference.build(_columns(rng, REFERENCE_ROWS), model_name="wide")
        self._engine = Engine(reference)
        self._engine.observe(_columns(rng, ROWS))
        self._going, self._resting = threading.Event(), threading.Event()
        threading.Thread(target=self._work, daemon=True).start()

    def begin(self) -> None:
        """Have it gather."""
        self._resting.clear()
        self._going.set()

    def rest(self) -> None:
        """Have it rest, and wait until it does."""
        self._going.clear()
        self._resting.wait()

    def _work(self) -> None:
        tally, seen = Tally(), set[tuple[object, ...]]()
        while True:
            if not self._going.is_set():
                self._resting.set()
                self._going.wait()
            if not model_samples(self._engine.model, self._engine, tally, seen, MIN_GROUP):
                raise AssertionError("no telemetry")


def _columns(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    return {f"f{i}": rng.normal(size=n) for i in range(FEATURES)}


def main() -> None:
    gathering = Gathering()
    obey(gathering.begin, gathering.rest)


if __name__ == "__main__":
    main()
