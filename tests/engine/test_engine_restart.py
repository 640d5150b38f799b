"""A restored engine goes on as if nothing had happened, wherever it was stopped."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml.engine import Budget, Engine
from otel_ml.errors import StateError
from otel_ml.profile import Reference
from otel_ml.testing import ManualClock


def _columns(rng: np.random.Generator, n: int) -> dict[str, Any]:
    return {
        "x": rng.normal(40, 10, n),
        "flag": rng.random(n) < 0.3,
        "c": rng.choice(np.array(["a", "b", None], dtype=object), n),
        "odd": np.array([[1, 2.5, None, "3", float("inf")][i % 5] for i in range(n)], dtype=object),
    }


def _score(columns: dict[str, Any]) -> Any:
    return 1 / (1 + np.exp(-0.1 * (np.asarray(columns["x"]) - 40)))


_MADE = _columns(np.random.default_rng(0), 3000)
_SCORES = _score(_MADE)
_NOW = ManualClock().time()
_REFERENCE = Reference.build(
    _MADE,
    scores=_SCORES,
    labels=(np.random.default_rng(1).random(3000) < _SCORES).astype(int),
    sensitive=["c"],
    sensitivity={"x": 0.2},
    model_name="m",
    model_version="7",
)


def _traffic(n: int) -> list[dict[str, Any]]:
    """Batches of odd sizes, a fault in the middle, labels late and out of order, timed calls."""
    rng = np.random.default_rng(5)
    steps, row = [], 0
    while row < n:
        size = int(rng.integers(1, 90))
        columns = _columns(rng, size)
        if n // 4 <= row < n // 2:
            columns["x"] = columns["x"] * 12
        scores = _score(columns)
        scores[rng.random(size) < 0.02] = np.nan
        steps.append(
            {
                "columns": columns,
                "scores": scores,
                "ids": [f"r{row + i}" for i in range(size)],
                "aliases": [f"q{row + i}" if i % 3 else None for i in range(size)],
                "event_times": _NOW + row * 0.5 + rng.normal(0, 20, size),
                "durations": rng.lognormal(-4, 0.3, 1) * (30 if row > 0.8 * n else 1),
                "label_ids": [f"r{i}" for i in rng.integers(max(0, row - 500), row + 50, 30)],
                "labels": rng.integers(0, 2, 30).tolist(),
            }
        )
        row += size
    return steps


def _feed(engine: Engine, steps: list[dict[str, Any]], changes: list[Any], *, ask: int) -> None:
    for i, step in enumerate(steps):
        held = {k: v for k, v in step.items() if k not in ("columns", "label_ids", "labels")}
        engine.observe(step["columns"], **held)
        engine.observe_labels(step["label_ids"], step["labels"])
        if i % ask == 0:  # changes wait inside the engine until they are asked for
            changes += [c.to_json() for c in engine.evaluate(_NOW)]


def _through_json(engine: Engine) -> Engine:
    text = json.dumps(engine.snapshot(), allow_nan=False)
    return Engine.restore(json.loads(text), clock=ManualClock())


_STEPS = _traffic(4000)


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(st.integers(0, len(_STEPS) - 1), st.sampled_from([1, 9]))
def test_a_split_anywhere_changes_nothing(cut: int, ask: int) -> None:
    """Short of the end: minutes between a restart and the next row are not known to be empty."""
    halted, straight = (
        Engine(
            _REFERENCE, budget=Budget(1, per="100000rows"), clock=ManualClock(), label_capacity=300
        )
        for _ in range(2)
    )
    one: list[Any] = []
    two: list[Any] = []
    for engine, found in ((halted, one), (straight, two)):
        _feed(engine, _STEPS[:cut], found, ask=ask)
    again = _through_json(halted)
    assert again.snapshot() == halted.snapshot()
    _feed(again, _STEPS[cut:], one, ask=ask)
    _feed(straight, _STEPS[cut:], two, ask=ask)
    one += [c.to_json() for c in again.evaluate(_NOW + 100)]
    two += [c.to_json() for c in straight.evaluate(_NOW + 100)]
    assert one == two
    assert [c["state"] for c in two].count("opened") >= 2
    assert json.dumps(again.snapshot()) == json.dumps(straight.snapshot())
    assert again.evidence_log10 == straight.evidence_log10
    assert again.threshold_log10 == straight.threshold_log10


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 40))
def test_a_split_while_learning_changes_nothing(cut: int) -> None:
    engines = [
        Engine(
            None, learn_rows=1500, clock=ManualClock(), learn={"sensitive": ["c"], "min_group": 5}
        )
        for _ in range(2)
    ]
    for engine in engines:
        _feed(engine, _STEPS[:cut], [], ask=1)
    engines[0] = _through_json(engines[0])
    for engine in engines:
        _feed(engine, _STEPS[cut:60], [], ask=1)
    one, two = engines
    assert one.reference is not None
    assert two.reference is not None
    assert one.reference.to_json() == two.reference.to_json()
    assert one.snapshot() == two.snapshot()


def test_labels_wait_across_a_restart() -> None:
    engine = Engine(_REFERENCE, clock=ManualClock())
    step = _STEPS[0]
    engine.observe(step["columns"], scores=step["scores"], ids=step["ids"], aliases=step["aliases"])
    engine.observe_labels(["early"], ["1"])
    again = _through_json(engine)
    again.observe_labels([step["ids"][0], "q1", "nobody"], [1, 0, 1])
    again.observe({k: v[:1] for k, v in step["columns"].items()}, scores=[0.5], ids=["early"])
    assert again.state is not None
    assert again.state.labelled.join.states["joined"] == 3
    assert again.state.labelled.join.states["unknown"] == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda s: s.update(format="otel-ml/snapshot/9"),
        lambda s: s.pop("format"),
        lambda s: s.pop("state"),
        lambda s: s.update(state=3),
        lambda s: s.update(budget=[1]),
        lambda s: s["state"].pop("detector"),
        lambda s: s["state"]["detector"]["streams"].pop("input_drift:x"),
        lambda s: s["state"]["history"].update(counts=[[1]]),
        lambda s: s["state"]["labelled"]["join"].update(young=[["a"]]),
        lambda s: s["state"].update(total={"counts": {}}),
    ],
)
def test_a_snapshot_that_cannot_be_used_says_so(damage: Any) -> None:
    engine = Engine(_REFERENCE, clock=ManualClock())
    _feed(engine, _STEPS[:5], [], ask=1)
    snapshot = json.loads(json.dumps(engine.snapshot()))
    damage(snapshot)
    with pytest.raises(StateError) as caught:
        Engine.restore(snapshot)
    assert caught.value.remedy
