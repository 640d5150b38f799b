"""The widest and the largest inputs: bounded in memory for a moment and for good."""

from __future__ import annotations

import numpy as np
import pytest

from tests.faults.fuzz import Odd
from tests.faults.oracles import faulty, served
from tests.faults.test_faults_data_large import MOST, SOON, forget, peak, sampled


@pytest.mark.fault("B5")
def test_ten_thousand_features(watched: None) -> None:
    rng = np.random.default_rng(0)
    with faulty(longest=SOON, growth=MOST, settings={"learn_rows": 100}) as trial:
        before = forget()
        for _ in range(4):
            with served():
                trial.call(Odd(np.full(100, 0.5)).predict_proba, rng.normal(size=(100, 10_000)))
            trial.gave(100)
            trial.books()
        assert peak() - before < MOST


@pytest.mark.slow
@pytest.mark.fault("B5")
def test_a_million_rows_of_columns() -> None:
    rows = 1_000_000
    array = np.random.default_rng(0).random((rows, 20))
    with faulty(longest=SOON) as trial:
        before = forget()
        features = {f"f{j}": array[:, j] for j in range(20)}
        trial.observe(rows, features=features, scores=array[:, 0])
        assert sampled(trial) > 0
        assert peak() - before < MOST


@pytest.mark.slow
@pytest.mark.fault("B5")
def test_an_array_of_a_gigabyte(watched: None) -> None:
    """By reference on the request path, and a part of it in the worker."""
    gigabyte = np.zeros((1 << 20, 128))
    assert gigabyte.nbytes == 1 << 30
    answer = np.zeros(1 << 20)
    with faulty(longest=SOON) as trial:
        before = forget()
        with served():
            assert trial.call(Odd(answer).predict, gigabyte) is answer
        trial.gave(1 << 20)
        assert sampled(trial) > 0
        assert peak() - before < MOST
