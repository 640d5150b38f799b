"""What models return, in every shape and of every library: unread where it must not be, counted."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

import otel_ml
from otel_ml.frame import BY_HAND
from otel_ml.intake import convert
from otel_ml.profile import Reference
from otel_ml.semconv import metrics as m
from otel_ml.types import Buckets, Captured
from tests.faults import odd
from tests.faults.fuzz import METHODS, Odd
from tests.faults.oracles import Trial, faulty, same, served
from tests.faults.processes import alone


def predictions(trial: Trial) -> float:
    trial.books()
    return sum(float(s.value) for s in trial.sink.samples(m.ML_PREDICTIONS, ml_model_name="Odd"))


# B9

TENSORS = ("cpu", "cuda", "grad", "meta", "symbolic", "tracer")


@pytest.mark.fault("B9")
@pytest.mark.parametrize("kind", TENSORS)
@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_is_not_asked_anything_on_the_request_path(
    watched: None, kind: str, method: str
) -> None:
    """A question would wait for the device, end a graph, or be recorded in one."""
    given_, answer = odd.Tensor(np.ones((3, 2)), kind), odd.Tensor(np.full((3, 2), 0.5), kind)
    model = Odd(answer)
    with faulty(given=None) as trial, trial.held():
        with served():
            assert getattr(model, method)(given_) is answer
        assert given_.asked == answer.asked == []


@pytest.mark.fault("B9")
def test_a_tensor_that_can_be_read_is_counted(watched: None) -> None:
    model = Odd(odd.Tensor(np.full((3, 2), 0.5)))
    with faulty() as trial:
        with served():
            model.predict_proba(odd.Tensor(np.ones((3, 2))))
        trial.gave(3)
        assert predictions(trial) == 3


TORCH = """
import warnings
import torch
from opentelemetry import trace
from sklearn.base import BaseEstimator
from otel_ml import pipeline
from otel_ml.capture import MLInstrumentor
from otel_ml.semconv import metrics as m
from otel_ml.testing import MemoryPipeline

MLInstrumentor().instrument()
running = MemoryPipeline()
pipeline.replace(running)

class Net(BaseEstimator):
    def predict_proba(self, X):
        return self.answer

graded = torch.ones(3, 2, requires_grad=True)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    tensors = [
        torch.full((3, 2), 0.5), torch.nn.Parameter(torch.full((3, 2), 0.5)), graded * 0.5,
        torch.empty(3, 2, device="meta"), torch.eye(3).to_sparse(), torch.ones(3, 2).bfloat16(),
        torch.quantize_per_tensor(torch.full((3, 2), 0.5), 0.1, 0, torch.quint8),
    ]
for tensor in tensors:
    net = Net()
    net.answer = tensor
    with trace.use_span(trace.NonRecordingSpan(trace.SpanContext(1, 2, False))):
        assert net.predict_proba(tensor) is tensor
assert running.flush(30)
tensors[2].sum().backward()
assert torch.equal(graded.grad, torch.full((3, 2), 0.5)), "the graph is what it was"
print(running.sink.value(m.ML_MONITORING_CAPTURED), running.restarts)
"""

JAX = """
import jax, jax.numpy as jnp, numpy as np
from opentelemetry import trace
from sklearn.base import BaseEstimator
import otel_ml
from otel_ml import pipeline
from otel_ml.capture import MLInstrumentor
from otel_ml.semconv import metrics as m
from otel_ml.testing import MemoryPipeline

MLInstrumentor().instrument()
running = MemoryPipeline()
pipeline.replace(running)

class Net(BaseEstimator):
    def predict_proba(self, X):
        return jax.nn.softmax(X)

@jax.jit
def traced(X):
    with trace.use_span(trace.NonRecordingSpan(trace.SpanContext(1, 2, False))):
        out = Net().predict_proba(X)
        otel_ml.observe(model="m", features=X, scores=out)
    return out

X = jnp.ones((3, 2))
found = traced(X), traced(X + 1)
assert running.flush(30)
assert np.array_equal(found[0], jax.nn.softmax(X)), "the graph is what it was"
assert np.array_equal(jax.grad(lambda X: traced(X)[0, 0].sum())(X).shape, X.shape)
with trace.use_span(trace.NonRecordingSpan(trace.SpanContext(1, 2, False))):
    Net().predict_proba(X)
