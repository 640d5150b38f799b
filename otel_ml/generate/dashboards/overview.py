"""The dashboard "ML models": all models at a glance, each with the way to its own dashboard."""

from __future__ import annotations

from typing import Final

from otel_ml.generate.dashboards._models import GLANCE, HEALTH, TABLE, TRENDS
from otel_ml.generate.dashboards._shared import OF_PROCESS, OVERVIEW_UID, process_variables
from otel_ml.generate.dashboards._specs import Dashboard, Row, Variable
from otel_ml.semconv import attributes as a
from otel_ml.semconv.prometheus import prometheus_label

__all__ = ["OVERVIEW"]

OVERVIEW: Final = Dashboard(
    "overview.json",
    OVERVIEW_UID,
    "ML models",
    "All models at a glance: traffic, incidents, evidence, drift, latency, and whether monitoring "
    "itself is alive.",
    (
        *process_variables(),
        Variable(
            "model",
            "Model",
            f"label_values({OF_PROCESS}}}, {prometheus_label(a.ML_MODEL_NAME)})",
            multi=True,
            all_value=".+",
            include_all=True,
        ),
    ),
    (
        Row("At a glance", (*GLANCE, TABLE)),
        Row("Over time", TRENDS),
        Row("Monitoring itself", HEALTH),
    ),
)
