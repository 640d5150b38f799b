"""Without a reference the first traffic becomes it, and what changes then is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from otel_ml.engine import Budget, Engine
from otel_ml.profile import CategoryCells
from otel_ml.types import Batch, ModelKey


def _columns(rng: np.random.Generator, n: int, shift: float = 0.0) -> dict[str, Any]:
    return {
        "x": rng.normal(shift, 1, n),
        "c": rng.choice(["a", "b"], n).astype(object),
    }


def _engine(**options: Any) -> Engine:
    return Engine(None, budget=Budget(1, per="100000rows"), model=ModelKey("m", "3"), **options)


def test_the_first_rows_become_the_reference_and_a_change_is_found() -> None:
    rng = np.random.default_rng(0)
    engine = _engine(learn_rows=2000)
    for n in range(40):
        assert engine.reference is None
        assert engine.learner is not None
        assert engine.learner.progress == pytest.approx(n * 50 / 2000)
        assert engine.evidence_log10 == -np.inf
        engine.observe(_columns(rng, 50), scores=rng.random(50))
    assert engine.learner is None
    assert engine.reference is not None
    assert engine.reference.source == "traffic"
    assert engine.reference.model_name == "m"
    assert engine.reference.model_version == "3"
    assert engine.reference.rows("x") == engine.rows == 2000
    for _ in range(60):
        engine.observe(_columns(rng, 50), scores=rng.random(50))
    assert engine.evaluate(0.0) == []
    for _ in range(20):
        engine.observe(_columns(rng, 50, shift=1.0), scores=rng.random(50))
    assert [c.incident.culprit.target for c in engine.evaluate(0.0) if c.state == "opened"] == ["x"]


def test_learning_can_be_finished_early_but_not_from_nothing() -> None:
    engine = _engine(learn_rows=2000)
    assert not engine.finish_learning()
    engine.observe(_columns(np.random.default_rng(0), 300))
    assert engine.finish_learning()
    assert not engine.finish_learning()
    assert engine.reference is not None
    assert engine.reference.rows("x") == 300


def test_columns_that_come_and_go_while_learning_are_missing_where_they_were_not() -> None:
    rng = np.random.default_rng(0)
    engine = _engine(learn_rows=200)
    engine.observe({"x": rng.normal(size=100), "old": np.array(["a"] * 100, dtype=object)})
    engine.observe({"x": rng.normal(size=100), "new": rng.normal(size=100)})
    assert engine.reference is not None
    for name in ("old", "new"):
        cells = engine.reference.layout.sources[engine.reference.layout.index[name]]
        counts = dict(zip(cells.labels, engine.reference.profile.of(name).tolist(), strict=True))
        assert counts["missing"] == 100
    cells = engine.reference.layout.sources[engine.reference.layout.index["old"]]
    assert isinstance(cells, CategoryCells)


def test_labels_that_come_while_learning_are_joined() -> None:
    rng = np.random.default_rng(0)
    engine = _engine(learn_rows=400)
    ids = [f"r{i}" for i in range(400)]
    labels = rng.integers(0, 2, 400)
    engine.observe(_columns(rng, 200), scores=rng.random(200), ids=ids[:200])
    engine.observe_labels([*ids[:150], "r150"], [*labels[:150].tolist(), float("nan")])
    engine.observe(_columns(rng, 200), scores=rng.random(200), ids=ids[200:])
    assert engine.state is not None
    assert engine.state.labelled.join.states["joined"] == 150
    assert engine.state.labelled.outcomes is not None
    assert engine.state.labelled.outcomes[0].sum() == 150
    engine.observe_labels(ids, labels.tolist())
    assert engine.state.labelled.join.states == {
        "joined": 400, "unknown": 0, "duplicate": 150, "conflict": 0, "expired": 0,
    }  # fmt: skip
    assert engine.state.labelled.outcomes[0].sum() == 400


def test_where_every_label_came_in_time_performance_is_watched_from_the_start() -> None:
    rng = np.random.default_rng(0)
    engine = _engine(learn_rows=1000)
    scores = rng.random(2000)
    labels = (rng.random(2000) < scores).astype(int)
    ids = [f"r{i}" for i in range(2000)]
    engine.observe(_columns(rng, 999), scores=scores[:999], ids=ids[:999])
    engine.observe_labels(ids[:1000], labels[:1000].tolist())
    engine.observe(_columns(rng, 1), scores=scores[999:1000], ids=ids[999:1000])
    assert engine.reference is not None
    assert engine.reference.outcomes is not None
    assert engine.state is not None
    assert "performance:performance" in [s.key for s in engine.state.streams]
    # they are the reference already: seen again they are no new evidence
    engine.observe_labels(ids[:1000], labels[:1000].tolist())
    assert engine.state.labelled.join.states["duplicate"] == 1000
    assert engine.state.labelled.outcomes is not None
    assert engine.state.labelled.outcomes.sum() == 0


def test_a_huge_batch_does_not_make_a_huge_reference() -> None:
    n = 150_000
    engine = _engine(learn_rows=10**9)
    engine.observe(Batch(n, {"x": np.arange(n, dtype=float)}, ids=[str(i) for i in range(n)]))
    assert engine.rows == n
    assert engine.reference is not None
    assert engine.reference.rows("x") == 100_000


def test_the_budget_of_a_learned_reference_is_kept() -> None:
    """2,000 rows are a small reference: without a change 20 seeded runs of 10,000 rows stay quiet.

    At one false incident per 10,000 rows, 20 are allowed; more than 3 among 20 runs would be less
    likely than 0.1 % if the rate were at most a twentieth of the budget (Poisson of mean 1: 1.9 %
    for more than 3, so the bound leaves room for chance only).
    """
    alarms = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        engine = Engine(None, budget=Budget(1, per="10000rows"), learn_rows=2000)
        engine.observe(_columns(rng, 2000), scores=rng.beta(2, 3, 2000))
        engine.observe(_columns(rng, 10_000), scores=rng.beta(2, 3, 10_000))
        alarms += sum(c.state == "opened" for c in engine.evaluate(0.0))
    assert alarms <= 3


def test_sessions_each_with_a_value_of_their_own_can_be_learned_from() -> None:
    """Fewer independent rows than values: more are yet to come than any rate could say."""
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(200), rng.integers(20, 60, size=200))
    town = np.array([f"town {i}" for i in rng.integers(0, 90, 200)], dtype=object)[owner]
    x = rng.normal(size=200)[owner]
    engine = _engine(learn_rows=2000)
    for first in range(0, 4000, 100):
        rows = slice(first, first + 100)
        engine.observe({"x": x[rows], "town": town[rows]})
    assert engine.reference is not None
    assert engine.reference.design("town") > 20
    assert engine.evaluate(0.0) == []