assert running.flush(30)
print(running.sink.value(m.ML_MONITORING_CAPTURED), running.restarts)
"""


@pytest.mark.fault("B9")
@pytest.mark.slow
@pytest.mark.parametrize(("library", "script", "least"), [("torch", TORCH, 7), ("jax", JAX, 3)])
def test_tensors_of_a_library(library: str, script: str, least: int) -> None:
    """With a gradient, without data, sparse, quantised, while traced: passed on and counted."""
    pytest.importorskip(library)
    done = alone(script, timeout=120)
    assert done.code == 0, done.err
    captured, restarts = done.out.split()
    assert float(captured) >= least
    assert restarts == "0"


# B11


OUTPUTS: dict[str, Callable[[int], Any]] = {
    "scalar": lambda n: 0.5,
    "column": lambda n: np.full((n, 1), 0.5),
    "list of arrays": lambda n: [np.full((n, 2), 0.5), np.full((n, 3), 1 / 3)],
    "dict": lambda n: {"label": ["a"] * n, "boxes": np.zeros((n, 4))},
    "tuple": lambda n: (np.zeros(n), np.ones(n)),
    "none": lambda n: None,
    "boxes": lambda n: [
        {"boxes": np.zeros((i, 4)), "masks": np.zeros((i, 8, 8))} for i in range(n)
    ],
    "generator": lambda n: (i for i in range(n)),
    "texts": lambda n: ["a", "b", "c", "d", "e"][:n],
    "images": lambda n: np.zeros((n, 4, 4, 3)),
    "series": lambda n: pd.Series(np.zeros(n), index=range(5, 5 + n)),
    "frame": lambda n: pd.DataFrame({"p": np.full(n, 0.5), "q": np.full(n, 0.5)}),
    "sparse": lambda n: sparse.csr_matrix(np.eye(n)),
    "objects": lambda n: np.array([object()] * n, dtype=object),
    "nested": lambda n: [[["a"]]] * n,
    "ragged": lambda n: [[1] * i for i in range(n)],
    "mapping of rows": lambda n: [{"a": 0.1, "b": 0.9}] * n,
    "record": lambda n: np.zeros(n, dtype=[("score", "f8"), ("label", "U3")]),
    "complex": lambda n: np.full(n, 1j),
    "half": lambda n: np.full((n, 2), 0.5, dtype="f2"),
}


# a class, a number or probabilities for each row; of several parts the first is taken
DECISIONS = frozenset({"column", "texts", "series", "tuple"})
PROBABILITIES = frozenset({"column", "series", "frame", "half", "tuple"})
READ: dict[str, frozenset[str]] = {
    "predict": DECISIONS,
    "predict_proba": PROBABILITIES,
    "predict_log_proba": PROBABILITIES,
    "decision_function": frozenset(OUTPUTS),  # margins are not watched, whatever they look like
}


@pytest.mark.fault("B11", "A7")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_of_every_shape(watched: None, name: str, method: str) -> None:
    """Five rows in are five predictions, whatever comes out, or one where that cannot be told."""
    answer = OUTPUTS[name](5)
    with faulty(given=None) as trial:
        model = Odd(answer)
        with served():
            assert getattr(model, method)(np.ones((5, 2))) is answer
        books = trial.books()
        assert books.captured - 2 in (1, 2, 5), books
        unreadable = {
            str(s.attributes["ml.drop.reason"]): s.value
            for s in trial.sink.samples(m.ML_MONITORING_UNREADABLE)
            if s.value
        }
        if name in READ[method]:
            assert not unreadable
        elif name == "scalar" and method == "predict":
            assert unreadable == {"shape": 1}, "one answer, and five rows"
        else:
            assert unreadable == {"output_shape": books.captured - 2}
        if name == "generator":
            assert list(answer) == [0, 1, 2, 3, 4], "nothing was taken from it"


@pytest.mark.fault("B11")
@pytest.mark.parametrize("name", ["boxes", "objects", "record", "mapping of rows", "complex"])
def test_no_class_is_made_of_what_is_none(name: str) -> None:
    """The text of a box, or of where an object lies, would be a new class each time."""
    answer, rows = OUTPUTS[name](5), np.ones((5, 2))
    asked = Captured(object(), "predict", rows, answer, 0, 1)
    told = Captured("m", BY_HAND, rows, None, 0, 1, extra={"predictions": answer})
    for call in (asked, told):
        found = convert(call)
        assert found.batch is not None
        assert (found.batch.n, len(found.batch.features)) == (5, 2)
        assert found.batch.predictions is None
        assert found.unreadable == "output_shape"


@pytest.mark.fault("B11")
def test_what_is_not_watched_in_whole_is_said(
    watched: None, caplog: pytest.LogCaptureFixture
) -> None:
    with faulty(given=None) as trial:
        with served():
            Odd(OUTPUTS["boxes"](5)).predict(np.ones((5, 2)))
        trial.books()
    assert "not watched in whole (unreadable: output_shape, 5 so far)" in caplog.text
    assert "report what is to be watched with otel_ml.observe" in caplog.text


# B12


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A reference with scores and labels, so that calibration is watched."""
    rng = np.random.default_rng(3)
    path = tmp_path_factory.mktemp("reference") / "reference.json"
    scores = rng.random(4000)
    columns = {"a": rng.normal(size=4000)}
    labels = np.where(rng.random(4000) < scores, "1", "0")
    Reference.build(columns, scores=scores, labels=labels, model_name="m").save(path)
    return {"models": [{"name": "m", "reference": str(path)}]}


def scores_are_finite(trial: Trial) -> None:
    trial.books()
    for sample in trial.sink.samples():
        if isinstance(sample.value, Buckets):
            assert sample.value.sum is None or math.isfinite(sample.value.sum), sample
        else:
            assert math.isfinite(sample.value), sample


@pytest.mark.fault("B12")
@odd.MANY
@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 60), st.integers(1, 4)))
    | hnp.arrays(np.float64, st.integers(1, 60))
)
def test_scores_that_are_no_probabilities(settings: dict[str, Any], scores: Any) -> None:
    """Below zero, above one, of any sum, NaN: no metric suffers, no prediction is lost."""
    n = len(scores)
    with faulty(settings=settings) as trial:
        ids = [f"i{i}" for i in range(n)]
        trial.observe(n, features={"a": np.zeros(n)}, scores=scores, ids=ids)
        trial.call(otel_ml.record_labels, ids=ids, labels=["1"] * n, model="m")
        scores_are_finite(trial)


@pytest.mark.fault("B11", "B12")
@odd.MANY
@given(hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0, max_dims=3, max_side=4)))
def test_arrays_of_anything_as_outputs(watched: None, array: Any) -> None:
    before = array.copy()
    with faulty(given=None) as trial:
        for method in METHODS:
            model = Odd(array)
            with served():
                assert getattr(model, method)(np.ones((3, 2))) is array
        trial.books()
        assert same(array, before) or array.strides != before.strides
