"""Too much, and too little: bounded and said so, and never an alarm that comes of nothing."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from otel_ml.profile import Profile, Reference
from otel_ml.profile.coder import profile_of
from otel_ml.semconv import metrics as m
from otel_ml.types import Buckets
from tests.faults import odd
from tests.faults.fuzz import Odd
from tests.faults.oracles import HANG, Trial, faulty, served

MOST = 512 << 20  # bytes that reading the largest input may take for a moment
SOON = 0.25  # seconds: a call does not depend on the rows it hands over; a busy machine is slower


def peak() -> int:
    """Return the largest resident set since `forget`, in bytes."""
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line
    )
    return int(line.split()[1]) << 10


def forget() -> int:
    """Forget the peak so far; return the resident set now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def sampled(trial: Trial) -> float:
    return trial.books().sampled


# B5


@pytest.mark.fault("B5")
@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
def test_a_sparse_matrix_is_never_made_dense(watched: None, form: Any) -> None:
    """A million rows of ten thousand columns would take 80 GB."""
    rows = 1_000_000
    matrix = sparse.random_array(
        (rows, 10_000), density=1e-7, format=form, rng=np.random.default_rng(0)
    )
    answer = np.zeros(rows)
    with faulty(longest=SOON) as trial:
        before = forget()
        with served():
            assert trial.call(Odd(answer).predict, matrix) is answer
        trial.gave(rows)
        began = time.monotonic()
        trial.books()
        assert time.monotonic() - began < HANG
        assert peak() - before < MOST


@pytest.mark.slow
@pytest.mark.fault("B5")
@pytest.mark.parametrize("kind", ["array", "list"])
def test_a_million_rows_are_sampled_and_it_is_said(kind: str) -> None:
    rows = 1_000_000
    array = np.random.default_rng(0).random((rows, 20))
    features = array if kind == "array" else array.tolist()
    scores = array[:, 0].copy()
    # a list of twenty million numbers leaves holes in the memory of the interpreter
    with faulty(longest=SOON, growth=MOST // 4, said="are sampled") as trial:
        before = forget()
        trial.observe(rows, features=features, scores=scores)
        began = time.monotonic()
        assert sampled(trial) > 0, "not all of it was read, and that is told"
        assert time.monotonic() - began < HANG
        assert peak() - before < MOST
        assert trial.sink.value(m.ML_PREDICTIONS, ml_model_name="m") == rows


# B14


def quiet(trial: Trial) -> None:
    """Assert that nothing is alarmed about, and no metric is NaN."""
    trial.books()
    assert not [e for e in trial.sink.events("ml.incident") if e.attributes["ml.incident.paged"]]
    for sample in trial.sink.samples():
        if not isinstance(sample.value, Buckets):
            assert math.isfinite(sample.value), sample


@pytest.mark.fault("B14")
@pytest.mark.parametrize(
    "columns",
    [
        {"a": [1.0], "b": ["x"]},
        {"a": [math.nan], "b": [None]},
        {"a": [math.inf], "b": [""]},
        {"a": [True], "b": [False]},
    ],
    ids=["constant", "missing", "infinite", "booleans"],
)
@pytest.mark.parametrize("rows", [1, 49, 50, 51, 3000])
def test_features_that_never_say_anything(columns: dict[str, Any], rows: int) -> None:
    """Learned from such traffic and compared with more of it, or with too little to tell."""
    features = {name: values * rows for name, values in columns.items()}
    with faulty(settings={"learn_rows": 500}) as trial:
        for _ in range(3):
            trial.observe(rows, features=features, scores=[0.5] * rows, predictions=["a"] * rows)
        quiet(trial)


@pytest.mark.fault("B14")
@odd.MANY
@given(
    st.lists(st.sampled_from([0.0, 1.0, math.nan, None, "x"]), min_size=1, max_size=20),
    st.integers(1, 3),
)
def test_a_reference_of_next_to_nothing(values: list[Any], times: int) -> None:
    with faulty(settings={"learn_rows": 1}) as trial:
        n = len(values)
        for _ in range(times):
            trial.observe(n, features={"a": values}, scores=[0.5] * n)
        quiet(trial)


# B17


@pytest.mark.fault("B17")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ten_million_rows_against_an_exact_sum(dtype: Any) -> None:
    rng = np.random.default_rng(7)
    first = rng.lognormal(3, 2, 100_000).astype(dtype)
    reference = Reference.build({"x": first}, model_name="m")
    total = Profile(reference.layout)
    sums: list[float] = []
    squares: list[float] = []
    for _ in range(100):
        part = rng.lognormal(3, 2, 100_000).astype(dtype)
        total.add(profile_of(reference, {"x": part}))
        exact = part.astype(np.float64)
        sums.append(math.fsum(exact.tolist()))
        squares.append(math.fsum(np.square(exact).tolist()))
    assert total.counts.sum() == 10_000_000
    assert abs(total.moments[0, 1] / math.fsum(sums) - 1) < 1e-9
    assert abs(total.moments[0, 2] / math.fsum(squares) - 1) < 1e-9
