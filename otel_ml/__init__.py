"""otel-ml: monitoring for machine-learning models in production that speaks OpenTelemetry.

Importing this package pulls in nothing: every public name is loaded when it is first used, so the
entry points that `opentelemetry-instrument` loads in every process stay cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from otel_ml._version import __version__

if TYPE_CHECKING:
    from otel_ml.engine import Budget, Engine
    from otel_ml.errors import ConfigError, DataError, OtelMlError, ReferenceError, StateError
    from otel_ml.pipeline import flush, observe, record_labels, shutdown
    from otel_ml.profile import Reference
    from otel_ml.types import Batch

__all__ = [
    "Batch",
    "Budget",
    "ConfigError",
    "DataError",
    "Engine",
    "OtelMlError",
    "Reference",
    "ReferenceError",
    "StateError",
    "__version__",
    "flush",
    "observe",
    "record_labels",
    "shutdown",
]

_HOME = {
    "Batch": "otel_ml.types",
    "Budget": "otel_ml.engine",
    "ConfigError": "otel_ml.errors",
    "DataError": "otel_ml.errors",
    "Engine": "otel_ml.engine",
    "OtelMlError": "otel_ml.errors",
    "Reference": "otel_ml.profile",
    "ReferenceError": "otel_ml.errors",
    "StateError": "otel_ml.errors",
    "flush": "otel_ml.pipeline",
    "observe": "otel_ml.pipeline",
    "record_labels": "otel_ml.pipeline",
    "shutdown": "otel_ml.pipeline",
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
