"""Emission: samples and events in, OTLP requests, console lines or observable instruments out.

Importing this package loads neither the SDK nor an exporter; `build_sinks` loads what the
environment asks for, and gRPC only where gRPC was chosen.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otel_ml.emit.build import build_sinks, export_interval
    from otel_ml.emit.console import ConsoleSink
    from otel_ml.emit.observable import ObservableSink
    from otel_ml.emit.otlp import OtlpSink
    from otel_ml.emit.receiver import Receiver
    from otel_ml.emit.sink import ExportReport, Sink

__all__ = [
    "ConsoleSink",
    "ExportReport",
    "ObservableSink",
    "OtlpSink",
    "Receiver",
    "Sink",
    "build_sinks",
    "export_interval",
]

_HOME = {
    "ConsoleSink": "otel_ml.emit.console",
    "ExportReport": "otel_ml.emit.sink",
    "ObservableSink": "otel_ml.emit.observable",
    "OtlpSink": "otel_ml.emit.otlp",
    "Receiver": "otel_ml.emit.receiver",
    "Sink": "otel_ml.emit.sink",
    "build_sinks": "otel_ml.emit.build",
    "export_interval": "otel_ml.emit.build",
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
