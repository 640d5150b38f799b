"""Row of the model's dashboard about what it answers: scores, confidence and the mix of classes."""

from __future__ import annotations

from typing import Final

from otel_ml.generate.dashboards._shared import S
from otel_ml.generate.dashboards._specs import BLUE, Panel, Target
from otel_ml.generate.dashboards.promql import aggregate, increase, legend, rate
from otel_ml.semconv import attributes as a
from otel_ml.semconv import metrics as m

__all__ = ["OUTPUTS"]

_CLASS: Final = (a.ML_PREDICTION_CLASS,)
_CLASSES: Final = rate(S(m.ML_PREDICTION_CLASSES))
_NO_SCORES: Final = "the model gives no probabilities"

OUTPUTS: Final = (
    Panel(
        "heatmap",
        "Scores over time",
        "How often each score was given. A band that moves, splits or narrows means that the model "
        "answers differently; look whether a feature moved at the same time.",
        (
            Target(
                aggregate(
                    "sum",
                    ("le",),
                    f"increase({S(m.ML_PREDICTION_SCORE, part='bucket')}[$__rate_interval])",
                ),
                "{{le}}",
                format="heatmap",
            ),
        ),
        "none",
        8,
        no_value=_NO_SCORES,
    ),
    Panel(
        "bargauge",
        "Scores",
        "Share of the predictions within the time range by score. Many scores near the decision "
        "threshold mean that small changes of the input change the decision.",
        (
            Target(
                "{} / on () group_left () {}".format(
                    aggregate("sum", ("le",), increase(S(m.ML_PREDICTION_SCORE, part="bucket"))),
                    aggregate("sum", (), increase(S(m.ML_PREDICTION_SCORE, part="count"))),
                ),
                "{{le}}",
                instant=True,
                format="heatmap",
            ),
        ),
        "percentunit",
        4,
        steps=((BLUE, None),),
        min=0,
        decimals=1,
        no_value=_NO_SCORES,
    ),
    Panel(
        "timeseries",
        "Classes",
        "Share of each predicted class. When the mix changes and the inputs do not, look at the "
        "model and its decision threshold; when both change, the population did.",
        (
            Target(
                f"{aggregate('sum', _CLASS, _CLASSES)} / on () group_left () "
                f"{aggregate('sum', (), _CLASSES)}",
                legend(*_CLASS),
            ),
        ),
        "percentunit",
        6,
        stacked=True,
        min=0,
        max=1,
        no_value="the model predicts no classes",
    ),
    Panel(
        "timeseries",
        "Confidence",
        "Probability of the class that was predicted: the median, and what the least sure tenth "
        "stays below. Confidence that falls is often the first sign of inputs the model does not "
        "know.",
        (
            Target(S.quantile(0.5, m.ML_PREDICTION_CONFIDENCE), "median"),
            Target(S.quantile(0.1, m.ML_PREDICTION_CONFIDENCE), "least sure tenth"),
        ),
        "percentunit",
        6,
        min=0,
        max=1,
        no_value=_NO_SCORES,
    ),
)
