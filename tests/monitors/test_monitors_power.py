"""Real changes are found, soon, and blamed on the right feature.

Each fault is injected in 24 seeded runs after 1,000 rows without one, at a budget of one false
incident per 100,000 rows. All 24 found means a chance of at least 88 % at 95 % confidence
(Clopper-Pearson: 0.05 ** (1 / 24) = 0.883). A true median within the bound is shown at 95 %
confidence by at least 17 of 24 delays within it (binomial: 3 % for a half).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest

from otel_ml.engine import Budget, Engine
from otel_ml.profile import Reference

_RUNS = 24
_MEDIAN = 17  # delays within a bound that show the median to be within it
_WITHIN = 8000
_CITIES = ["a", "b", "c", "d", "e"]
_SHARES = [0.4, 0.3, 0.2, 0.07, 0.03]

Columns: TypeAlias = dict[str, Any]
Fault: TypeAlias = Callable[[Columns, np.random.Generator], None]


def _rows(rng: np.random.Generator, n: int) -> Columns:
    common = rng.normal(size=n)  # features hang together
    x = 0.6 * common + 0.8 * rng.normal(size=n)
    return {
        "x": 40 + 10 * x,
        "y": np.exp(0.6 * common + 0.8 * rng.normal(size=n)),
        "z": rng.poisson(3, n).astype(float),
        "city": rng.choice(_CITIES, n, p=_SHARES).astype(object),
        "flag": rng.choice(["no", "yes"], n, p=[0.9, 0.1]).astype(object),
    }


def _half_sd(columns: Columns, rng: np.random.Generator) -> None:
    columns["x"] = columns["x"] + 5.0


def _one_sd(columns: Columns, rng: np.random.Generator) -> None:
    columns["x"] = columns["x"] + 10.0


def _missing(columns: Columns, rng: np.random.Generator) -> None:
    columns["z"] = np.where(rng.random(len(columns["z"])) < 0.1, np.nan, columns["z"])


def _new_category(columns: Columns, rng: np.random.Generator) -> None:
    columns["city"] = np.where(rng.random(len(columns["city"])) < 0.1, "new", columns["city"])


@pytest.mark.parametrize(
    ("fault", "target", "median"),
    [
        (_half_sd, "x", 200),
        (_one_sd, "x", 100),
        (_missing, "z", 100),
        (_new_category, "city", 100),
    ],
    ids=["mean 0.5 sd", "mean 1 sd", "10 % missing", "10 % new category"],
)
def test_a_change_is_found_and_blamed_on_its_feature(
    fault: Fault, target: str, median: int
) -> None:
    delays = []
    for run in range(_RUNS):
        rng = np.random.default_rng([run, 77])
        reference = Reference.build(_rows(rng, 4000), model_name="m")
        engine = Engine(reference, budget=Budget(1, per="100000rows"))
        engine.observe(_rows(rng, 1000))
        assert not [c for c in engine.evaluate(0.0) if c.state == "opened"], run
        opened: list[Any] = []
        while not opened and engine.rows < 1000 + _WITHIN:
            columns = _rows(rng, 50)
            fault(columns, rng)
            engine.observe(columns)
            opened = [c.incident for c in engine.evaluate(0.0) if c.state == "opened"]
        assert opened, f"run {run}: not found within {_WITHIN} rows"
        assert opened[0].culprit.target == target, run
        delays.append(engine.rows - 1000)
    assert sum(d <= median for d in delays) >= _MEDIAN, sorted(delays)
