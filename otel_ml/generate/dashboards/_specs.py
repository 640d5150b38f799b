"""What a dashboard consists of, as plain values: no library in, nothing but descriptions out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = [
    "BLUE",
    "GREEN",
    "ORANGE",
    "RED",
    "YELLOW",
    "Dashboard",
    "Panel",
    "Row",
    "Target",
    "Variable",
]

Kind: TypeAlias = Literal[
    "stat", "timeseries", "bargauge", "barchart", "table", "state-timeline", "heatmap"
]
Format: TypeAlias = Literal["time_series", "table", "heatmap"]

GREEN, YELLOW, ORANGE, RED, BLUE = "green", "yellow", "orange", "red", "blue"


@dataclass(frozen=True, slots=True)
class Target:
    """A query of a panel.

    Parameters
    ----------
    expr
        PromQL with Grafana's variables.
    legend
        Name of each series, with labels in double braces.
    instant
        Whether only the last value is asked for.
    format
        ``heatmap`` makes Grafana turn cumulative buckets into single ones.
    """

    expr: str
    legend: str = ""
    instant: bool = False
    format: Format = "time_series"


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel.

    Parameters
    ----------
    kind, title
        Type of the panel, and what stands above it.
    description
        What it shows, and what to do when it is bad.
    targets
        Its queries.
    unit
        Unit as Grafana names it.
    width, height
        Size on a grid of 24 columns.
    steps
        Thresholds as pairs of colour and lower bound; the first bound is None.
    columns
        Fields of a table or bar chart, in order: their new names by their old ones.
    overrides
        Properties of single fields by the name of the field, or by a regular expression in slashes.
    mappings
        Texts and colours by value.
    no_value
        Text where there are no data.
    stacked
        Whether series are stacked.
    repeat
        Variable for each of whose values the panel is repeated.
    sort
        Column by which a table is sorted, largest first.
    """

    kind: Kind
    title: str
    description: str
    targets: tuple[Target, ...]
    unit: str
    width: int
    height: int = 8
    steps: tuple[tuple[str, float | None], ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    mappings: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    no_value: str = "no data"
    stacked: bool = False
    repeat: str = ""
    sort: str = ""
    decimals: int | None = None
    min: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable whose values come from a query.

    Parameters
    ----------
    name, label
        Name in queries, and what stands beside the selection.
    query
        ``label_values(…)`` or ``query_result(…)``.
    regex
        What to take from each result of ``query_result``.
    multi
        Whether several values can be chosen.
    all_value
        Regular expression that stands for all values, or None where all values are listed instead.
    include_all
        Whether "All" can be chosen; it is then what is chosen at first.
    hidden
        Whether the selection is not shown.
    sort
        Whether values are sorted by name; otherwise they stay in the order of the query.
    """

    name: str
    label: str
    query: str
    regex: str = ""
    multi: bool = False
    all_value: str | None = None
    include_all: bool = False
    hidden: bool = False
    sort: bool = True


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A dashboard; `file` is where it is committed, without the folder."""

    file: str
    uid: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]
