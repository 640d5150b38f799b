"""The names of everything otel-ml emits: constants generated from the registry beside this file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from otel_ml.semconv.attributes import SCHEMA_URL

__all__ = ["SCHEMA_URL", "SCOPE"]

SCOPE: Final = "otel_ml"
"""Name of the instrumentation scope of all metrics and events."""


def __getattr__(name: str) -> str:
    # Lazy, so that the generator runs when the generated modules are missing or out of date.
    if name == "SCHEMA_URL":
        from otel_ml.semconv.attributes import SCHEMA_URL

        return SCHEMA_URL
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
