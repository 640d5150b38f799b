"""The rules of Grafana's dashboard-linter, and this project's own, on the committed dashboards."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest

from otel_ml.generate.dashboards import panels
from otel_ml.generate.dashboards._models import TABLE
from otel_ml.generate.dashboards._shared import MODEL_UID, OVERVIEW_UID
from otel_ml.semconv import metrics
from otel_ml.semconv.prometheus import prometheus_label, prometheus_name, prometheus_series
from otel_ml.types import MetricDef

UNITS = {"none", "percentunit", "s", "reqps", "cps"}
SERIES: dict[str, MetricDef] = {
    name: metric for metric in metrics.ALL.values() for name in prometheus_series(metric)
}
# The reference's own counts are constant: they are a histogram, and never a rate.
CONSTANT = {
    name for name, metric in SERIES.items() if metric.name == metrics.ML_REFERENCE_VALUE.name
}
SELECTOR = re.compile(r"\b(ml_\w+)\{([^}]*)\}")
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
AGGREGATION = re.compile(r"\b(sum|max|min|avg|count)(?: by \([^)]*\))? \(")
PROCESS_LABELS = {"job", "instance"}


def exprs(dashboard: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for panel in panels(dashboard):
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def queries(dashboard: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield from exprs(dashboard)
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield f"variable {variable['name']}", variable["query"]["query"]


def variable(dashboard: dict[str, Any], name: str) -> dict[str, Any]:
    found = [v for v in dashboard["templating"]["list"] if v["name"] == name]
    assert len(found) == 1, name
    return dict(found[0])


# --- rules of the linter, by their names -----------------------------------------------------


def test_template_datasource_rule(dashboard: dict[str, Any]) -> None:
    first = dashboard["templating"]["list"][0]
    assert (first["name"], first["type"], first["query"]) == (
        "datasource",
        "datasource",
        "prometheus",
    )
    assert first["label"] == "Data source"


@pytest.mark.parametrize("name", ["job", "instance"])
def test_template_job_and_instance_rule(dashboard: dict[str, Any], name: str) -> None:
    found = variable(dashboard, name)
    assert found["type"] == "query"
    assert found["label"] == name.capitalize()
    assert found["datasource"]["uid"] == "${datasource}"
    assert found["multi"]
    assert found["includeAll"]
    assert found["allValue"] == ".+"


def test_template_on_time_change_reload_rule(dashboard: dict[str, Any]) -> None:
    for found in dashboard["templating"]["list"]:
        assert found["type"] == "datasource" or found["refresh"] == 2, found["name"]


def test_panel_datasource_rule(dashboard: dict[str, Any]) -> None:
    for panel in panels(dashboard):
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_panel_title_description_rule(dashboard: dict[str, Any]) -> None:
    for panel in panels(dashboard):
        assert panel["title"].strip()
        description = panel["description"]
        assert description.endswith("."), panel["title"]
        assert len(description) > 60, panel["title"]


def test_panel_units_rule(dashboard: dict[str, Any]) -> None:
    for panel in panels(dashboard):
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]


def test_panel_no_targets_rule(dashboard: dict[str, Any]) -> None:
    for panel in panels(dashboard):
        assert panel["targets"], panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert references == list("ABCDEFGHIJ"[: len(references)])


def test_target_rate_interval_rule(dashboard: dict[str, Any]) -> None:
    for title, expr in exprs(dashboard):
        for window in re.findall(r"\brate\([^\[]+\[([^\]]+)\]", expr):
            assert window == "$__rate_interval", title
        for window in re.findall(r"\[([^\]]+)\]", expr):
            assert window in ("$__rate_interval", "$__range", "$__range:30s"), title


def test_target_counter_agg_rule(dashboard: dict[str, Any]) -> None:
    for title, expr in exprs(dashboard):
        for match in SELECTOR.finditer(expr):
            name, before = match[1], expr[: match.start()]
            counter = SERIES[name].instrument in ("counter", "histogram") and name not in CONSTANT
            rated = before.endswith(("rate(", "increase("))
            counted = AGGREGATION.search(before) and before.endswith("count by (ml_model_name) (")
            assert counted or rated == counter, f"{title}: {name}"


def test_target_job_and_instance_rule(dashboard: dict[str, Any]) -> None:
    for title, expr in exprs(dashboard):
        for match in SELECTOR.finditer(expr):
            matchers = {(m[1], m[2], m[3]) for m in MATCHER.finditer(match[2])}
            assert ("job", "=~", "$job") in matchers, f"{title}: {match[0]}"
            assert ("instance", "=~", "$instance") in matchers, f"{title}: {match[0]}"


def test_target_promql_brackets_and_spaces(dashboard: dict[str, Any]) -> None:
    # Syntax itself is checked by promtool, in tests/stack; this is the part that needs no binary.
    for title, expr in queries(dashboard):
        for left, right in ("()", "[]", "{}"):
            assert expr.count(left) == expr.count(right), title
        assert "  " not in expr, title
        assert expr == expr.strip(), title


def test_uneditable_dashboard_rule(dashboard: dict[str, Any]) -> None:
    assert dashboard["editable"] is False


# --- rules of this project ------------------------------------------------------------------


def test_every_name_exists_and_every_label_is_on_its_metric(dashboard: dict[str, Any]) -> None:
    for title, expr in queries(dashboard):
        names = set(re.findall(r"\bml_\w+", expr))
        labels = {prometheus_label(a) for metric in metrics.ALL.values() for a in metric.attributes}
        assert names <= set(SERIES) | labels, f"{title}: {names - set(SERIES) - labels}"
        for match in SELECTOR.finditer(expr):
            metric = SERIES[match[1]]
            allowed = {prometheus_label(a) for a in metric.attributes} | PROCESS_LABELS
            used = {m[1] for m in MATCHER.finditer(match[2])}
            assert used <= allowed, f"{title}: {match[1]} has no {used - allowed}"


def test_aggregations_keep_only_labels_their_metrics_have(dashboard: dict[str, Any]) -> None:
    for title, expr in exprs(dashboard):
        present = {"le"}
        for match in SELECTOR.finditer(expr):
            present |= {prometheus_label(a) for a in SERIES[match[1]].attributes}
        present |= set(re.findall(r'label_replace\(vector\(0\), "(\w+)"', expr))
        for kept in re.findall(r"\b(?:by|on|ignoring) \(([^)]*)\)", expr):
            assert {k.strip() for k in kept.split(",") if k.strip()} <= present, title
        for target in (t for p in panels(dashboard) for t in p["targets"] if t["expr"] == expr):
            shown = set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))
            assert shown <= present, title


def test_every_selector_is_aggregated(dashboard: dict[str, Any]) -> None:
    # Otherwise a label of the scope, its version, would start a new series with each release.
    for title, expr in exprs(dashboard):
        for match in SELECTOR.finditer(expr):
            depth = 0
            enclosing = []
            for position in range(match.start() - 1, -1, -1):
                depth += {")": 1, "(": -1}.get(expr[position], 0)
                if depth < 0:
                    enclosing.append(expr[: position + 1])
                    depth = 0
            assert any(re.search(AGGREGATION.pattern + "$", text) for text in enclosing), title


def test_dashboards_know_no_scope_labels_and_no_foreign_variables(
    dashboard: dict[str, Any],
) -> None:
    known = {v["name"] for v in dashboard["templating"]["list"]}
    for title, expr in queries(dashboard):
        assert "otel_scope" not in expr
        used = set(re.findall(r"\$\{?(\w+)", expr))
        assert used <= known | {"__rate_interval", "__range"}, title


def test_several_values_are_matched_by_regular_expressions(dashboard: dict[str, Any]) -> None:
    several = {v["name"] for v in dashboard["templating"]["list"] if v.get("multi")}
    for title, expr in queries(dashboard):
        for _, operator, value in MATCHER.findall(expr):
            if value.startswith("$"):
                assert (operator == "=~") == (value[1:] in several), f"{title}: {value}"


def test_variables_refer_only_to_those_before_them(dashboard: dict[str, Any]) -> None:
    seen: set[str] = set()
    for found in dashboard["templating"]["list"]:
        if found["type"] == "query":
            assert set(re.findall(r"\$(\w+)", found["query"]["query"])) <= seen, found["name"]
        seen.add(found["name"])


def test_panel_ids_are_unique(dashboard: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)


def test_panels_do_not_overlap_and_stay_on_the_grid(dashboard: dict[str, Any]) -> None:
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    for place in places:
        assert place["x"] + place["w"] <= 24
    for one, other in itertools.combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


def test_lines_of_panels_are_full(dashboard: dict[str, Any]) -> None:
    lines: dict[int, int] = {}
    for panel in dashboard["panels"]:
        lines[panel["gridPos"]["y"]] = lines.get(panel["gridPos"]["y"], 0) + panel["gridPos"]["w"]
    assert set(lines.values()) == {24}


def test_nothing_to_show_is_said(dashboard: dict[str, Any]) -> None:
    for panel in panels(dashboard):
        assert panel["fieldConfig"]["defaults"]["noValue"], panel["title"]


def test_identifiers_are_stable() -> None:
    assert (OVERVIEW_UID, MODEL_UID) == ("otel-ml-overview", "otel-ml-model")


def test_schema_is_one_every_supported_grafana_imports(dashboard: dict[str, Any]) -> None:
    assert dashboard["schemaVersion"] == 36
    assert dashboard["uid"].startswith("otel-ml-")
    assert "__inputs" not in dashboard
    assert all(panel["type"] != "graph" for panel in panels(dashboard))


def test_model_links_lead_to_the_model_dashboard() -> None:
    (link,) = TABLE.overrides["Model"]["links"]
    assert link["url"].startswith(f"/d/{MODEL_UID}/")
    assert "var-model=${__value.raw:percentencode}" in link["url"]


def test_every_metric_but_one_is_on_the_dashboard_of_the_model(dashboard: dict[str, Any]) -> None:
    if dashboard["uid"] != MODEL_UID:
        return
    text = " ".join(expr for _, expr in exprs(dashboard))
    unused = {m.name for m in metrics.ALL.values() if f"{prometheus_name(m)}" not in text}
    # A counter that begins at 1 has no increase; the incidents shown come from the active ones.
    assert unused == {metrics.ML_INCIDENTS.name}
