"""A real Prometheus has every metric of the registry, and an answer to every query of a dashboard.

Two processes of different versions send known numbers, so what must not be counted twice is seen.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from otel_ml.generate.dashboards import panel_queries, template_queries
from otel_ml.semconv import SCHEMA_URL, SCOPE
from otel_ml.semconv._registry import load
from otel_ml.semconv.livecheck import check
from otel_ml.semconv.metrics import ALL
from otel_ml.semconv.prometheus import prometheus_series

if TYPE_CHECKING:
    from stack import Stack

pytestmark = pytest.mark.stack

DASHBOARDS = Path(__file__).resolve().parents[2] / "dashboards"
VALUES = {
    "model": "income",
    "feature": "AGEP",
    "slice": "SEX",
    "measure": "accuracy",
    "group_measure": "accuracy",
    "top_numeric": "AGEP",
    "top_categorical": "COW",
    "__rate_interval": "1m",
    "__range": "5m",
}
# The answer to one of these is empty on purpose: AGEP is numeric, COW categorical.
CATEGORICAL = "Categories: now and reference"

REFERENCE = {"ml.reference.id": "3f9a1c0b77de"}
AGEP = {"ml.feature.name": "AGEP", **REFERENCE}
COW = {"ml.feature.name": "COW", **REFERENCE}
BOUNDS = [30.0, 50.0]

BY_SEX = {"ml.slice.attribute": "SEX", "ml.performance.metric": "accuracy"}
OUTCOME = {"ml.prediction.class": "1", "ml.label.class": "0"}
GROUP = {"ml.slice.attribute": "SEX", "ml.slice.group": "2"}


def incident(cause: str, paged: bool, value: int) -> tuple[dict[str, Any], int]:
    severity = {"ml.incident.severity": "critical", "ml.incident.paged": paged}
    return {"ml.incident.cause": cause, "ml.incident.target": "AGEP", **severity}, value


# Attributes of each point besides the model, with its value: for counters the increase per step.
POINTS: Mapping[str, list[tuple[dict[str, Any], Any]]] = {
    "ml.predictions": [({}, 10), ({"error.type": "ValueError"}, 1)],
    "ml.prediction.classes": [({"ml.prediction.class": "0"}, 6), ({"ml.prediction.class": "1"}, 4)],
    "ml.feature.value": [(AGEP, [1, 2, 6])],
    "ml.reference.value": [(AGEP, [300, 400, 300])],
    "ml.feature.cells": [
        ({**AGEP, "ml.feature.cell": "missing"}, 1),
        ({**COW, "ml.feature.cell": "1"}, 8),
        ({**COW, "ml.feature.cell": "unseen"}, 2),
    ],
    "ml.reference.cells": [
        ({**AGEP, "ml.feature.cell": "missing"}, 0),
        ({**COW, "ml.feature.cell": "1"}, 900),
        ({**COW, "ml.feature.cell": "2"}, 100),
    ],
    "ml.drift.score": [
        ({"ml.feature.name": name, "ml.statistic": statistic}, value)
        for name, value in (("AGEP", 0.4), ("COW", 0.2), ("score", 0.1))
        for statistic in ("psi", "ks")
    ],
    "ml.incident.active": [
        incident("unit_change", True, 1),
        incident("missing_values", False, 1),
        incident("new_category", True, 0),
    ],
    "ml.performance.score": [
        (
            {
                "ml.performance.metric": "accuracy",
                "ml.estimate.source": source,
                "ml.estimate.bound": bound,
            },
            value,
        )
        for source in ("realised", "estimated")
        for bound, value in (("lower", 0.7), ("value", 0.75), ("upper", 0.8))
    ],
    "ml.fairness.score": [
        (
            {**BY_SEX, "ml.slice.group": group, "ml.estimate.bound": bound},
            0.7,
        )
        for group in ("1", "2")
        for bound in ("lower", "value", "upper")
    ],
    "ml.performance.outcomes": [(OUTCOME, 3), ({**OUTCOME, **GROUP}, 3)],
    "ml.fairness.difference": [(BY_SEX, 0.05)],
    "ml.fairness.group.ratio": [(BY_SEX, 0.9)],
    "ml.model.evidence": [({}, 6.0)],
    "ml.model.evidence.threshold": [({}, 4.0)],
}


def carry(target: Any, attributes: Mapping[str, Any]) -> None:
    for key, value in attributes.items():
        kind = "bool_value" if isinstance(value, bool) else "string_value"
        setattr(target.add(key=key).value, kind, value)


def request(instance: str, version: str, now: int) -> ExportMetricsServiceRequest:
    message = ExportMetricsServiceRequest()
    resource = message.resource_metrics.add()
    carry(
        resource.resource.attributes, {"service.name": "scoring", "service.instance.id": instance}
    )
    scope = resource.scope_metrics.add(schema_url=SCHEMA_URL)
    scope.scope.name, scope.scope.version = SCOPE, version
    registry = load()
    for name, metric in ALL.items():
        default = {
            ref.attribute.key: (ref.attribute.members or (None,))[0]
            for ref in registry.metrics[name].attributes
            if ref.level == "required" and ref.attribute.key != "ml.model.name"
        }
        first = {key: m.value if m else ref_example(key) for key, m in default.items()}
        of_model = {"ml.model.name": "income"} if "ml.model.name" in metric.required else {}
        encoded = scope.metrics.add(name=name, unit=metric.unit)
        for attributes, value in POINTS.get(name, [(first, 1)]):
            for step in range(5):
                add_point(
                    encoded, metric.instrument, {**of_model, **attributes}, value, step, now, name
                )
    return message


def ref_example(key: str) -> Any:
    attribute = load().attributes[key]
    return attribute.examples[0] if attribute.examples else True


def add_point(
    encoded: Any,
    instrument: str,
    attributes: Mapping[str, Any],
    value: Any,
    step: int,
    now: int,
    name: str,
) -> None:
    at = {"time_unix_nano": now - (4 - step) * 15_000_000_000}
    if instrument == "gauge":
        point = encoded.gauge.data_points.add(**at, as_double=float(value))
    elif instrument == "histogram":
        at["start_time_unix_nano"] = now - 90_000_000_000
        encoded.histogram.aggregation_temporality = 2
        times = 1 if name == "ml.reference.value" else step + 1
        counts = [times * n for n in (value if isinstance(value, list) else [1, 1, 1])]
        point = encoded.histogram.data_points.add(
            **at, explicit_bounds=BOUNDS, bucket_counts=counts, count=sum(counts), sum=1.0
        )
    else:
        at["start_time_unix_nano"] = now - 90_000_000_000
        encoded.sum.aggregation_temporality = 2
        encoded.sum.is_monotonic = instrument == "counter"
        total = value * (step + 1) if instrument == "counter" else value
        point = encoded.sum.data_points.add(**at, as_int=total)
    carry(point.attributes, attributes)


@pytest.fixture(scope="module")
def filled(stack: Stack) -> Stack:
    now = time.time_ns()
    for instance, version in (("a", "1"), ("b", "2")):
        message = request(instance, version, now)
        post = urllib.request.Request(
            f"{stack.otlp_http_endpoint}/v1/metrics",
            message.SerializeToString(),
            {"Content-Type": "application/x-protobuf"},
        )
        with urllib.request.urlopen(post, timeout=30) as response:
            assert response.status == 200
    stack.wait_for("count (ml_model_evidence) == 2")
    return stack


def expressions(name: str, **values: str) -> list[tuple[str, str]]:
    dashboard = json.loads((DASHBOARDS / name).read_text(encoding="utf-8"))
    return list(panel_queries(dashboard, {**VALUES, **values}))


def numbers(stack: Stack, title: str, index: int = 0, **values: str) -> dict[str, float]:
    exprs = [expr for found, expr in expressions("model.json", **values) if found == title]
    return {
        " ".join(v for k, v in sorted(series["metric"].items()) if k != "__name__"): float(
            series["value"][1]
        )
        for series in stack.query(exprs[index])
    }


def test_what_is_sent_here_is_what_the_registry_allows() -> None:
    # Several points of one series at different times are one request here for brevity only.
    found = check([request("a", "1", time.time_ns())])
    assert {finding.id for finding in found} == {"duplicate_point"}


def test_every_metric_has_the_name_the_reference_page_says(filled: Stack) -> None:
    present = {series["metric"]["__name__"] for series in filled.query('{__name__=~"ml_.+"}')}
    assert present == {name for metric in ALL.values() for name in prometheus_series(metric)}


@pytest.mark.parametrize("name", ["overview.json", "model.json"])
def test_every_panel_has_an_answer(filled: Stack, name: str) -> None:
    for title, expr in expressions(name):
        assert filled.query(expr) or title == CATEGORICAL, f"{title}: {expr}"
    for title, expr in expressions(name, feature="COW"):
        if title == CATEGORICAL:
            assert filled.query(expr), expr


@pytest.mark.parametrize("name", ["overview.json", "model.json"])
def test_every_variable_has_values(filled: Stack, name: str) -> None:
    dashboard = json.loads((DASHBOARDS / name).read_text(encoding="utf-8"))
    for template in template_queries(dashboard, VALUES):
        answer = filled.query(template.expr)
        # Nobody states a version here, and the variable stays empty.
        if template.name == "version":
            assert [series["metric"] for series in answer] == [{}]
        else:
            assert answer, template
            assert template.label is None or template.label in answer[0]["metric"]


def test_features_are_listed_by_drift_and_by_kind(filled: Stack) -> None:
    dashboard = json.loads((DASHBOARDS / "model.json").read_text(encoding="utf-8"))
    queries = {t.name: t.expr for t in template_queries(dashboard, VALUES)}
    names = {
        name: [series["metric"]["ml_feature_name"] for series in filled.query(queries[name])]
        for name in ("feature", "top_numeric", "top_categorical")
    }
    assert names == {
        "feature": ["AGEP", "COW"],
        "top_numeric": ["AGEP"],
        "top_categorical": ["COW"],
    }


def test_two_replicas_are_one_distribution(filled: Stack) -> None:
    now = numbers(filled, "Now")
    assert now == pytest.approx({"30": 1 / 9, "50": 3 / 9, "+Inf": 1.0})
    assert numbers(filled, "Reference") == pytest.approx({"30": 0.3, "50": 0.7, "+Inf": 1.0})
    difference = numbers(filled, "Now minus reference")
    assert difference == pytest.approx({"30": 1 / 9 - 0.3, "50": 3 / 9 - 0.7, "+Inf": 0.0})
    cells = numbers(filled, CATEGORICAL, 0, feature="COW")
    assert cells == pytest.approx({"1": 0.8, "unseen": 0.2})
    assert numbers(filled, CATEGORICAL, 1, feature="COW") == pytest.approx({"1": 0.9, "2": 0.1})


def test_two_replicas_are_one_incident(filled: Stack) -> None:
    assert numbers(filled, "Open incidents") == {"": 2}
    assert numbers(filled, "Paging") == {"": 1}
    assert numbers(filled, "Incidents") == {
        "unit_change AGEP": 2,
        "missing_values AGEP": 1,
        "new_category AGEP": 0,
    }
    assert numbers(filled, "Evidence against the budget") == {"": 1.5}


def test_shares_add_up(filled: Stack) -> None:
    assert numbers(filled, "Classes") == pytest.approx({"0": 0.6, "1": 0.4})
    broken = numbers(filled, "Broken values by feature")
    assert broken == pytest.approx({"missing AGEP": 0.1, "unseen COW": 0.2})
    outcomes = numbers(filled, "Outcomes")
    assert list(outcomes) == ["0 1"]  # without the points that repeat it by group


def test_broken_rows_of_the_overview_are_by_model(filled: Stack) -> None:
    table = [expr for title, expr in expressions("overview.json") if title == "Models"]
    values = [
        [(series["metric"], float(series["value"][1])) for series in filled.query(expr)]
        for expr in table
    ]
    income = {"ml_model_name": "income"}
    assert all([labels for labels, _ in answer] == [income] for answer in values)
    paging, opened, budget, drift, _, failed, _, learnt = (answer[0][1] for answer in values)
    assert (paging, opened, budget, drift, learnt) == (1, 2, 1.5, 0.4, 1)
    assert failed == pytest.approx(1 / 11)
