"""Names of OpenTelemetry in, names of Prometheus out, by ``UnderscoreEscapingWithSuffixes``.

That is the strategy Prometheus' OTLP endpoint and the Collector use by default. It follows
the behaviour of ``otlptranslator`` 1.0.0, the library they share.
"""

from __future__ import annotations

import re
from typing import Final

from otel_ml.types import MetricDef

__all__ = ["prometheus_label", "prometheus_name", "prometheus_series"]

_UNITS: Final = {
    "d": "days",
    "h": "hours",
    "min": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
    "GiBy": "gibibytes",
    "TiBy": "tibibytes",
    "KBy": "kilobytes",
    "MBy": "megabytes",
    "GBy": "gigabytes",
    "TBy": "terabytes",
    "m": "meters",
    "V": "volts",
    "A": "amperes",
    "J": "joules",
    "W": "watts",
    "g": "grams",
    "Cel": "celsius",
    "Hz": "hertz",
    "1": "",
    "%": "percent",
}
_PER: Final = {
    "s": "second",
    "m": "minute",
    "h": "hour",
    "d": "day",
    "w": "week",
    "mo": "month",
    "y": "year",
}


def prometheus_name(metric: MetricDef) -> str:
    """Name of the metric in Prometheus; a histogram's series add ``_bucket``, ``_count``, ``_sum``.

    Parameters
    ----------
    metric
        Definition of the metric.

    Returns
    -------
    str
        For example ``ml_inference_duration_seconds``.
    """
    words = [word for word in re.split(r"[^a-zA-Z0-9:]+", metric.name) if word]
    main, _, per = metric.unit.partition("/")
    for unit, table, prefix in ((main, _UNITS, ()), (per, _PER, ("per",))):
        if "{" in unit:
            continue
        suffix = re.sub(r"[^a-zA-Z0-9]+", "_", table.get(unit, unit)).strip("_")
        if suffix and suffix not in words:
            words += [*prefix, suffix]
    if metric.instrument == "counter":
        words = [word for word in words if word != "total"] + ["total"]
    if metric.instrument == "gauge" and metric.unit == "1":
        words = [word for word in words if word != "ratio"] + ["ratio"]
    name = "_".join(words)
    return f"_{name}" if name[:1].isdigit() else name


def prometheus_series(metric: MetricDef) -> tuple[str, ...]:
    """Names of all series of the metric.

    Parameters
    ----------
    metric
        Definition of the metric.

    Returns
    -------
    tuple of str
        One name, or the three of a classic histogram.
    """
    name = prometheus_name(metric)
    if metric.instrument != "histogram":
        return (name,)
    return (f"{name}_bucket", f"{name}_count", f"{name}_sum")


def prometheus_label(attribute: str) -> str:
    """Label under which an attribute arrives in Prometheus.

    Parameters
    ----------
    attribute
        Name of the attribute.

    Returns
    -------
    str
        For example ``ml_feature_name``.
    """
    label = re.sub(r"[^a-zA-Z0-9_]", "_", attribute)
    return f"key_{label}" if label[:1].isdigit() else label
