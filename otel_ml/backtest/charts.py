"""A report in, its charts as SVG out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final

from otel_ml.backtest.words import title, when
from otel_ml.demo import charts, svg
from otel_ml.demo.charts import Band, Interval, Stretch
from otel_ml.demo.timeline import timeline

__all__ = ["LEAST_GROUP", "culprit", "evidence", "groups", "heat_map", "metric", "stretches"]

LEAST_GROUP: Final = 30
_SHOWN_FEATURES: Final = 24
_LEVELS: Final = ((0.3, "h5"), (0.15, "h4"), (0.08, "h3"), (0.04, "h2"), (0.0, "h1"))
_PERIODS: Final = 12
_FILES: Final = 8


def stretches(document: Mapping[str, Any]) -> list[Stretch]:
    """Return the life of each incident."""
    out = []
    for one in document["incidents"]:
        end = document["rows"] if one["closed_row"] is None else one["closed_row"]
        name = title(one)
        tip = f"{name}: rows {one['opened_row']:,} to {end:,}, {when(one['opened_at'])}"
        kind = "paged-bar" if one["paged"] else "told-bar"
        out.append(Stretch(one["opened_row"], end, name, tip, kind))
    return out


def evidence(document: Mapping[str, Any], width: float) -> str:
    """Return evidence over rows against the budget, the incidents below."""
    points = [(row, max(value, 0.0)) for row, value in document["evidence"]["total"]]
    band = Band([row for row, _ in points], [value for _, value in points], label="evidence")
    limit = document["evidence"]["threshold_log10"]
    rows = max(document["rows"], 1)
    return timeline(band, limit, [], stretches(document), _periods(document, width), rows, width)


def metric(document: Mapping[str, Any], name: str, width: float) -> str:
    """Return a measure of performance with its interval over rows."""
    rows = [
        row for row in document["performance"] if row["metric"] == name and row["value"] is not None
    ]
    return charts.over_rows([_band(rows, name)], _washes(document), max(document["rows"], 1), width)


def culprit(document: Mapping[str, Any], incident: Mapping[str, Any], width: float) -> str:
    """Return how the culprit of an incident went over rows; nothing where it was not counted."""
    member = incident["members"][0]
    end = document["rows"] if incident["closed_row"] is None else incident["closed_row"]
    wash = [Stretch(incident["change_row"], end, "", "the incident")]
    rows = max(document["rows"], 1)
    attribute, is_group, group = str(member["target"]).partition("=")
    if is_group:
        found = [
            row
            for row in document["fairness"]
            if row["attribute"] == attribute and row["group"] == group
        ]
        shown = [row for row in found if row["metric"] == "accuracy" and row["value"] is not None]
        return charts.over_rows([_band(shown, "accuracy")], wash, rows, width) if shown else ""
    if member["monitor"] in ("performance", "calibration"):
        shown = [row for row in document["performance"] if row["metric"] == "accuracy"]
        return charts.over_rows([_band(shown, "accuracy")], wash, rows, width) if shown else ""
    found = [row for row in document["drift"] if row["feature"] == member["target"]]
    if not found:
        return ""
    xs = [_middle(row) for row in found]
    distance = Band(xs, [row["total_variation"] or 0.0 for row in found], label=member["target"])
    chance = Band(xs, [row["noise"] for row in found], kind="quiet", label="chance")
    return charts.over_rows([chance, distance], wash, rows, width, unit=" %", low=0.0, scale=100)


def groups(document: Mapping[str, Any], attribute: str, name: str, width: float) -> str:
    """Return a rate of each group in the last window, and where it was in the first."""
    rows = [
        row
        for row in document["fairness"]
        if row["attribute"] == attribute and row["metric"] == name and row["value"] is not None
        if row["n"] >= LEAST_GROUP
    ]
    latest = {row["group"]: row for row in rows}
    first: dict[str, Any] = {}
    for row in rows:
        first.setdefault(row["group"], row)
    shown = [
        Interval(
            f"{group} (n {row['n']:,})",
            row["value"],
            row["lower"],
            row["upper"],
            first[group]["value"] if first[group] is not row else None,
        )
        for group, row in sorted(latest.items())
    ]
    return charts.intervals(shown, width, label=f"{name} by {attribute}") if shown else ""


def heat_map(document: Mapping[str, Any], width: float) -> str:
    """Return how far each feature was from the reference in each window, beyond chance."""
    cells: dict[str, list[Mapping[str, Any]]] = {}
    for row in document["drift"]:
        cells.setdefault(row["feature"], []).append(row)
    ranked = sorted(cells, key=lambda name: -max(_beyond(row) for row in cells[name]))
    names = ranked[:_SHOWN_FEATURES]
    left = min(max((len(n) for n in names), default=4) * 12 * svg.GLYPH * 1.15 + 14, width * 0.32)
    top, step, right = 6.0, 18.0, width - 12.0
    bottom = top + step * len(names)
    frame = svg.Frame(
        svg.Scale(0, max(document["rows"], 1), left, right), svg.Scale(0, 1, bottom, top)
    )
    room = int(left / (12 * svg.GLYPH * 1.15))
    parts = []
    for place, name in enumerate(names):
        y = top + step * place
        shown = name if len(name) <= room else f"{name[: room - 1]}…"
        parts.append(svg.text(left - 8, y + 13, shown, "name end"))
        for row in cells[name]:
            start, end = (frame.x(edge) for edge in row["window"])
            beyond = _beyond(row)
            kind = next((f"heat {k}" for least, k in _LEVELS if beyond > least), "cold")
            tip = (
                f"{name}, rows {row['window'][0]:,} to {row['window'][1]:,}: "
                f"{(row['total_variation'] or 0) * 100:.1f} % of rows moved, "
                f"{row['noise'] * 100:.1f} % by chance; PSI {row['psi']}"
            )
            parts.append(
                svg.rect(start, y + 1, max(end - start - 0.8, 0.5), step - 2, kind, tip=tip)
            )
    for one in document["incidents"]:
        at = frame.x(one["change_row"])
        parts.append(svg.rule(at, top, at, bottom, "mark"))
    footing = svg.ticks(0, document["rows"], 3 if width < 500 else 6)
    parts.append(frame.foot(footing, [f"{mark:,.0f}" for mark in footing]))
    return svg.document(width, bottom + 24, parts, "Drift of features over rows")


def _beyond(row: Mapping[str, Any]) -> float:
    """Return the total variation beyond twice what chance makes of it."""
    return float((row["total_variation"] or 0.0) - 2 * row["noise"])


def _band(rows: Sequence[Mapping[str, Any]], label: str) -> Band:
    return Band(
        [_middle(row) for row in rows],
        [row["value"] for row in rows],
        [row["value"] if row["lower"] is None else row["lower"] for row in rows],
        [row["value"] if row["upper"] is None else row["upper"] for row in rows],
        label=label,
    )


def _middle(row: Mapping[str, Any]) -> float:
    return float(sum(row["window"])) / 2


def _washes(document: Mapping[str, Any]) -> list[Stretch]:
    return [
        Stretch(max(0, one["change_row"]), stretch.end, stretch.label, stretch.tip)
        for one, stretch in zip(document["incidents"], stretches(document), strict=True)
    ]


def _periods(document: Mapping[str, Any], width: float) -> list[Stretch]:
    """Return the parts of the base line: versions, files, or months and days."""
    rows = document["rows"]
    for what in ("versions", "data"):
        found = [
            (str(one.get("version", one.get("name"))), one["first_row"]) for one in document[what]
        ]
        if 1 < len(found) <= _FILES:
            ends = [first for _, first in found[1:]] + [rows]
            return [
                Stretch(first, end, _fitted(name, (end - first) / max(rows, 1) * width), name)
                for (name, first), end in zip(found, ends, strict=True)
            ]
    return _calendar(document, width) if document["clock"]["source"] == "timestamps" else []


def _calendar(document: Mapping[str, Any], width: float) -> list[Stretch]:
    clock, rows = document["clock"], document["rows"]
    if not clock["from"] or not clock["to"] or not rows:
        return []
    first, last = _moment(clock["from"]), _moment(clock["to"])
    days = (last - first).total_seconds() / 86_400
    form = "%Y" if days > 800 else "%b %Y" if days > 60 else "%d %b"
    marks = [*document["drift"], *document["performance"]]
    known = sorted(
        {(row["window"][0], row["from"]) for row in marks if row.get("from")}
        | {(0, clock["from"]), (rows, clock["to"])}
    )
    names = [(row, _moment(at).strftime(form)) for row, at in known]
    starts = [names[0]]
    for row, name in names[1:]:
        if name != starts[-1][1]:
            starts.append((row, name))
    every = -(-len(starts) // _PERIODS)
    starts = starts[::every]
    ends = [row for row, _ in starts[1:]] + [rows]
    return [
        Stretch(row, end, _fitted(name, (end - row) / rows * width * 0.94, whole=True), name)
        for (row, name), end in zip(starts, ends, strict=True)
    ]


def _moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text.replace("Z", "+00:00"))


def _fitted(name: str, room: float, *, whole: bool = False) -> str:
    most = int(room / (charts.SMALL_TEXT * svg.GLYPH))
    if len(name) <= most:
        return name
    return "" if whole or most <= 3 else f"{name[: most - 1]}…"
