"""Monitors: one file per question. They return evidence and emit nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from otel_ml.monitors.calibration import calibration
from otel_ml.monitors.detector import Detector
from otel_ml.monitors.distribution import (
    DEPENDENT_CLIENTS,
    asked,
    client_drift,
    input_drift,
    joint_drift,
    output_drift,
)
from otel_ml.monitors.duplicates import duplicates
from otel_ml.monitors.performance import (
    error_rates,
    error_source,
    label_sources,
    performance,
)
from otel_ml.monitors.quality import data_quality
from otel_ml.monitors.schema import SCHEMA_CELLS, SCHEMA_SOURCE, Schema, schema
from otel_ml.monitors.service import (
    ERROR_CELLS,
    ERRORS,
    ERRORS_SOURCE,
    LATENCY,
    LATENCY_BOUNDS,
    LATENCY_CELLS,
    LATENCY_SOURCE,
    Errors,
    Latency,
    call_errors,
    latency,
    slow_from,
)
from otel_ml.monitors.volume import VOLUME_CELLS, VOLUME_SOURCE, Interval, Volume, volume
from otel_ml.monitors.weights import FAMILY_WEIGHTS
from otel_ml.profile import Reference
from otel_ml.types import Stream

__all__ = [
    "DEPENDENT_CLIENTS",
    "ERRORS",
    "ERRORS_SOURCE",
    "ERROR_CELLS",
    "FAMILY_WEIGHTS",
    "LABEL_MONITORS",
    "LATENCY",
    "LATENCY_BOUNDS",
    "LATENCY_CELLS",
    "LATENCY_SOURCE",
    "MONITORS",
    "SCHEMA_CELLS",
    "SCHEMA_SOURCE",
    "VOLUME_CELLS",
    "VOLUME_SOURCE",
    "Detector",
    "Errors",
    "Interval",
    "Latency",
    "Monitor",
    "Schema",
    "Stream",
    "Volume",
    "asked",
    "call_errors",
    "duplicates",
    "error_rates",
    "error_source",
    "label_sources",
    "latency",
    "schema",
    "slow_from",
    "volume",
]

Monitor: TypeAlias = Callable[[Reference, float], Iterator[Stream]]

# a new monitor is one file and one line here; the contract tests then run on it by themselves
MONITORS: Final[tuple[Monitor, ...]] = (
    input_drift,
    joint_drift,
    data_quality,
    output_drift,
    client_drift,
    performance,
    calibration,
)
LABEL_MONITORS: Final[tuple[Monitor, ...]] = (performance, calibration)
