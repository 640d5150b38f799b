"""A block in, the same without telemetry about itself: instrumented clients say nothing of it.

OpenTelemetry's own helper is in a package that loads an event loop; a process that serves without
one would keep two megabytes for these lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value

__all__ = ["uninstrumented"]

_KEYS: Final = (_SUPPRESS_INSTRUMENTATION_KEY, "suppress_instrumentation")  # new and old clients


@contextmanager
def uninstrumented() -> Iterator[None]:
    """Have instrumentations keep quiet in this context, inside a block."""
    context = None
    for key in _KEYS:
        context = set_value(key, True, context)
    assert context is not None
    token = attach(context)
    try:
        yield
    finally:
        detach(token)
