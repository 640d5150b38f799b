"""What the environment asks for, before anything is connected."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from otel_ml.emit.destination import Destination, Protocol, Signal, from_environ
from otel_ml.emit.resource import ResourceSource, application_resource

__all__ = ["INTERVAL_SECONDS", "Plan", "interval_from_environ", "plan_from_environ"]

INTERVAL_SECONDS: Final = 60.0
_INTERVAL_VARIABLE: Final = "OTEL_METRIC_EXPORT_INTERVAL"
_OTLP: Final[Mapping[str, Protocol | None]] = {
    "otlp": None,
    "otlp_proto_http": "http",
    "otlp_proto_grpc": "grpc",
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """Where telemetry goes.

    Parameters
    ----------
    metrics, logs
        OTLP destinations of each signal.
    console
        Signals that are printed.
    provider
        Signals that go through the application's own providers.
    resource
        Supplies the application's resource.
    interval
        Seconds between two exports, where a file states them.
    """

    metrics: tuple[Destination, ...] = ()
    logs: tuple[Destination, ...] = ()
    console: frozenset[Signal] = frozenset()
    provider: frozenset[Signal] = frozenset()
    resource: ResourceSource = application_resource
    interval: float = INTERVAL_SECONDS


def plan_from_environ(environ: Mapping[str, str]) -> Plan:
    """Read ``OTEL_METRICS_EXPORTER``, ``OTEL_LOGS_EXPORTER`` and the variables of OTLP.

    Unset means ``otlp``, as in the specification. Names other than ``otlp``, ``console`` and
    ``none`` belong to exporters of the application's own provider.
    """
    destinations: dict[Signal, tuple[Destination, ...]] = {}
    console: set[Signal] = set()
    provider: set[Signal] = set()
    signals: tuple[Signal, ...] = ("metrics", "logs")
    for signal in signals:
        variable = f"OTEL_{signal.upper()}_EXPORTER"
        names = [name.strip() for name in environ.get(variable, "").split(",") if name.strip()]
        if "none" in names:
            names = []
        elif not names:
            names = ["otlp"]
        known = [name for name in dict.fromkeys(names) if name in _OTLP]
        destinations[signal] = tuple(from_environ(signal, environ, _OTLP[name]) for name in known)
        if "console" in names:
            console.add(signal)
        if any(name not in _OTLP and name != "console" for name in names):
            provider.add(signal)
    return Plan(
        destinations["metrics"],
        destinations["logs"],
        frozenset(console),
        frozenset(provider),
    )


def interval_from_environ(environ: Mapping[str, str]) -> float:
    """Return ``OTEL_METRIC_EXPORT_INTERVAL`` in seconds."""
    value = environ.get(_INTERVAL_VARIABLE, "").strip()
    if not value:
        return INTERVAL_SECONDS
    try:
        seconds = float(value) / 1000
    except ValueError:
        seconds = math.nan
    if math.isfinite(seconds) and seconds > 0:
        return seconds
    _log.warning(
        "%s=%r is not a number of milliseconds above 0; using %d",
        _INTERVAL_VARIABLE,
        value,
        INTERVAL_SECONDS * 1000,
    )
    return INTERVAL_SECONDS
