"""Descriptions of dashboards in, Grafana's classic JSON out, by way of the Grafana foundation SDK.

The only file that loads that library.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any, Final

from grafana_foundation_sdk.builders import (
    barchart,
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmap_models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from otel_ml.generate.dashboards._specs import Dashboard, Panel, Row, Target, Variable

__all__ = ["render"]

# What Grafana 9 writes. Newer ones bring it up to date when they load it; older ones cannot.
_SCHEMA_VERSION: Final = 36
_DATASOURCE: Final = common_models.DataSourceRef(type_val="prometheus", uid="${datasource}")
_TAG: Final = "otel-ml"
# Panels of a repetition side by side.
_REPEATED: Final = 3


def render(spec: Dashboard) -> str:
    """Render a dashboard.

    Parameters
    ----------
    spec
        Its description.

    Returns
    -------
    str
        JSON, ending in a newline.
    """
    builder = (
        dashboard.Dashboard(spec.title)
        .uid(spec.uid)
        .description(spec.description)
        .tags([_TAG, "machine-learning"])
        .readonly()
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .annotations([])
        .link(
            dashboard.DashboardLink("ML dashboards")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([_TAG])
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
        )
    )
    for variable in spec.variables:
        builder.with_variable(_variable(variable))
    ids = count(1)
    for row in spec.rows:
        builder.with_row(_row(row, ids))
        for panel in row.panels:
            builder.with_panel(_panel(panel, next(ids)))
    built = builder.build()
    built.schema_version = _SCHEMA_VERSION
    decoded = json.loads(JSONEncoder().encode(built))
    for link in decoded["links"]:
        # The library's default hides it in a menu that Grafana has only from 12 on.
        del link["placement"]
    return json.dumps(decoded, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _row(row: Row, ids: Iterator[int]) -> dashboard.Row:
    return dashboard.Row(row.title).id(next(ids))


def _variable(spec: Variable) -> dashboard.QueryVariable:
    everything = models.VariableOption(selected=True, text="All", value="$__all")
    builder = (
        dashboard.QueryVariable(spec.name)
        .label(spec.label)
        .datasource(_DATASOURCE)
        # An object, as Grafana itself writes it; the identifier only has to be there.
        .query({"query": spec.query, "refId": f"variable-{spec.name}"})
        .definition(spec.query)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(
            models.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC
            if spec.sort
            else models.VariableSort.DISABLED
        )
        .multi(spec.multi)
        .include_all(spec.include_all)
        .regex(spec.regex)
        .hide(models.VariableHide.HIDE_VARIABLE if spec.hidden else models.VariableHide.DONT_HIDE)
    )
    if spec.include_all:
        builder.current(everything)
    if spec.all_value is not None:
        builder.all_value(spec.all_value)
    return builder


def _panel(spec: Panel, id_: int) -> Any:
    builder = _KINDS[spec.kind](spec)
    builder.id(id_).title(spec.title).description(spec.description).datasource(_DATASOURCE)
    builder.height(spec.height).span(spec.width).unit(spec.unit).no_value(spec.no_value)
    for letter, target in zip("ABCDEFGHIJ", spec.targets, strict=False):
        builder.with_target(_target(target, letter))
    steps = spec.steps or (("green", None),)
    builder.thresholds(
        dashboard.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=value, color=colour) for colour, value in steps])
    )
    if spec.decimals is not None:
        builder.decimals(spec.decimals)
    if spec.min is not None:
        builder.min(spec.min)
    if spec.max is not None:
        builder.max(spec.max)
    if spec.mappings:
        builder.mappings([_mapping(spec.mappings)])
    if spec.columns:
        builder.transformations(list(_transformations(spec.columns)))
    if spec.repeat:
        builder.repeat(spec.repeat).repeat_direction("h").max_per_row(_REPEATED)
    for name, properties in spec.overrides.items():
        builder.override_by_name(
            name, [models.DynamicConfigValue(id_val=k, value=v) for k, v in properties.items()]
        )
    return builder


def _target(spec: Target, letter: str) -> prometheus.Dataquery:
    builder = prometheus.Dataquery().ref_id(letter).expr(spec.expr)
    builder.format(PromQueryFormat(spec.format))
    if spec.legend:
        builder.legend_format(spec.legend)
    return builder.instant() if spec.instant else builder.range()


def _mapping(mappings: Mapping[str, tuple[str, str]]) -> models.ValueMap:
    return models.ValueMap(
        options={
            value: models.ValueMappingResult(text=text, color=colour, index=index)
            for index, (value, (text, colour)) in enumerate(mappings.items())
        }
    )


def _transformations(columns: Mapping[str, str]) -> Iterator[models.DataTransformerConfig]:
    # `merge` joins the tables of several queries on their labels in every version of Grafana.
    yield models.DataTransformerConfig(id_val="merge", options={})
    hidden = {name: True for name in ("Time", "Value") if name not in columns}
    yield models.DataTransformerConfig(
        id_val="organize",
        options={
            "excludeByName": hidden,
            "indexByName": {name: index for index, name in enumerate(columns)},
            "renameByName": dict(columns),
        },
    )


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False)


def _legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .display_mode(common_models.LegendDisplayMode.LIST)
        .placement(common_models.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs([])
    )


def _stat(_: Panel) -> stat.Panel:
    return (
        stat.Panel()
        .reduce_options(_last())
        .color_mode(common_models.BigValueColorMode.BACKGROUND)
        .graph_mode(common_models.BigValueGraphMode.NONE)
    )


def _timeseries(spec: Panel) -> timeseries.Panel:
    panel = (
        timeseries.Panel()
        .line_width(1)
        .fill_opacity(60 if spec.stacked else 8)
        .show_points(common_models.VisibilityMode.NEVER)
        .legend(_legend())
        .tooltip(
            common.VizTooltipOptions()
            .mode(common_models.TooltipDisplayMode.MULTI)
            .sort(common_models.SortOrder.DESCENDING)
        )
    )
    if spec.stacked:
        panel.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
    if spec.steps:
        style = common_models.GraphThresholdsStyleMode.DASHED
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(style))
    return panel


def _bargauge(_: Panel) -> bargauge.Panel:
    return (
        bargauge.Panel()
        .reduce_options(_last())
        .display_mode(common_models.BarGaugeDisplayMode.BASIC)
        .orientation(common_models.VizOrientation.HORIZONTAL)
        .show_unfilled(True)
        .min_viz_height(8)
    )


def _barchart(_: Panel) -> barchart.Panel:
    return (
        barchart.Panel()
        .orientation(common_models.VizOrientation.HORIZONTAL)
        .show_value(common_models.VisibilityMode.NEVER)
        .fill_opacity(80)
        .legend(_legend())
    )


def _table(spec: Panel) -> table.Panel:
    panel = table.Panel()
    if spec.sort:
        panel.sort_by([common.TableSortByFieldState().display_name(spec.sort).desc(True)])
    return panel


def _timeline(_: Panel) -> statetimeline.Panel:
    return (
        statetimeline.Panel()
        .merge_values(True)
        .show_value(common_models.VisibilityMode.NEVER)
        .row_height(0.8)
        .fill_opacity(80)
        .legend(_legend())
    )


def _heatmap(_: Panel) -> heatmap.Panel:
    return (
        heatmap.Panel()
        .calculate(False)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heatmap_models.HeatmapColorMode.SCHEME)
            .scheme("Blues")
            .steps(32)
        )
    )


_KINDS: Final[Mapping[str, Callable[[Panel], Any]]] = {
    "stat": _stat,
    "timeseries": _timeseries,
    "bargauge": _bargauge,
    "barchart": _barchart,
    "table": _table,
    "state-timeline": _timeline,
    "heatmap": _heatmap,
}
