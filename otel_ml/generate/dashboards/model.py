"""The dashboard "ML model": from "is it in trouble" down to the buckets of one feature."""

from __future__ import annotations

from typing import Final

from otel_ml.generate.dashboards._health import HEALTH, SERVING
from otel_ml.generate.dashboards._inputs import FEATURE, MOVED, WHICH
from otel_ml.generate.dashboards._outputs import OUTPUTS
from otel_ml.generate.dashboards._quality import FAIRNESS, PERFORMANCE
from otel_ml.generate.dashboards._shared import (
    MODEL_UID,
    OF_PROCESS,
    TOP_CATEGORICAL,
    TOP_NUMERIC,
    S,
    by_drift,
    process_variables,
)
from otel_ml.generate.dashboards._specs import Dashboard, Row, Variable
from otel_ml.generate.dashboards._trouble import TROUBLE
from otel_ml.semconv import attributes as a
from otel_ml.semconv import metrics as m
from otel_ml.semconv.prometheus import prometheus_label

__all__ = ["MODEL"]

_FEATURE: Final = f'/{prometheus_label(a.ML_FEATURE_NAME)}="([^"]+)"/'

MODEL: Final = Dashboard(
    "model.json",
    MODEL_UID,
    "ML model",
    "One model: is it in trouble, since when, which feature or group, what its inputs look like "
    "now beside the reference, whether it is still right and for whom, and whether monitoring is "
    "alive.",
    (
        *process_variables(),
        Variable(
            "model", "Model", f"label_values({OF_PROCESS}}}, {prometheus_label(a.ML_MODEL_NAME)})"
        ),
        Variable(
            "version",
            "Version",
            f'label_values({OF_PROCESS}, {prometheus_label(a.ML_MODEL_NAME)}="$model"}}, '
            f"{prometheus_label(a.ML_MODEL_VERSION)})",
            multi=True,
            all_value=".*",
            include_all=True,
        ),
        Variable("feature", "Feature", by_drift(), regex=_FEATURE, sort=False),
        Variable("slice", "Slice", S.values(m.ML_FAIRNESS_SCORE, a.ML_SLICE_ATTRIBUTE)),
        Variable("measure", "Measure", S.values(m.ML_PERFORMANCE_SCORE, a.ML_PERFORMANCE_METRIC)),
        Variable(
            "group_measure",
            "Measure by group",
            S.values(
                m.ML_FAIRNESS_SCORE, a.ML_PERFORMANCE_METRIC, (a.ML_SLICE_ATTRIBUTE, "=", "$slice")
            ),
        ),
        Variable(
            "top_numeric",
            "Numeric features that moved most",
            TOP_NUMERIC,
            regex=_FEATURE,
            multi=True,
            include_all=True,
            hidden=True,
            sort=False,
        ),
        Variable(
            "top_categorical",
            "Categorical features that moved most",
            TOP_CATEGORICAL,
            regex=_FEATURE,
            multi=True,
            include_all=True,
            hidden=True,
            sort=False,
        ),
    ),
    (
        Row("Is it in trouble, and since when?", TROUBLE),
        Row("Which feature?", WHICH),
        Row("The features that moved most: now beside the reference", MOVED),
        Row("Feature $feature", FEATURE),
        Row("What the model answers", OUTPUTS),
        Row("Is it still right?", PERFORMANCE),
        Row("For whom? By $slice", FAIRNESS),
        Row("Is it fast enough?", SERVING),
        Row("Monitoring itself", HEALTH),
    ),
)
