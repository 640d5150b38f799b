"""A method call comes in as it begins and ends; a `Captured` goes out to its request or pipeline.

The request path is here: no user code, no lock, no log record, and of OpenTelemetry only the
current context is read. Nothing raises; what goes wrong is counted.
"""

from __future__ import annotations

from time import perf_counter_ns, time_ns
from typing import Any

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, get_current
from opentelemetry.trace import Span, SpanKind
from opentelemetry.trace.propagation import _SPAN_KEY

from otel_ml.capture._scope import (
    QUIET,
    Entry,
    Quiet,
    Request,
    lost,
    prediction_id,
    settings,
    submit,
)
from otel_ml.snapshot import by_value, rows
from otel_ml.types import Captured

__all__ = ["Call", "Switch", "begin", "finish", "note"]

_ENRICHING = frozenset({"predict_proba", "decision_function"})


class Switch:
    """On while the instrumentor is; a wrapper that outlives it only passes calls through."""

    __slots__ = ("on",)

    def __init__(self) -> None:
        self.on = False


class Call:
    """A call of the outermost method, from its start to its end."""

    __slots__ = (
        "earlier",
        "features",
        "kept",
        "method",
        "model",
        "notes",
        "request",
        "span",
        "started",
        "time_ns",
    )

    def __init__(
        self,
        model: object,
        method: str,
        features: object,
        request: Request | None,
        span: Span | None,
    ) -> None:
        self.model = model
        self.method = method
        self.features = features
        self.request = request
        self.span = span
        self.earlier: Entry | None = None
        self.kept: object = None
        self.notes: Notes | None = None
        self.time_ns = time_ns()
        self.started = 0


class Notes:
    """What the calls inside an open call say about it."""

    __slots__ = ("delegated", "inner", "last")

    def __init__(self) -> None:
        self.inner: dict[str, object] | None = None
        self.last: tuple[object, object, str, object] | None = None
        self.delegated: tuple[object, dict[str, object]] | None = None

    def take(
        self, call: Call, model: object, method: str, features: object, result: object
    ) -> None:
        """Take from an inner call what makes this prediction richer: probabilities and scores.

        Notes
        -----
        Two cases are sure to be of the same rows: the model asked itself on the same input
        (``predict`` by way of ``predict_proba``), and a wrapper returned an inner model's result
        as its own (a pipeline), which had asked itself so.
        """
        if method in _ENRICHING:
            if model is call.model and features is call.features:
                self.inner = {**(self.inner or {}), method: by_value(result)}
            else:
                self.last = (model, features, method, result)
        elif method == "predict" and self.last is not None:
            if self.last[0] is model and self.last[1] is features:
                self.delegated = (result, {self.last[2]: by_value(self.last[3])})
            self.last = None

    def of(self, result: object) -> dict[str, object] | None:
        """Return outputs by method that go with the result of the open call."""
        if self.inner is not None:
            return self.inner
        if self.delegated is not None and self.delegated[0] is result:
            return self.delegated[1]
        return None


def _features(args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
    if args:
        return args[0]
    if "X" in kwargs:
        return kwargs["X"]
    return next(iter(kwargs.values()), None)


def begin(
    switch: Switch,
    request: Request | None,
    model: object,
    method: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Call | Quiet:
    """Open a call, or return `QUIET` where it is not to be captured. Never raises."""
    if not switch.on:
        return QUIET
    try:
        context = get_current()
        span: Span | None = None
        features = _features(args, kwargs)
        if context:
            if context.get(_SUPPRESS_INSTRUMENTATION_KEY) or context.get(
                "suppress_instrumentation"
            ):
                return QUIET
            span = context.get(_SPAN_KEY)  # type: ignore[assignment]  # only spans are put there
        if request is None and not _served_by(span) and not settings().capture.offline:
            lost("not_serving", rows(features) or 1)
            return QUIET
        call = Call(model, method, features, request, span)
        if request is not None:
            call.earlier = request.earlier(model, method, features)
        if call.earlier is None:
            call.kept = by_value(features)
        call.started = perf_counter_ns()
        return call
    except Exception:
        lost()
        return QUIET


def finish(call: Call | Quiet, result: Any, error: BaseException | None) -> None:
    """Close a call and hand it on. Never raises."""
    if type(call) is not Call:
        return
    try:
        duration = perf_counter_ns() - call.started
        # With return_std and the like the prediction comes first.
        output = by_value(result[0] if type(result) is tuple and result else result)
        inner = None if call.notes is None else call.notes.of(result)
        if call.earlier is not None:
            if error is None:
                call.earlier.merge(call.method, output, inner)
                return
            call.kept = by_value(call.features)
        request = call.request
        span = call.span
        captured = Captured(
            call.model, call.method, call.kept, output, call.time_ns, duration, outputs=inner
        )
        if error is not None:
            captured.error = type(error).__name__
        if span is None and request is not None:
            # A thread pool takes the request along, but not the context of OpenTelemetry.
            span = request.span
        if span is not None:
            place = span.get_span_context()
            captured.trace_id = place.trace_id
            captured.span_id = place.span_id
            captured.trace_flags = place.trace_flags
        if request is None:
            submit(captured)
            return
        captured.prediction_id = prediction_id()
        captured.alias = request.alias
        captured.client = request.client
        count = rows(output)
        request.add(captured, call.features, rows(call.kept) if count is None else count)
    except Exception:
        lost()


def note(
    call: Call,
    model: object,
    method: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    result: object,
) -> None:
    try:
        if call.notes is None:
            call.notes = Notes()
        call.notes.take(call, model, method, _features(args, kwargs), result)
    except Exception:
        # What an inner call would have added is missing; the prediction itself is not.
        call.notes = None


def _served_by(span: Span | None) -> bool:
    """Say whether the current span shows that a request or message is being served.

    Notes
    -----
    A span that was not sampled does not tell its kind. It is taken for a server's, because
    predictions must not depend on sampling.
    """
    if span is None:
        return False
    kind = getattr(span, "kind", None)
    if kind is None:
        return span.get_span_context().is_valid and not span.is_recording()
    return kind is SpanKind.SERVER or kind is SpanKind.CONSUMER
