"""Rows that come a thousand at a time say the same, at the same row, as those that come alone."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from otel_ml.engine import Budget, Engine
from otel_ml.profile import Reference
from otel_ml.testing import ManualClock
from otel_ml.types import FloatArray

_NOW = 1_700_000_000.0
_DAY = 86_400.0
_ROWS = 2500


def _rows(rng: np.random.Generator, times: FloatArray) -> dict[str, NDArray[Any]]:
    n = len(times)
    common = rng.normal(size=n)
    return {
        "x": common + np.sin(times / _DAY * 2 * np.pi),
        "y": common + rng.normal(size=n),
        "z": np.where(rng.random(n) < 0.05, np.nan, rng.gamma(3, 2, n)),
        "city": rng.choice(np.array(["a", "b", None], dtype=object), n),
    }


def _score(rows: dict[str, NDArray[Any]]) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-rows["y"])))


def _built() -> Reference:
    rng = np.random.default_rng(0)
    times = _NOW - 14 * _DAY + np.sort(rng.random(6000)) * 14 * _DAY
    past = _rows(rng, times)
    return Reference.build(
        past,
        scores=_score(past),
        labels=(rng.random(6000) < _score(past)).astype(int),
        times=times,
        sensitive=["city"],
        model_name="m",
    )


_REFERENCE = _built()


def _traffic(kind: str) -> tuple[dict[str, NDArray[Any]], FloatArray]:
    rng = np.random.default_rng(1)
    times = _NOW + 10 * np.arange(_ROWS, dtype=np.float64)  # seven hours
    rows = _rows(rng, times)
    if kind == "drift":  # an incident that ends, and the next one
        rows["x"][500:1200] += 2
        rows["city"][1900:] = np.where(rng.random(_ROWS - 1900) < 0.5, "new", "b")
    elif kind == "missing":
        rows["z"][600:900] = np.where(rng.random(300) < 0.5, np.nan, rows["z"][600:900])
        rows["y"][1500:1520] = np.inf
    elif kind == "sessions":
        rows = {name: np.repeat(column[::10], 10) for name, column in rows.items()}
    elif kind == "far":  # evidence beyond what a float can hold
        rows["y"][1000:] += 40
    return rows, times


def _fed(
    kind: str, size: int, *, restart: bool = False
) -> tuple[Engine, dict[int, FloatArray], Any]:
    """Return the engine, its evidence by row, and what became of its incidents."""
    rows, times = _traffic(kind)
    score = _score(rows)
    labels = (np.random.default_rng(2).random(_ROWS) < score).astype(int)
    engine = Engine(_REFERENCE, budget=Budget(1, per="100000rows"), clock=ManualClock(_NOW))
    evidence, changes = {}, []
    for start in range(0, _ROWS, size):
        part = slice(start, start + size)
        ids = [str(i) for i in range(_ROWS)[part]] if kind == "labels" else None
        engine.observe(
            {name: column[part] for name, column in rows.items()},
            scores=score[part],
            event_times=times[part],
            ids=ids,
        )
        if restart:
            kept = json.loads(json.dumps(engine.snapshot(), allow_nan=False))
            engine = Engine.restore(kept, clock=ManualClock(_NOW))
        if ids is not None and engine.rows % 500 == 0:  # labels come between batches
            late = slice(engine.rows - 500, engine.rows)
            engine.observe_labels([str(i) for i in range(_ROWS)[late]], labels[late].tolist())
        changes += [c.to_json() for c in engine.evaluate(_NOW)]
        assert engine.state is not None
        evidence[engine.rows] = engine.state.detector.evidence()
    return engine, evidence, changes


@pytest.mark.parametrize("kind", ["calm", "drift", "missing", "labels", "sessions", "far"])
def test_evidence_and_incidents_do_not_depend_on_how_much_comes_at_once(kind: str) -> None:
    one, by_one, changes = _fed(kind, 50)
    assert bool(changes) == (kind not in ("calm", "labels"))
    for size in (10, 500):
        other, at_once, found = _fed(kind, size)
        assert [(c["state"], c["incident"]["opened_row"]) for c in found] == [
            (c["state"], c["incident"]["opened_row"]) for c in changes
        ]
        both = by_one.keys() & at_once.keys()
        assert len(both) >= 5
        for row in both:
            np.testing.assert_allclose(at_once[row], by_one[row], rtol=1e-9, atol=1e-9)
        assert one.state is not None
        assert other.state is not None
        mine, theirs = one.state.detector, other.state.detector
        np.testing.assert_allclose(theirs.level, mine.level, rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(theirs.since, mine.since)
        np.testing.assert_allclose(theirs.learned.seen, mine.learned.seen, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["drift", "sessions"])
def test_a_restart_between_batches_changes_nothing(kind: str) -> None:
    straight, before, changes = _fed(kind, 500)
    again, after, found = _fed(kind, 500, restart=True)
    assert found == changes
    assert again.snapshot() == straight.snapshot()
    for row, evidence in before.items():
        np.testing.assert_array_equal(after[row], evidence)
