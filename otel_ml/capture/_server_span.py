"""A request's predictions come in; attributes on the server span that is already there go out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import Span, SpanKind
from opentelemetry.trace.propagation import _SPAN_KEY

from otel_ml.capture._context import context_reader
from otel_ml.capture._scope import Request, settings
from otel_ml.semconv import attributes

if TYPE_CHECKING:
    from opentelemetry.context import Context

    from otel_ml.config import Settings
    from otel_ml.types import ModelKey

__all__ = ["annotate", "current_server_span", "tell_partial"]

_SERVER = SpanKind.SERVER

_context: Callable[[], Context] | None = None
_resolve: Callable[[object, Settings], tuple[ModelKey, str]] | None = None


def current_server_span() -> Span | None:
    """Return the current span if it is a server's and recording, else None."""
    global _context
    if _context is None:
        _context = context_reader()
    span: Any = _context().get(_SPAN_KEY)
    return span if span is not None and getattr(span, "kind", None) is _SERVER else None


def annotate(request: Request) -> None:
    """Write what models predicted, ids and rows of the predictions onto the span. Never raises.

    Notes
    -----
    What it tells already is not written again. A span that has ended is left alone: the SDK would
    log a warning. Several models are joined with commas, like the ids on the response; versions
    are then left out.
    """
    try:
        _annotate(request)
    except Exception:
        request.annotated = request.changes  # of somebody's own, and cannot be written on


def tell_partial(request: Request) -> None:
    """Write onto the span that an answer with predictions broke off. Never raises."""
    annotate(request)
    try:
        span = request.span
        if span is not None and request.changes and span.is_recording():
            span.set_attribute(attributes.ML_PREDICTION_PARTIAL, True)
    except Exception:
        return  # a span of somebody's own, which cannot be written on


def _annotate(request: Request) -> None:
    span, changes = request.span, request.changes
    if span is None or changes == request.annotated or not span.is_recording():
        return
    request.annotated = changes
    told = request.told()
    keys = _keys(told.models)
    written: dict[str, str | int] = {
        attributes.ML_MODEL_NAME: ",".join(dict.fromkeys([key.name for key in keys]))
    }
    if len(keys) == 1 and keys[0].version is not None:
        written[attributes.ML_MODEL_VERSION] = keys[0].version
    if told.ids:
        written[attributes.ML_PREDICTION_ID] = ",".join(told.ids)
    if told.rows:
        written[attributes.ML_PREDICTION_COUNT] = told.rows
    span.set_attributes(written)


def _keys(models: Sequence[object]) -> list[ModelKey]:
    """Return whose calls these are; what tells it needs numpy, and is imported on first use."""
    global _resolve
    if _resolve is None:
        from otel_ml.identity import resolve

        _resolve = resolve
    active = settings()
    if len(models) == 1:
        return [_resolve(models[0], active)[0]]
    return list(dict.fromkeys([_resolve(model, active)[0] for model in models]))
