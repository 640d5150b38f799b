"""Nothing in, the shortest way to OpenTelemetry's current context out."""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry.context import _RUNTIME_CONTEXT, Context, get_current
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext

__all__ = ["context_reader"]


def context_reader() -> Callable[[], Context]:
    """Return a function that returns the current context."""
    get_current()  # which chooses the runtime's kind of context when it is first asked
    if type(_RUNTIME_CONTEXT) is ContextVarsRuntimeContext:
        return _RUNTIME_CONTEXT._current_context.get
    return get_current
