"""Queries come out with their variables put in, from panels and from variables."""

from __future__ import annotations

from typing import Any

import pytest

from otel_ml.errors import DataError
from otel_ml.generate.dashboards import TemplateQuery, panel_queries, panels, template_queries
from otel_ml.generate.dashboards.promql import Selector
from otel_ml.semconv import attributes as a
from otel_ml.semconv import metrics as m

VALUES = {
    "model": "income",
    "feature": "AGEP",
    "slice": "SEX",
    "measure": "accuracy",
    "group_measure": "selection_rate",
    "top_numeric": "AGEP",
    "top_categorical": "COW",
}


def made(expr: str, *variables: dict[str, Any], **panel: Any) -> dict[str, Any]:
    return {
        "panels": [{"type": "stat", "title": "T", "targets": [{"expr": expr}], **panel}],
        "templating": {"list": list(variables)},
    }


def test_every_query_of_both_dashboards_is_complete(dashboard: dict[str, Any]) -> None:
    found = list(panel_queries(dashboard, VALUES))
    assert len(found) == sum(len(panel["targets"]) for panel in panels(dashboard))
    for title, expr in found:
        assert "$" not in title + expr
    templates = list(template_queries(dashboard, VALUES))
    assert [t.name for t in templates][:3] == ["job", "instance", "model"]
    assert all("$" not in template.expr for template in templates)


def test_all_spellings_of_a_variable_are_substituted() -> None:
    board = made('m{a="$x", b="${x}", c=~"${x:regex}", d="[[x]]"}[$__range]', title="of $x")
    assert list(panel_queries(board, {"x": "1", "__range": "5m"})) == [
        ("of 1", 'm{a="1", b="1", c=~"1", d="1"}[5m]')
    ]


def test_built_in_variables_have_defaults() -> None:
    board = made("rate(m[$__rate_interval]) + rate(m[$__interval]) + rate(m[$__range])")
    ((_, expr),) = panel_queries(board, {})
    assert expr == "rate(m[1m]) + rate(m[15s]) + rate(m[15m])"


def test_all_stands_for_a_variable_without_a_value() -> None:
    everything = {"name": "job", "type": "query", "includeAll": True, "allValue": ".+"}
    board = made('m{job=~"$job"}', {**everything, "query": {"query": "label_values(m, job)"}})
    assert list(panel_queries(board, {})) == [("T", 'm{job=~".+"}')]
    assert list(panel_queries(board, {"job": "a"})) == [("T", 'm{job=~"a"}')]


def test_variable_without_a_value_is_an_error() -> None:
    with pytest.raises(DataError, match=r"variable \$x has no value"):
        list(panel_queries(made("m$x"), {}))


def test_panels_of_collapsed_rows_are_found() -> None:
    row = {"type": "row", "panels": [{"type": "stat", "title": "In", "targets": [{"expr": "m"}]}]}
    assert list(panel_queries({"panels": [row], "templating": {"list": []}}, {})) == [("In", "m")]


def test_queries_of_variables_become_promql() -> None:
    def query(name: str, text: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "type": "query", "query": {"query": text}, **more}

    board = made(
        "m",
        {"name": "datasource", "type": "datasource"},
        query("a", 'label_values(m{x="$v", y="z"}, l)'),
        query("b", "label_values(l)"),
        query("c", "query_result(topk(3, m))", regex='/l="([^"]+)"/'),
        {"name": "d", "type": "query", "query": "label_values(m, l)"},
    )
    assert list(template_queries(board, {"v": "1"})) == [
        TemplateQuery("a", 'count by (l) (m{x="1", y="z"})', "l", ""),
        TemplateQuery("b", 'count by (l) ({l!=""})', "l", ""),
        TemplateQuery("c", "topk(3, m)", None, '/l="([^"]+)"/'),
        TemplateQuery("d", "count by (l) (m)", "l", ""),
    ]


def test_unknown_kind_of_variable_query_is_an_error() -> None:
    board = made("m", {"name": "a", "type": "query", "query": "metrics(ml_.*)"})
    with pytest.raises(DataError, match="variable a has an unknown kind of query"):
        list(template_queries(board, {}))


def test_selector_keeps_to_the_choice_and_refuses_what_a_metric_does_not_have() -> None:
    select = Selector('="$model"', '=~"$version"')
    assert select(m.ML_DRIFT_SCORE, (a.ML_STATISTIC, "=", "psi")) == (
        'ml_drift_score{job=~"$job", instance=~"$instance", ml_model_name="$model", '
        'ml_model_version=~"$version", ml_statistic="psi"}'
    )
    # Metrics of the process are about no model.
    assert select(m.ML_MONITORING_QUEUE_SIZE) == (
        'ml_monitoring_queue_size{job=~"$job", instance=~"$instance"}'
    )
    with pytest.raises(DataError, match=r"ml\.drift\.score has no attribute ml\.slice\.group"):
        select(m.ML_DRIFT_SCORE, (a.ML_SLICE_GROUP, "=", "x"))
    with pytest.raises(DataError, match="is a histogram and has no part ''"):
        select(m.ML_PREDICTION_SCORE)
    with pytest.raises(DataError, match="is a gauge and has no part 'bucket'"):
        select(m.ML_DRIFT_SCORE, part="bucket")
