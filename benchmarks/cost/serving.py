"""Rows in, the ways in which a served request has them predicted out, each a loop to be timed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry import context, trace
from opentelemetry.sdk.trace import TracerProvider

import otel_ml
from benchmarks.cost.models import BY_HAND, Plain, Watched
from benchmarks.cost.predictions import Answers, Row
from otel_ml import pipeline
from otel_ml.capture import MLInstrumentor
from otel_ml.capture._scope import SCOPE, Request

__all__ = ["Loop", "Server", "counted", "settled"]

Loop = Callable[[Sequence[list[Row]]], None]


class Server:
    """A process that serves a model: instrumented, with a server span that is current.

    Parameters
    ----------
    answers
        Of the model.
    """

    def __init__(self, answers: Answers) -> None:
        MLInstrumentor().instrument()
        self.model = Watched(answers)
        self.plain = Plain(answers)
        self.scores = answers.scores

    def loops(self) -> dict[str, tuple[Loop, Loop]]:
        """Return each way's loop with otel-ml, and the same without."""
        return {
            "in a request": (in_request(self.model), one(self.plain)),
            "in a server span": (one(self.model), one(self.plain)),
            "class and probability": (both_in_request(self.model), both(self.plain)),
            "by hand": (by_hand(self.plain), both(self.plain)),
        }

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Have a server's span current inside a block."""
        span = TracerProvider().get_tracer("server").start_span("POST", kind=trace.SpanKind.SERVER)
        token = context.attach(trace.set_span_in_context(span))
        try:
            yield
        finally:
            context.detach(token)


def one(model: Any) -> Loop:
    """Ask for the probabilities."""

    def loop(requests: Sequence[list[Row]]) -> None:
        for rows in requests:
            model.predict_proba(rows)

    return loop


def both(model: Any) -> Loop:
    """Ask for the class, then for the probabilities."""

    def loop(requests: Sequence[list[Row]]) -> None:
        for rows in requests:
            model.predict(rows)
            model.predict_proba(rows)

    return loop


def in_request(model: Any) -> Loop:
    """Ask for the probabilities, each in a request of its own as the server's hook opens it."""

    def loop(requests: Sequence[list[Row]]) -> None:
        enter = SCOPE.set
        for rows in requests:
            request = Request()
            enter(request)
            model.predict_proba(rows)
            enter(None)
            request.close()

    return loop


def both_in_request(model: Any) -> Loop:
    """Ask for the class, then for the probabilities: one prediction, captured in two calls."""

    def loop(requests: Sequence[list[Row]]) -> None:
        enter = SCOPE.set
        for rows in requests:
            request = Request()
            enter(request)
            model.predict(rows)
            model.predict_proba(rows)
            enter(None)
            request.close()

    return loop


def by_hand(model: Any) -> Loop:
    """Ask for class and probabilities, and report them."""

    def loop(requests: Sequence[list[Row]]) -> None:
        observe = otel_ml.observe
        for rows in requests:
            predicted = model.predict(rows)
            scores = model.predict_proba(rows)
            observe(model=BY_HAND, features=rows, scores=scores, predictions=predicted)

    return loop


def settled() -> None:
    """Let the worker finish what waits, then collect garbage."""
    if not otel_ml.flush(60.0):
        raise TimeoutError("the worker does not come to an end")
    gc.collect()


def counted() -> int:
    """Return how many predictions the worker has counted."""
    worker = pipeline.current()._worker
    return 0 if worker is None else worker.health.counted
