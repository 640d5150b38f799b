"""Predictions reported by hand: every kind of table is read, and any garbage is counted."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import otel_ml
from otel_ml import config, pipeline
from otel_ml.semconv import metrics as m
from otel_ml.testing import MemoryPipeline

HANG = 20.0
X = np.random.default_rng(1).normal(size=(60, 3))


def tables() -> dict[str, Any]:
    pd, pl, pa = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))
    columns = {name: X[:, j] for j, name in enumerate("abc")}
    return {
        "mapping of arrays": columns,
        "mapping of lists": {k: v.tolist() for k, v in columns.items()},
        "array": X,
        "rows": X.tolist(),
        "rows of tuples": [tuple(row) for row in X.tolist()],
        "rows of arrays": list(X),
        "rows of mappings": [dict(zip("abc", row, strict=True)) for row in X.tolist()],
        "structured": np.array(
            [tuple(row) for row in X.tolist()], dtype=[(n, "f8") for n in "abc"]
        ),
        "pandas": pd.DataFrame(columns),
        "pandas with arrow types": pd.DataFrame(columns).convert_dtypes(dtype_backend="pyarrow"),
        "polars": pl.DataFrame(columns),
        "arrow": pa.table(columns),
    }


@pytest.mark.parametrize("kind", list(tables()))
def test_every_kind_of_table_is_read(otel_ml_pipeline: Any, kind: str) -> None:
    otel_ml.observe(model="m", features=tables()[kind], scores=np.full(60, 0.25), version="3")
    assert otel_ml_pipeline.flush(HANG)
    engine = next(iter(otel_ml_pipeline._worker.hosts)).engine
    (batch,) = engine.learner._batches
    unnamed = ("array", "rows", "rows of tuples", "rows of arrays")
    names = ["f0", "f1", "f2"] if kind in unnamed else ["a", "b", "c"]
    assert list(batch.features) == names
    for j, name in enumerate(names):
        np.testing.assert_allclose(batch.features[name].astype(float), X[:, j])
    counted = otel_ml_pipeline.sink.value(m.ML_PREDICTIONS, ml_model_name="m", ml_model_version="3")
    assert counted == 60


def test_every_column_by_hand_arrives(otel_ml_pipeline: Any) -> None:
    times = [1.7e9, 1.7e9 + 1]
    otel_ml.observe(
        model="m",
        features={"a": [1, 2]},
        scores=[[0.1, 0.9], [0.6, 0.4]],
        predictions=[True, False],
        ids=[7, 8],  # type: ignore[list-item]  # what people do
        slices={"sex": ["f", None]},
        event_times=times,
        duration=0.25,
    )
    assert otel_ml_pipeline.flush(HANG)
    host = next(iter(otel_ml_pipeline._worker.hosts))
    (batch,) = host.engine.learner._batches
    assert batch.predictions.tolist() == ["True", "False"]
    assert batch.scores.tolist() == [[0.1, 0.9], [0.6, 0.4]]
    assert batch.ids == ["7", "8"]
    assert batch.slices["sex"].tolist() == ["f", None]
    assert batch.event_times.tolist() == times
    assert host.tally.durations.sum == 0.25
    assert otel_ml_pipeline.sink.value(m.ML_INFERENCE_DURATION) == 1


def test_the_caller_may_change_its_data_afterwards(otel_ml_pipeline: Any) -> None:
    features: dict[str, Any] = {"a": np.ones(3), "b": [1.0, 2.0, 3.0]}
    rows: list[Any] = [[1.0], [2.0], [3.0]]
    arrays = [np.ones(1), np.ones(1)]
    scores = np.full(3, 0.5)
    otel_ml_pipeline.start = lambda: None  # the worker comes later
    otel_ml.observe(model="m", features=features, scores=scores)
    otel_ml.observe(model="m", features=rows, scores=scores)
    otel_ml.observe(model="m", features=arrays)
    features["a"][:] = 9
    features["b"][0] = 9
    rows[0][0] = 9
    arrays[0][:] = 9
    scores[:] = 9
    del otel_ml_pipeline.start
    otel_ml_pipeline.start()
    assert otel_ml_pipeline.flush(HANG)
    first, second, third = next(iter(otel_ml_pipeline._worker.hosts)).engine.learner._batches
    assert first.features["a"].tolist() == [1, 1, 1]
    assert first.features["b"].tolist() == [1, 2, 3]
    assert second.features["f0"].tolist() == [1, 2, 3]
    assert third.features["f0"].tolist() == [1, 1]
    assert first.scores.tolist() == second.scores.tolist() == [0.5] * 3


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"features": {"a": [1, 2]}, "scores": [0.5]}, {"shape": 1}),
        ({"features": {"a": [1, 2]}, "scores": [0.5] * 2, "ids": ["x"]}, {"shape": 2}),
        ({"scores": [0.5] * 2, "event_times": [1.0]}, {"shape": 2}),
        ({"scores": [0.5] * 2, "slices": {"s": ["a"]}}, {"shape": 2}),
        ({"scores": np.zeros((2, 2, 2))}, {"output_shape": 2}),
        ({"scores": np.zeros((2, 0))}, {"output_shape": 2}),
        ({"predictions": np.zeros((2, 3))}, {"output_shape": 2}),
        ({}, {"invalid_input": 1}),
        ({"features": object()}, {"invalid_input": 1}),
        ({"features": {"a": [1, 2], "b": [1]}}, {"invalid_input": 2}),
        ({"scores": ["high", "low"]}, {"invalid_input": 2}),
        ({"scores": 0.5}, {"output_shape": 1}),
        ({"scores": [0.5] * 2, "event_times": [dt.date(2020, 1, 1)] * 2}, {"invalid_input": 2}),
        ({"scores": [0.5], "duration": "long"}, {"invalid_input": 1}),
        ({"scores": [0.5], "model": None}, {"invalid_input": 1}),
        ({"scores": [0.5], "model": ""}, {"invalid_input": 1}),
        ({"scores": [0.5] * 4, "model": {}}, {"invalid_input": 4}),
    ],
)
def test_what_cannot_be_used_is_dropped_with_its_rows(
    otel_ml_pipeline: Any, books: Any, given: dict[str, Any], expected: dict[str, int]
) -> None:
    otel_ml.observe(**{"model": "m", **given})
    otel_ml.observe(model="m", scores=[0.5])
    found = books(otel_ml_pipeline)
    assert (found.counted, found.dropped) == (1, expected)
    assert found.balanced


@pytest.mark.parametrize(
    "given",
    [
        {"features": object()},
        {"features": np.zeros((2, 2, 2))},
        {"duration": math.nan},
        {"duration": -1.0},
        {"duration": math.inf},
        {"version": 3},
        {"predictions": np.array([["a"], ["b"]])},
        {"features": np.zeros((2, 9))},
    ],
)
def test_what_can_be_used_in_part_is_counted(
    otel_ml_pipeline: Any, books: Any, given: dict[str, Any]
) -> None:
    otel_ml.observe(**{"model": "m", "scores": [0.5, 0.5], **given})
    found = books(otel_ml_pipeline)
    assert (found.counted, found.dropped) == (2, {})
    assert not otel_ml_pipeline.sink.samples(m.ML_INFERENCE_DURATION)


def test_a_sparse_matrix_is_counted_and_never_made_dense(otel_ml_pipeline: Any, books: Any) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    huge = sparse.csr_matrix((3, 10**9))
    otel_ml.observe(model="m", features=huge, scores=[0.5] * 3)
    found = books(otel_ml_pipeline)
    assert (found.counted, found.dropped) == (3, {})


class Rude:
    """An object every method of which fails in its own way."""

    def __init__(self, error: type[BaseException]) -> None:
        self._error = error

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise self._error

    def __len__(self) -> int:
        raise self._error

    def __str__(self) -> str:
        raise self._error

    def __getattr__(self, name: str) -> Any:
        raise self._error

    def __iter__(self) -> Any:
        raise self._error

    def __bool__(self) -> bool:
        raise self._error

    def __eq__(self, other: object) -> bool:
        raise self._error

    __hash__ = None  # type: ignore[assignment]  # so that it cannot be a key


@pytest.fixture(scope="module", params=["learning", "learned"])
def shared(request: pytest.FixtureRequest) -> Iterator[MemoryPipeline]:
    """One pipeline for all examples: its books must balance over all of them."""
    config.reset()
    if request.param == "learned":
        config.configure({"learn_rows": 100})
    running = MemoryPipeline()
    before = pipeline.replace(running)
    scores = np.random.default_rng(2).random(100)
    otel_ml.observe(model="m", features={"a": scores * 2, "b": ["x", "y"] * 50}, scores=scores)
    yield running
    assert running._worker is not None
    learned = next(iter(running._worker.hosts)).engine.reference is not None
    assert learned == (request.param == "learned")
    pipeline.replace(before)
    running.shutdown(HANG)
    config.reset()


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.complex_numbers(),
    st.datetimes(),
    st.sampled_from([10**400, -(10**400), np.nan, np.float32("inf"), np.datetime64("NaT", "s")]),
    st.sampled_from([RuntimeError, SystemExit, AttributeError]).map(Rude),
)
garbage = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        st.lists(st.floats(), min_size=1, max_size=4).map(np.array),
        st.integers(0, 3).map(lambda n: np.zeros((n, 2))),
        st.integers(0, 3).map(lambda n: np.zeros((n, 0))),
        st.just(np.array(0.5)),
        st.lists(st.text(max_size=3), min_size=1, max_size=4).map(np.array),
        st.just(np.array(["2020-01-01", "NaT"], dtype="datetime64[D]")),
        st.just(np.array([(1, 2.0)], dtype=[("a", "i8"), ("b", "f8")])),
    ),
    max_leaves=6,
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_garbage_never_raises_and_is_always_counted(
    shared: MemoryPipeline, books: Any, data: st.DataObject
) -> None:
    optional = st.one_of(st.none(), garbage)
    before = books(shared)
    skipped = sum(shared.skipped.values())
    otel_ml.observe(
        model=data.draw(st.one_of(st.just("m"), garbage)),
        features=data.draw(optional),
        scores=data.draw(optional),
        predictions=data.draw(optional),
        ids=data.draw(optional),
        slices=data.draw(optional),
        event_times=data.draw(optional),
        duration=data.draw(st.one_of(st.none(), scalars)),
        version=data.draw(st.one_of(st.none(), scalars)),
    )
    otel_ml.record_labels(
        ids=data.draw(garbage), labels=data.draw(garbage), model=data.draw(st.none() | st.just("m"))
    )
    after = books(shared)
    assert after.balanced
    lost = sum(shared.skipped.values()) - skipped
    assert after.captured - before.captured >= max(lost - 1, 0)  # an empty batch is nothing
    assert shared.restarts == 0
    otel_ml.observe(model="m", scores=[0.5])
    assert books(shared).counted == after.counted + 1
