"""Metrics and attributes of the registry in, PromQL out; what a metric does not have is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from otel_ml.errors import DataError
from otel_ml.semconv.attributes import ML_MODEL_NAME, ML_MODEL_VERSION
from otel_ml.semconv.prometheus import prometheus_label, prometheus_name
from otel_ml.types import MetricDef

__all__ = [
    "Condition",
    "Selector",
    "aggregate",
    "increase",
    "labels",
    "legend",
    "on",
    "or_zero",
    "rate",
]

Part: TypeAlias = Literal["", "bucket", "count", "sum"]
Condition: TypeAlias = tuple[str, Literal["=", "!=", "=~", "!~"], str]


@dataclass(frozen=True, slots=True)
class Selector:
    """Writes selectors that keep to the job, instance, model and version chosen on the dashboard.

    Parameters
    ----------
    model
        Matcher of the model's name, such as ``=~"$model"``.
    version
        Matcher of its version, or an empty string where the dashboard does not choose one.
    """

    model: str
    version: str = ""

    def __call__(self, metric: MetricDef, *conditions: Condition, part: Part = "") -> str:
        """Write the selector of a metric.

        Parameters
        ----------
        metric
            Definition of the metric.
        conditions
            Attribute, operator and value.
        part
            Series of a histogram.

        Returns
        -------
        str
            The selector.

        Raises
        ------
        DataError
            The metric has no such attribute, or is no histogram where a part is asked for.
        """
        if bool(part) != (metric.instrument == "histogram"):
            raise DataError(f"{metric.name} is a {metric.instrument} and has no part {part!r}")
        matchers = ['job=~"$job"', 'instance=~"$instance"']
        if ML_MODEL_NAME in metric.required:
            matchers.append(f"{prometheus_label(ML_MODEL_NAME)}{self.model}")
            if self.version:
                matchers.append(f"{prometheus_label(ML_MODEL_VERSION)}{self.version}")
        for attribute, operator, value in conditions:
            if attribute not in metric.attributes:
                raise DataError(f"{metric.name} has no attribute {attribute}")
            matchers.append(f'{prometheus_label(attribute)}{operator}"{value}"')
        name = prometheus_name(metric) + (f"_{part}" if part else "")
        return f"{name}{{{', '.join(matchers)}}}"

    def values(self, metric: MetricDef, attribute: str, *conditions: Condition) -> str:
        """Write the query of a variable: all values of an attribute.

        Parameters
        ----------
        metric
            Metric that carries it.
        attribute
            The attribute.
        conditions
            As for a selector.

        Returns
        -------
        str
            A ``label_values`` query.
        """
        part: Part = "count" if metric.instrument == "histogram" else ""
        selector = self(metric, *conditions, part=part)
        return f"label_values({selector}, {prometheus_label(attribute)})"

    def quantile(self, q: float, metric: MetricDef, *conditions: Condition) -> str:
        """Write a quantile of a histogram over time.

        Parameters
        ----------
        q
            The quantile, between 0 and 1.
        metric
            A histogram.
        conditions
            As for a selector.

        Returns
        -------
        str
            The expression, without labels.
        """
        buckets = aggregate("sum", ("le",), rate(self(metric, *conditions, part="bucket")))
        return f"histogram_quantile({q}, {buckets})"


def labels(*attributes: str) -> str:
    """List attributes as labels."""
    return ", ".join(prometheus_label(attribute) for attribute in attributes)


def legend(*attributes: str) -> str:
    """Write the legend that shows the values of attributes."""
    return " · ".join(f"{{{{{prometheus_label(attribute)}}}}}" for attribute in attributes)


def aggregate(operator: str, attributes: tuple[str, ...], expr: str) -> str:
    """Aggregate over everything but the attributes, so over replicas and scopes too."""
    by = f" by ({labels(*attributes)})" if attributes else ""
    return f"{operator}{by} ({expr})"


def rate(selector: str) -> str:
    """Rate per second, over an interval that suits the resolution of the graph."""
    return f"rate({selector}[$__rate_interval])"


def increase(selector: str) -> str:
    """Increase over the time range of the dashboard."""
    return f"increase({selector}[$__range])"


def on(*attributes: str) -> str:
    """Match series by these attributes only."""
    return f"on ({labels(*attributes)})"


def or_zero(expr: str, attribute: str = "", value: str = "none") -> str:
    """Zero where the expression has no series, named by a value of an attribute."""
    if not attribute:
        return f"{expr} or vector(0)"
    label = prometheus_label(attribute)
    return f'{expr} or label_replace(vector(0), "{label}", "{value}", "", "")'
