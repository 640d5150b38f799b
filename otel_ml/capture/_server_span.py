"""A request's predictions come in; attributes on the server span that is already there go out."""

from __future__ import annotations

from opentelemetry.trace import Span, SpanKind, get_current_span

from otel_ml.capture._scope import Request, settings

__all__ = ["annotate", "current_server_span"]


def current_server_span() -> Span | None:
    """Return the current span if it is a server's and recording, else None."""
    span = get_current_span()
    return span if getattr(span, "kind", None) is SpanKind.SERVER else None


def annotate(request: Request) -> None:
    """Write name and version of the models, ids and rows of the predictions onto the span.

    Notes
    -----
    A span that has ended is left alone: the SDK would log a warning. Several models are joined
    with commas, like the ids on the response; versions are then left out.
    """
    span = request.span
    if span is None or not request.models or not span.is_recording():
        return
    from otel_ml.identity import resolve
    from otel_ml.semconv import attributes

    active = settings()
    keys = list(dict.fromkeys(resolve(model, active)[0] for model in request.models))
    span.set_attribute(attributes.ML_MODEL_NAME, ",".join(dict.fromkeys(k.name for k in keys)))
    if len(keys) == 1 and keys[0].version is not None:
        span.set_attribute(attributes.ML_MODEL_VERSION, keys[0].version)
    if request.ids:
        span.set_attribute(attributes.ML_PREDICTION_ID, ",".join(request.ids))
    if request.rows:
        span.set_attribute(attributes.ML_PREDICTION_COUNT, request.rows)
