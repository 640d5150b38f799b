"""What an engine keeps does not grow with traffic, only with the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from otel_ml.engine import Budget, Engine
from otel_ml.incidents import Command
from otel_ml.profile import Reference
from otel_ml.testing import ManualClock


def _leaves(value: Any) -> int:
    """Scalars and keys held anywhere in a tree of lists and dictionaries."""
    if isinstance(value, dict):
        return len(value) + sum(_leaves(v) for v in value.values())
    if isinstance(value, (list, tuple)):
        return sum(_leaves(v) for v in value)
    return 1


@pytest.mark.slow
def test_nothing_kept_grows_from_ten_to_a_hundred_thousand_rows() -> None:
    rng = np.random.default_rng(0)
    n = 3000
    scores = rng.random(n)
    reference = Reference.build(
        {"x": rng.normal(size=n), "user": [f"u{i}" for i in range(n)]},
        scores=scores,
        labels=(rng.random(n) < scores).astype(int),
        model_name="m",
    )
    clock = ManualClock()
    engine = Engine(reference, budget=Budget(1, per="10000rows"), clock=clock, label_capacity=1000)
    sizes: dict[int, int] = {}
    for step in range(200):
        rows = step * 500 + np.arange(500)
        fault = step % 8 >= 6  # incidents that come and go
        engine.observe(
            # ever new categories, columns, ids, aliases, clients, error names and times
            {
                "x": rng.normal(3.0 * fault, 1, 500),
                "user": np.array([f"v{i}" for i in rows], dtype=object),
                f"column {step}": rng.normal(size=500),
            },
            scores=rng.random(500),
            ids=[f"r{i}" for i in rows],
            aliases=[f"q{i}" for i in rows],
            clients=[f"c{i}" for i in rows],
            event_times=clock.time() + rng.normal(0, 5000, 500),
            durations=rng.lognormal(0, 1, 5),
            sizes=rng.integers(1, 10**6, 5),
            errors=[f"Error{step}"] * 2,
        )
        # half of the labels find their prediction, the others never will
        engine.observe_labels([f"r{i}" for i in rows[::2]], rng.integers(0, 2, 250).tolist())
        engine.observe_labels([f"nobody{i}" for i in rows[::2]], [1] * 250)
        clock.advance(3600)
        engine.evaluate(clock.time())
        held = {k: v for k, v in engine.snapshot().items() if k != "reference"}
        held["state"]["incidents"].pop("closed")  # up to two hundred are kept
        sizes[engine.rows] = _leaves(held)
    assert engine.state is not None
    assert len(engine.state.incidents.closed) > 5
    late = [sizes[r] for r in sizes if r > 90_000]
    early = [sizes[r] for r in sizes if 10_000 <= r <= 20_000]
    assert max(late) <= 1.05 * max(early), (max(early), max(late))


@pytest.mark.slow
def test_closed_incidents_are_forgotten_after_two_hundred() -> None:
    rng = np.random.default_rng(1)
    engine = Engine(
        Reference.build({"x": rng.normal(size=3000)}, model_name="m"),
        budget=Budget(1, per="1000rows"),
        clock=ManualClock(),
    )
    opened = 0
    for _ in range(400):
        engine.observe({"x": rng.normal(5.0, 1, 50)})
        for change in engine.evaluate():
            if change.state == "opened":
                opened += 1
                engine.apply(Command("close", engine.clock.time(), id=change.incident.id))
    assert engine.state is not None
    assert opened > 201
    assert len(engine.state.incidents.closed) == 200
    ids = [i.id for i in engine.state.incidents.closed]
    assert len(set(ids)) == len(ids)
