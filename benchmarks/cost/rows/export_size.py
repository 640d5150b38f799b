"""Bytes of the export of a window of 20 features, as a receiver gets them.

The features are numbers of ten quantile bins each. Beside the whole request, which also holds what
monitoring says of itself, its evidence and its distances, stands the one metric of distributions.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np

import otel_ml
from benchmarks.cost.collector import Collector
from benchmarks.cost.line import Line
from otel_ml import Reference
from otel_ml.config import configure
from otel_ml.semconv import metrics as m

FEATURES: Final = 20
ROWS: Final = 5_000
RAW_KB, GZIP_KB = 8.0, 0.6


def measure(quick: bool) -> list[Line]:
    with Collector() as collector, tempfile.TemporaryDirectory() as folder:
        os.environ["OTEL_METRICS_EXPORTER"] = "otlp"  # read when the worker starts
        os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.endpoint
        path = Path(folder) / "reference.json"
        Reference.build(_columns(1), model_name="window").save(path)
        configure({"models": [{"name": "window", "reference": str(path)}]})
        otel_ml.observe(model="window", features=_columns(2))
        if not otel_ml.shutdown(60.0):
            raise TimeoutError("the export did not end")
        told = collector.ask()
    return lines(told)


def lines(told: dict[str, Any]) -> list[Line]:
    """Return the lines of what the collector tells of the last request."""
    last, counted = told["last"], told["totals"].get(m.ML_PREDICTIONS.name)
    if counted != ROWS:
        raise AssertionError(f"{counted} predictions arrived, {ROWS} were sent")
    features = last["metrics"][m.ML_FEATURE_VALUE.name]
    window = f"window of {FEATURES} features"
    note = f"one metric of {features['points']} points"
    out = [
        Line(f"{window}, distributions, raw", "kB", features["raw"] / 1e3, "", None, RAW_KB, note),
        Line(
            f"{window}, distributions, gzip", "kB", features["gzip"] / 1e3, "", None, GZIP_KB, note
        ),
    ]
    note = f"{len(last['metrics'])} metrics"
    out += [
        Line(f"{window}, whole request, raw", "kB", last["raw"] / 1e3, note=note),
        Line(f"{window}, whole request, gzip", "kB", last["gzip"] / 1e3, note=note),
    ]
    return out


def _columns(seed: int) -> dict[str, Any]:
    values = np.random.default_rng(seed).normal(size=(ROWS, FEATURES))
    return {f"feature_{i:02}": values[:, i] for i in range(FEATURES)}
