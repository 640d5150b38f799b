"""What waits for the worker of a call: a snapshot, in as few containers as can be."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from sklearn.linear_model import LogisticRegression

from otel_ml.capture import _scope
from otel_ml.capture._scope import SCOPE, Request
from otel_ml.frame import MORE, REQUEST, Frame, captured
from otel_ml.snapshot import call_rows

X = np.random.default_rng(0).normal(size=(60, 2))
MODEL = LogisticRegression().fit(X, (X[:, 0] > 0).astype(int))
CALLS = 100


class Frames(list[Frame]):
    """A sink that keeps the records themselves."""

    def submit(self, frame: Frame) -> None:
        self.append(frame)


@pytest.fixture
def frames(offline: Any, monkeypatch: pytest.MonkeyPatch) -> Frames:
    sink = Frames()
    monkeypatch.setattr(_scope, "_current_sink", sink)
    return sink


def in_request(request: Request, *methods: str, rows: Any = None) -> None:
    rows = [X[0].tolist()] if rows is None else rows
    token = SCOPE.set(request)
    for method in methods:
        getattr(MODEL, method)(rows)
    SCOPE.reset(token)
    request.close()


@pytest.mark.fault("A5")
@pytest.mark.parametrize("rows", [X[:1].tolist(), X[:2].tolist(), [tuple(X[0])], [X[0].copy()]])
def test_rows_that_are_changed_afterwards_are_as_the_model_saw_them(
    frames: Frames, rows: Any
) -> None:
    seen = np.array(rows)
    MODEL.predict(rows)
    if isinstance(rows[0], (list, np.ndarray)):
        rows[0][0] = 99.0
    rows.append("more")
    (frame,) = frames
    np.testing.assert_array_equal(np.array(captured(frame, 0).features), seen)
    assert call_rows(frame) == len(seen)


@pytest.mark.parametrize(
    ("methods", "most"),
    [((), 1), (("predict_proba",), 1), (("predict", "predict_proba"), 2)],
)
def test_few_containers_wait_for_the_worker(
    frames: Frames, methods: tuple[str, ...], most: int
) -> None:
    def serve() -> None:
        if methods:
            in_request(Request(), *methods)
        else:
            MODEL.predict_proba([X[0].tolist()])

    serve()
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(CALLS):
        serve()
    gc.collect()
    assert len(gc.get_objects()) - before < (most + 0.5) * CALLS
    assert len(frames) == CALLS + 1


def test_a_request_that_has_nothing_to_say_does_not_wait_for_the_worker(frames: Frames) -> None:
    request = Request()
    gone = weakref.ref(request)
    in_request(request, "predict")
    del request
    assert gone() is None
    in_request(Request(alias="a"), "predict")
    in_request(Request(client="c"), "predict")
    calls = [captured(frame, 0) for frame in frames]
    assert [(c.alias, c.client) for c in calls] == [(None, None), ("a", None), (None, "c")]


def test_the_span_of_a_request_is_found_with_and_without_its_context(frames: Frames) -> None:
    span = TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("s")
    with trace.use_span(span):
        in_request(Request(span=span), "predict")
    in_request(Request(span=span), "predict")
    assert [frame[REQUEST] is None for frame in frames] == [True, False]
    place = span.get_span_context()
    for frame in frames:
        call = captured(frame, 0)
        assert (call.trace_id, call.span_id) == (place.trace_id, place.span_id)


def test_every_further_method_adds_its_output(frames: Frames) -> None:
    in_request(Request(), "predict", "predict_proba", "decision_function")
    (frame,) = frames
    outputs = captured(frame, 0).outputs
    assert outputs is not None
    assert frame[MORE].methods == ("predict_proba", "decision_function")
    for method in frame[MORE].methods:
        np.testing.assert_array_equal(outputs[method], getattr(MODEL, method)(X[:1]))
