"""Monitors: one file per question. They return evidence and emit nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from otel_ml.monitors.detector import Detector
from otel_ml.monitors.distribution import asked, input_drift, output_drift
from otel_ml.monitors.performance import error_rates, error_source, performance
from otel_ml.monitors.quality import data_quality
from otel_ml.monitors.service import (
    ERRORS,
    ERRORS_SOURCE,
    LATENCY,
    LATENCY_BOUNDS,
    LATENCY_SOURCE,
    call_errors,
    latency,
    slow_from,
)
from otel_ml.monitors.weights import FAMILY_WEIGHTS
from otel_ml.profile import Reference
from otel_ml.types import Stream

__all__ = [
    "ERRORS",
    "ERRORS_SOURCE",
    "FAMILY_WEIGHTS",
    "LATENCY",
    "LATENCY_BOUNDS",
    "LATENCY_SOURCE",
    "MONITORS",
    "Detector",
    "Monitor",
    "Stream",
    "asked",
    "call_errors",
    "error_rates",
    "error_source",
    "latency",
    "slow_from",
]

Monitor: TypeAlias = Callable[[Reference, float], Iterator[Stream]]

# a new monitor is one file and one line here; the contract tests then run on it by themselves
MONITORS: Final[tuple[Monitor, ...]] = (input_drift, data_quality, output_drift, performance)
