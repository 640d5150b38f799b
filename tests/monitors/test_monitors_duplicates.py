"""Retries and replays alarm; rows that are equal by chance, or as often as ever, do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2

from otel_ml.engine import Budget, Engine
from otel_ml.monitors import duplicates
from otel_ml.profile import REPEATS_SOURCE, Reference

_RUNS = 20


def _rows(rng: np.random.Generator, n: int) -> dict[str, NDArray[Any]]:
    return {
        "x": rng.normal(size=n),
        "y": rng.exponential(size=n),
        "city": rng.choice(["a", "b", "c"], n).astype(object),
    }


def _take(columns: dict[str, NDArray[Any]], rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    return {k: v[rows] for k, v in columns.items()}


def _opened(engine: Engine) -> list[str]:
    found = [c.incident.culprit for c in engine.evaluate(0.0) if c.state == "opened"]
    return [f"{m.monitor}:{m.target}" for m in found]


def _engine(rng: np.random.Generator, per: str = "100000rows") -> Engine:
    return Engine(Reference.build(_rows(rng, 3000), model_name="m"), budget=Budget(1, per=per))


def test_rows_sent_twice_are_found() -> None:
    """In all of 20 runs, within 500 rows: more than 86 % at 95 % confidence (0.05 ** (1 / 20))."""
    for seed in range(_RUNS):
        rng = np.random.default_rng([seed, 1])
        engine = _engine(rng)
        engine.observe(_rows(rng, 1000))
        assert _opened(engine) == []
        engine.observe(_take(_rows(rng, 250), np.repeat(np.arange(250), 2)))
        assert _opened(engine) == ["duplicates:duplicates"], seed


def test_a_block_that_is_replayed_is_found() -> None:
    for seed in range(_RUNS):
        rng = np.random.default_rng([seed, 2])
        engine = _engine(rng)
        rows = _rows(rng, 2000)
        engine.observe(rows)
        assert _opened(engine) == []
        engine.observe(_take(rows, np.arange(600, 1100)))
        assert _opened(engine) == ["duplicates:duplicates"], seed


def test_draws_from_a_pool_are_no_replay_although_the_reference_had_distinct_rows() -> None:
    """Twelve thousand rows of each of three pools, at a budget of one per 1,000 rows."""
    found: list[str] = []
    for seed in range(3):
        rng = np.random.default_rng([seed, 3])
        pool = _rows(rng, 20_000)
        reference = Reference.build(_take(pool, rng.permutation(20_000)[:5000]), model_name="m")
        assert reference.repeats == (5000, 0, 0)
        engine = Engine(reference, budget=Budget(1, per="1000rows"))
        engine.observe(_take(pool, rng.integers(0, 20_000, 12_000)))
        found += _opened(engine)
    assert "duplicates:duplicates" not in found
    assert chi2.ppf(0.95, 2 * (len(found) + 1)) / 2 <= 36


def test_a_reference_that_repeats_itself_allows_for_as_many() -> None:
    rng = np.random.default_rng(4)
    often = Reference.build(_take(_rows(rng, 2000), np.repeat(np.arange(2000), 2)), model_name="m")
    assert often.repeats == (2000, 2000, 0)
    engine = Engine(often, budget=Budget(1, per="100000rows"))
    engine.observe(_take(_rows(rng, 3000), np.repeat(np.arange(3000), 2)))
    assert _opened(engine) == []
    # fewer than ever are no fault
    engine.observe(_rows(rng, 3000))
    assert _opened(engine) == []
    # but nine of ten are
    engine.observe(_take(_rows(rng, 60), np.repeat(np.arange(60), 10)))
    assert "duplicates:duplicates" in _opened(engine)


def test_without_enough_reference_rows_the_first_rows_tell_how_often_rows_repeat() -> None:
    rng = np.random.default_rng(5)
    small = Reference.build(_rows(rng, 500), model_name="m")
    engine = Engine(small, budget=Budget(1, per="100000rows"))
    assert engine.state is not None
    assert "duplicates:duplicates" not in [s.key for s in engine.state.streams]
    engine.observe(_take(_rows(rng, 500), np.repeat(np.arange(500), 2)))
    engine.observe(_take(_rows(rng, 1000), np.repeat(np.arange(1000), 2)))
    assert "duplicates:duplicates" in [s.key for s in engine.state.streams]
    assert _opened(engine) == []
    engine.observe(_take(_rows(rng, 60), np.repeat(np.arange(60), 10)))
    assert "duplicates:duplicates" in _opened(engine)


@pytest.mark.parametrize("counts", [(1000, 0, 0), (5000, 100, 0), (900, 80, 20), (50_000, 0, 900)])
@pytest.mark.parametrize("design", [1.0, 5.0])
def test_as_many_repeats_as_before_and_some_more_are_no_evidence(
    counts: tuple[int, int, int], design: float
) -> None:
    stream = duplicates(counts, design)
    assert stream.source == REPEATS_SOURCE
    assert stream.weights.sum() == pytest.approx(1.0)
    seen = np.array(counts) / sum(counts)
    for more in (0.0, 0.015, 0.03):
        law = seen * (1 - more) + more * np.eye(3)[1]
        near = stream.scores[:, 1] != 0
        assert (np.exp(stream.logs[near]) @ law <= 1 + 1e-6).all()
    for law in (seen, np.array([1.0, 0.0, 0.0])):
        assert (np.exp(stream.logs) @ law <= 1 + 1e-6).all()
    flood = np.array([0.2, 0.4, 0.4])
    assert (stream.logs @ flood > 0).any()


def test_where_nearly_every_row_repeats_one_there_is_nothing_to_ask() -> None:
    stream = duplicates((10, 4000, 0), 1.0)
    assert not (stream.scores[:, 1] > 0).any()
