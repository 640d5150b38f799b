"""The same rows give the same answer however they are cut, and wherever they were counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from otel_ml.engine import Budget, Engine
from otel_ml.errors import DataError, StateError
from otel_ml.profile import Reference
from otel_ml.profile.coder import chunk_counts, encode
from otel_ml.profile.profile import Profile
from otel_ml.testing import ManualClock
from otel_ml.types import Batch


def _columns(rng: np.random.Generator, n: int) -> dict[str, Any]:
    return {
        "x": rng.normal(size=n),
        "y": np.where(rng.random(n) < 0.05, np.nan, rng.gamma(3, 2, n)),
        "c": rng.choice(["a", "b", "c"], n).astype(object),
    }


def _world() -> tuple[Reference, dict[str, Any], Any]:
    rng = np.random.default_rng(8)
    made = _columns(rng, 5000)
    reference = Reference.build(made, scores=1 / (1 + np.exp(-made["x"])), model_name="m")
    rows = _columns(rng, 6000)
    rows["x"][2000:3000] += 1.5  # a fault that ends, and one that stays
    rows["c"][4500:] = np.where(rng.random(1500) < 0.2, "new", rows["c"][4500:])
    return reference, rows, 1 / (1 + np.exp(-rows["x"]))


def _run(size: int, *, budget: str = "100000rows") -> tuple[Engine, list[Any]]:
    reference, rows, scores = _world()
    engine = Engine(reference, budget=Budget(1, per=budget), clock=ManualClock())
    changes = []
    for a in range(0, 6000, size):
        part = slice(a, a + size)
        engine.observe({k: v[part] for k, v in rows.items()}, scores=scores[part])
        changes += engine.evaluate(1_700_000_000.0)
    return engine, changes


def _story(changes: list[Any]) -> list[Any]:
    out = []
    for change in changes:
        i = change.incident
        members = [(m.monitor, m.target, m.defect, m.joined_row) for m in i.members]
        out.append(
            (change.state, i.id, i.cause, i.severity, i.paged, i.opened_row, i.closed_row,
             i.change_row, i.change_row_interval, round(i.evidence_log10, 6), members)
        )  # fmt: skip
    return out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("budget", "sizes"), [("100000rows", (1, 7, 1000, 6000)), ("30d", (7, 1000))]
)
def test_the_size_of_batches_does_not_matter(budget: str, sizes: tuple[int, ...]) -> None:
    engine, changes = _run(50, budget=budget)
    story = _story(changes)
    assert [s[0] for s in story].count("opened") == 2
    assert "closed" in [s[0] for s in story]
    for size in sizes:
        other, found = _run(size, budget=budget)
        assert _story(found) == story
        assert other.state is not None
        assert engine.state is not None
        np.testing.assert_allclose(
            other.state.detector.level, engine.state.detector.level, rtol=1e-9
        )
        np.testing.assert_array_equal(other.state.total.counts, engine.state.total.counts)
        np.testing.assert_allclose(other.state.total.moments, engine.state.total.moments, rtol=1e-9)
        assert other.state.detector.evaluations == engine.state.detector.evaluations == 120


@pytest.mark.slow
def test_a_budget_in_rows_is_not_spent_by_looking_often() -> None:
    """Without a change, evidence must not grow because few rows are evaluated at a time."""
    reference, _, _ = _world()
    rng = np.random.default_rng(1)
    evidence = []
    for often in (False, True):
        clock = ManualClock()
        engine = Engine(reference, budget=Budget(1, per="100000rows"), clock=clock)
        for _ in range(1500):
            engine.observe(_columns(rng, 1), scores=rng.random(1))
            clock.advance(11.0 * often)
            engine.evaluate(clock.time())
        assert engine.state is not None
        assert engine.state.detector.evaluations == (1500 if often else 30)
        evidence.append(engine.evidence_log10)
    # one sum gains at most 1/50 per evaluation of one row: as much as 30 whole evaluations
    assert evidence[1] < np.log10(30) + 0.7


def test_an_evaluation_comes_after_ten_seconds_or_fifty_rows() -> None:
    reference, rows, scores = _world()
    clock = ManualClock()
    engine = Engine(reference, clock=clock)

    def serve(a: int, b: int) -> int:
        engine.observe({k: v[a:b] for k, v in rows.items()}, scores=scores[a:b])
        engine.evaluate(clock.time())
        assert engine.state is not None
        return engine.state.detector.evaluations

    assert serve(0, 49) == 0
    clock.advance(9.9)
    assert serve(49, 49) == 0
    clock.advance(0.2)
    assert serve(49, 49) == 1
    assert serve(49, 98) == 1
    assert serve(98, 99) == 2
    clock.advance(100)
    assert serve(99, 99) == 2  # nothing waits


def test_a_time_far_ahead_or_none_does_not_date_incidents() -> None:
    reference, rows, scores = _world()
    engine = Engine(reference, budget=Budget(1, per="10000rows"), clock=ManualClock())
    times = np.full(500, 1_699_999_000.0)
    times[::7] = 4.1e9
    times[::11] = np.nan
    part = slice(2000, 2500)
    engine.observe({k: v[part] for k, v in rows.items()}, scores=scores[part], event_times=times)
    engine.observe(
        {k: v[part] for k, v in rows.items()}, scores=scores[part], event_times=times * np.nan
    )
    changes = engine.evaluate(1_700_000_000.0)
    assert changes
    assert {c.at for c in changes} <= {1_699_999_000.0, 1_700_000_000.0}


def test_merged_profiles_are_counted_as_their_rows_and_show_the_same_faults() -> None:
    """Not the same evidence: counts do not tell how rows depend on each other, or repeat."""
    reference, rows, scores = _world()
    straight, merged = (
        Engine(reference, budget=Budget(1, per="100000rows"), clock=ManualClock()) for _ in range(2)
    )
    for a in range(0, 6000, 50):
        part = slice(a, a + 50)
        columns = {k: v[part] for k, v in rows.items()}
        straight.observe(columns, scores=scores[part])
        codes = encode(reference, Batch(50, columns, scores=scores[part]))
        counts, sums = chunk_counts(reference.layout, codes, np.zeros(50, np.int64), 1)
        merged.merge_profile(Profile(reference.layout, counts[0], sums[0]))
    assert merged.rows == straight.rows == 6000
    assert merged.state is not None
    assert straight.state is not None
    np.testing.assert_array_equal(merged.state.total.counts, straight.state.total.counts)
    np.testing.assert_allclose(merged.state.total.moments, straight.state.total.moments)
    found = [
        [c.incident.culprit.target for c in engine.evaluate(0.0) if c.state == "opened"]
        for engine in (merged, straight)
    ]
    assert found[0] == found[1] != []


def test_profiles_of_another_reference_or_too_early_are_refused() -> None:
    reference, rows, _ = _world()
    other = Reference.build({"x": rows["x"]}, model_name="m")
    with pytest.raises(DataError, match="another reference"):
        Engine(reference).merge_profile(other.profile)
    with pytest.raises(StateError, match="being learned"):
        Engine(None).merge_profile(other.profile)
