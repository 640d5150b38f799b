"""A batch is counted fifty rows at a time, each chunk with its own cells, hours and repeats."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from otel_ml.counting import count_batch
from otel_ml.engine import Budget, Engine
from otel_ml.profile import CLIENTS, REPEATS_SOURCE, Reference
from otel_ml.state import State
from otel_ml.testing import ManualClock
from otel_ml.types import Batch

_NOW = 1_700_000_000.0


def _rows(rng: np.random.Generator, n: int) -> dict[str, NDArray[Any]]:
    common = rng.normal(size=n)
    return {
        "x": common,
        "y": common + rng.normal(size=n),
        "city": rng.choice(np.array(["a", "b", None], dtype=object), n),
    }


def _batch(rng: np.random.Generator, n: int) -> Batch:
    columns = _rows(rng, n)
    return Batch(
        n,
        columns,
        scores=1 / (1 + np.exp(-columns["x"])),
        clients=rng.choice(["p", "q"], n).tolist(),
        event_times=_NOW + np.sort(rng.random(n)) * 3000,
    )


def _built() -> Reference:
    past = _batch(np.random.default_rng(0), 3000)
    return Reference.build(
        past.features,
        scores=past.scores,
        clients=past.clients,
        sensitive=["city"],
        model_name="m",
    )


_REFERENCE = _built()


def _state() -> State:
    return State(_REFERENCE, model="m", min_effect=0.02, label_capacity=100)


def _part(batch: Batch, rows: slice) -> Batch:
    assert batch.scores is not None
    assert batch.clients is not None
    assert batch.event_times is not None
    n = len(range(*rows.indices(batch.n)))
    return Batch(
        n,
        {k: v[rows] for k, v in batch.features.items()},
        scores=batch.scores[rows],
        clients=batch.clients[rows],
        event_times=batch.event_times[rows],
    )


@pytest.mark.parametrize(
    ("n", "sizes"),
    [
        (0, []),
        (1, [1]),
        (50, [50]),
        (120, [50, 50, 20]),
        (50 * 256 + 3, [50] * 256 + [3]),  # more than are counted at once
    ],
)
def test_chunks_are_of_fifty_rows(n: int, sizes: list[int]) -> None:
    state = _state()
    batch = _batch(np.random.default_rng(1), n)
    assert [size for size, _ in count_batch(state, batch, 0, _NOW, 50)] == sizes
    assert state.total.rows("x") == n


def test_a_chunk_begun_by_the_batch_before_is_filled_up_first() -> None:
    state = _state()
    rng = np.random.default_rng(2)
    assert [s for s, _ in count_batch(state, _batch(rng, 30), 0, _NOW, 50)] == [30]
    assert [s for s, _ in count_batch(state, _batch(rng, 90), 30, _NOW, 50)] == [20, 50, 20]


def test_what_is_counted_is_what_the_batch_has() -> None:
    state = _state()
    batch = _batch(np.random.default_rng(3), 1000)
    for _ in count_batch(state, batch, 0, _NOW, 50):
        pass
    assert batch.clients is not None
    cells = state.reference.layout.sources[state.reference.layout.index[CLIENTS]]
    counted = dict(zip(cells.labels, state.total.of(CLIENTS).tolist(), strict=True))
    assert counted["p"] == batch.clients.count("p")
    assert counted["q"] == batch.clients.count("q")
    city = batch.features["city"]
    assert state.total.rows("score:city=a") == (city == "a").sum()
    n, total, squares = state.total.moments[state.reference.layout.index["x"]].tolist()
    assert n == 1000
    assert total == pytest.approx(batch.features["x"].sum())
    assert squares == pytest.approx(np.square(batch.features["x"]).sum())


@pytest.mark.parametrize(
    ("times", "at"),
    [
        ([_NOW - 50, _NOW - 10], _NOW - 10),
        ([_NOW - 50, _NOW + 1e9], _NOW - 50),
        ([np.nan, _NOW - 70], _NOW - 70),
        ([np.nan, np.nan], _NOW),
        ([_NOW + 1e9, np.inf], _NOW),
        (None, _NOW),
    ],
)
def test_a_batch_is_dated_by_its_latest_time_that_can_be_true(
    times: list[float] | None, at: float
) -> None:
    columns = _rows(np.random.default_rng(4), 2)
    batch = Batch(2, columns, event_times=None if times is None else np.array(times))
    assert [when for _, when in count_batch(_state(), batch, 0, _NOW, 50)] == [at]


_ALL = _batch(np.random.default_rng(5), 700)


def _engine() -> Engine:
    return Engine(_REFERENCE, budget=Budget(1, per="100000rows"), clock=ManualClock(_NOW))


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(1, 260), min_size=1, max_size=12))
def test_any_cut_into_batches_gives_the_same_evidence(sizes: list[int]) -> None:
    one, two = _engine(), _engine()
    one.observe(_ALL)
    at = 0
    for size in [*sizes, 700]:
        if at < 700:
            two.observe(_part(_ALL, slice(at, min(at + size, 700))))
        at += size
    assert two.rows == one.rows == 700
    assert two.evidence_log10 == pytest.approx(one.evidence_log10, abs=1e-9)
    assert one.state is not None
    assert two.state is not None
    np.testing.assert_array_equal(one.state.total.counts, two.state.total.counts)
    np.testing.assert_array_equal(one.state.history.counts, two.state.history.counts)


def test_a_row_repeated_in_the_next_batch_is_counted_as_repeated() -> None:
    engine = _engine()
    assert engine.state is not None
    for _ in range(2):
        engine.observe(_part(_ALL, slice(0, 50)))
    source = engine.state.sources[REPEATS_SOURCE]
    counted, _ = engine.state.history.since(source, 0)
    assert counted[:3].tolist() == [50, 50, 0]


def test_a_batch_without_features_adds_no_repeats_and_no_residuals() -> None:
    engine = _engine()
    for _ in range(3):
        engine.observe({}, scores=np.random.default_rng(6).random(50))
    assert engine.state is not None
    counted, _ = engine.state.history.since(engine.state.sources[REPEATS_SOURCE], 0)
    assert counted.sum() == 0
    told = {n for n in _REFERENCE.layout.index if engine.state.total.rows(n)}
    assert told == {"score", "prediction"}
    assert engine.state.total.rows("score") == 150
