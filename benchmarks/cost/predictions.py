"""A number of predictions in, their values out: 20 floats, 3 strings, a class and a probability."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CLASSES",
    "NAMES",
    "NUMBERS",
    "WORDS",
    "Answers",
    "Requests",
    "Row",
    "columns",
    "reference_file",
    "row_lists",
]

Row = list[Any]
NUMBERS: Final = tuple(f"feature_{i:02}" for i in range(20))
WORDS: Final = ("country", "plan", "device")
NAMES: Final = NUMBERS + WORDS
CLASSES: Final = ("no", "yes")
REFERENCE_ROWS: Final = 20_000
_LEVELS: Final = ("alpha", "beta", "gamma", "delta", "epsilon")


def columns(n: int, seed: int) -> dict[str, NDArray[Any]]:
    """Return columns with a few causes in common, and as much again of each one's own."""
    rng = np.random.default_rng(seed)
    causes = rng.normal(size=(n, 4))
    mixed = causes @ np.random.default_rng(0).normal(size=(4, len(NUMBERS)))
    mixed += 2 * rng.normal(size=mixed.shape)
    out: dict[str, NDArray[Any]] = {name: mixed[:, i] for i, name in enumerate(NUMBERS)}
    for name in WORDS:
        out[name] = rng.choice(np.array(_LEVELS, dtype=object), n, p=(0.4, 0.3, 0.15, 0.1, 0.05))
    return out


def probabilities(n: int, seed: int) -> NDArray[np.float64]:
    """Return the probability of the second class, shape ``(n,)``."""
    return np.random.default_rng(seed + 1000).beta(2.0, 3.0, size=n)


def row_lists(n: int, seed: int) -> list[Row]:
    """Return the same as one list per prediction, as a request brings it."""
    return [list(row) for row in zip(*(c.tolist() for c in columns(n, seed).values()), strict=True)]


class Requests:
    """Requests of one row each, none of them sent twice before all have been sent."""

    def __init__(self, n: int, seed: int) -> None:
        self._all = [[row] for row in row_lists(n, seed)]
        self._at = 0

    def take(self, n: int) -> list[list[Row]]:
        """Return the next requests."""
        if self._at + n > len(self._all):
            self._at = 0
        self._at += n
        return self._all[self._at - n : self._at]


class Answers:
    """What a model that computes nothing answers: the next of many answers drawn beforehand."""

    def __init__(self, n: int, seed: int) -> None:
        yes = probabilities(n, seed)
        self.scores = yes.tolist()
        self.probabilities = cycle(np.stack([1 - yes, yes], axis=1)[:, None, :])
        self.classes = cycle(np.array(CLASSES, dtype=object)[(yes >= 0.5).astype(int)][:, None])


def reference_file(path: Path, model: str) -> Path:
    """Write what such predictions are compared with."""
    from otel_ml import Reference

    built = Reference.build(
        columns(REFERENCE_ROWS, 1), scores=probabilities(REFERENCE_ROWS, 1), model_name=model
    )
    built.save(path)
    return path
