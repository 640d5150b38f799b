"""A request's predictions come in; attributes on the server span that is already there go out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from opentelemetry.trace import Span, SpanKind, get_current_span

from otel_ml.capture._scope import Request, settings
from otel_ml.semconv import attributes

if TYPE_CHECKING:
    from otel_ml.config import Settings
    from otel_ml.types import ModelKey

__all__ = ["annotate", "current_server_span"]

_resolve: Callable[[object, Settings], tuple[ModelKey, str]] | None = None


def current_server_span() -> Span | None:
    """Return the current span if it is a server's and recording, else None."""
    span = get_current_span()
    return span if getattr(span, "kind", None) is SpanKind.SERVER else None


def annotate(request: Request) -> None:
    """Write name and version of the models, ids and rows of the predictions onto the span.

    Notes
    -----
    What it tells already is not written again. A span that has ended is left alone: the SDK would
    log a warning. Several models are joined with commas, like the ids on the response; versions
    are then left out.
    """
    span, changes = request.span, request.changes
    if span is None or changes == request.annotated or not span.is_recording():
        return
    request.annotated = changes
    told, active = request.told(), settings()
    keys = list(dict.fromkeys([_key(model, active) for model in told.models]))
    written: dict[str, str | int] = {
        attributes.ML_MODEL_NAME: ",".join(dict.fromkeys(k.name for k in keys))
    }
    if len(keys) == 1 and keys[0].version is not None:
        written[attributes.ML_MODEL_VERSION] = keys[0].version
    if told.ids:
        written[attributes.ML_PREDICTION_ID] = ",".join(told.ids)
    if told.rows:
        written[attributes.ML_PREDICTION_COUNT] = told.rows
    span.set_attributes(written)


def _key(model: object, active: Settings) -> ModelKey:
    """Return the identity of a model; what tells it needs numpy, and is imported on first use."""
    global _resolve
    if _resolve is None:
        from otel_ml.identity import resolve

        _resolve = resolve
    return _resolve(model, active)[0]
