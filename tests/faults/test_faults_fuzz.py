"""Fifty thousand odd calls, or as many as asked for: nothing is raised, nothing changed or lost."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from sklearn.base import BaseEstimator

from otel_ml.capture import MLInstrumentor
from otel_ml.semconv import metrics as m
from tests.faults.fuzz import PLAIN, Fuzzer
from tests.faults.oracles import HANG, faulty

CALLS = int(os.environ.get("OTEL_ML_FUZZ_CALLS", "50000"))
SEED = int(os.environ.get("OTEL_ML_FUZZ_SEED", "0"))


@pytest.fixture
def instrumented() -> Iterator[None]:
    before = vars(BaseEstimator).get("__init_subclass__")
    MLInstrumentor().instrument()
    yield
    MLInstrumentor().uninstrument()
    assert vars(BaseEstimator).get("__init_subclass__") is before


@pytest.mark.slow
@pytest.mark.fault("A1", "A2", "A7", "A8", "B1", "B2", "B3", "B4", "B6", "B7", "B8", "B11")
def test_odd_calls(instrumented: None) -> None:
    fuzzer = Fuzzer(SEED)
    # the state of fifty models and what waits for labels in each of them: 78 MiB after a million
    with faulty(given=None, growth=128 << 20) as trial:
        fuzzer.pause = lambda: trial.pipeline.flush(HANG)
        trial.once, trial.kinds = False, 200
        fuzzer.run(CALLS)
        assert fuzzer.total == CALLS
        books = trial.books()
        assert trial.sink.value(m.ML_PREDICTIONS, ml_model_name=PLAIN) == fuzzer.plain
        assert books.dropped["not_serving"] >= fuzzer.unserved
        assert "queue_full" not in books.dropped
