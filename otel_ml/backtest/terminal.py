"""A report in, a table for people on a terminal of any width out."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from otel_ml.backtest.words import plural, summary, title, when

__all__ = ["tell"]

_NARROW: Final = 90
_STYLES: Final[Mapping[str, str]] = {"red": "31", "yellow": "33", "dim": "2", "bold": "1"}
Paint = Callable[[str, str], str]


def tell(document: Mapping[str, Any], width: int, *, colour: bool = False) -> str:
    """Return the report as text.

    Parameters
    ----------
    document
        The report.
    width
        Columns of the terminal.
    colour
        Whether to colour it.
    """

    def paint(text: str, style: str) -> str:
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if colour and text else text

    lines = [paint(summary(document), "bold"), ""]
    incidents = document["incidents"]
    if incidents:
        lines += (
            _wide(document, width, paint) if width >= _NARROW else _tall(document, width, paint)
        )
        lines.append("")
    lines += _performance(document)
    lines += _budgets(document, paint)
    for note in document["notes"]:
        lines += textwrap.wrap(f"note: {note}", max(width, 40), subsequent_indent="      ")
    return "\n".join(lines).rstrip() + "\n"


def _wide(document: Mapping[str, Any], width: int, paint: Paint) -> list[str]:
    timed = document["clock"]["source"] == "timestamps"
    stamp = 16 if timed else 0
    rest = width - (11 + stamp + (2 if timed else 0) + 9 + 12) - 4
    name, what = max(int(rest * 0.36), 18), max(rest - max(int(rest * 0.36), 18), 24)
    head = f"{'row':>10} " + (f"{'time':<{stamp}}  " if timed else "")
    head += f"{'cause':<{name}}  {'what changed':<{what}}  {'evidence':>8} {'lasted':>11}"
    lines = [paint(head, "dim")]
    for one in document["incidents"]:
        culprit = one["members"][0]
        left = f"{one['opened_row']:>10,} " + (
            f"{when(one['opened_at']):<{stamp}}  " if timed else ""
        )
        names = textwrap.wrap(title(one), name) or [""]
        told = textwrap.wrap(culprit["text"], what) or [""]
        harm = one["harm"]["text"]
        if harm and harm != culprit["text"]:
            told += textwrap.wrap(f"harm: {harm}", what)
        names.append(f"{one['severity']}, {'paged' if one['paged'] else 'not paged'}")
        for i in range(max(len(names), len(told))):
            shown = left if i == 0 else " " * len(left)
            cause = names[i] if i < len(names) else ""
            text = told[i] if i < len(told) else ""
            tail = f"  {one['evidence_log10']:>8.1f} {_lasted(one):>11}" if i == 0 else ""
            style = "red" if one["paged"] else "yellow"
            painted = paint(cause, style if i < len(names) - 1 else "dim")
            lines.append(
                f"{shown}{painted}{' ' * (name - len(cause))}  {text:<{what}}{tail}".rstrip()
            )
    return lines


def _tall(document: Mapping[str, Any], width: int, paint: Paint) -> list[str]:
    lines = []
    for one in document["incidents"]:
        style = "red" if one["paged"] else "yellow"
        head = textwrap.wrap(title(one), max(width - 11, 20))
        lines.append(f"{one['opened_row']:>9,}  {paint(head[0], style)}")
        lines += [" " * 11 + paint(more, style) for more in head[1:]]
        facts = [
            one["members"][0]["text"],
            f"harm: {one['harm']['text']}",
            f"{one['severity']}, {'paged' if one['paged'] else 'not paged'}, "
            f"evidence {one['evidence_log10']:.1f}, lasted {_lasted(one)}",
        ]
        for fact in facts:
            lines += textwrap.wrap(
                fact, max(width, 30), initial_indent=" " * 11, subsequent_indent=" " * 11
            )
    return lines


def _lasted(one: Mapping[str, Any]) -> str:
    if one["closed_row"] is None:
        return "still open"
    return f"{one['closed_row'] - one['opened_row']:,} rows"


def _performance(document: Mapping[str, Any]) -> list[str]:
    rows = document["performance"]
    if not rows:
        return []
    lines = []
    for metric in dict.fromkeys(row["metric"] for row in rows):
        series = [row for row in rows if row["metric"] == metric and row["value"] is not None]
        if not series:
            continue
        first, last = series[0], series[-1]
        low = min(series, key=lambda row: float(row["value"]))
        high = max(series, key=lambda row: float(row["value"]))
        lines.append(
            f"{metric.replace('_', ' '):<18} first {first['value']:<9.4g} "
            f"last {last['value']:<9.4g} "
            f"lowest {low['value']:<9.4g} highest {high['value']:<9.4g} "
            f"({plural(len(series), 'window')})"
        )
    return [*lines, ""]


def _budgets(document: Mapping[str, Any], paint: Paint) -> list[str]:
    budgets: Sequence[Mapping[str, Any]] = document["budgets"]
    lines = []
    if len(budgets) > 1:
        lines.append(paint(f"{'budget':<22}{'incidents':>10}{'paged':>8}{'rows later':>12}", "dim"))
        for one in budgets:
            name = f"{one['false_incidents']:g}/{one['per']}"
            later = one["median_rows_later"]
            said = "" if one["stated"] or later is None else f"{later:+,.0f}"
            mark = " (stated)" if one["stated"] else ""
            lines.append(
                f"{name + mark:<22}{one['incidents']:>10,}{one['paged']:>8,}{said:>12}".rstrip()
            )
        lines.append("")
    found = [one for one in document["budget"]["detectable"] if one["rows"] is not None]
    if found:
        said = ", ".join(f"{one['shift_sd']:g} sd after {one['rows']:,}" for one in found)
        lines += [f"At this budget a shift of one feature is found, in rows, about: {said}.", ""]
    return lines
