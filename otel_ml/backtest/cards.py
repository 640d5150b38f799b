"""The card of an incident: in, the incident and the report it belongs to; out, HTML.

It answers in this order: what changed, since when, for whom, how much it hurts, what to do, why.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, Final

from otel_ml.backtest import charts
from otel_ml.backtest.words import title, when, words
from otel_ml.demo.cards import key

__all__ = ["card"]

LINKS: Final = ("http://", "https://")
SHOWN_MEMBERS: Final = 6
SHOWN_CAUSES: Final = 4


def card(
    document: Mapping[str, Any], incident: Mapping[str, Any], number: int, width: float
) -> str:
    """Return the card of an incident.

    Parameters
    ----------
    document
        The report.
    incident
        One of its incidents.
    number
        Its number.
    width
        Width of its chart.
    """
    return (
        f'<article class="card incident">{_title(incident, number)}'
        f"<div>{_story(document, incident)}{_next(incident)}{_members(incident)}</div>"
        f"<div>{_picture(document, incident, width)}{_why(incident)}</div></article>"
    )


def _title(incident: Mapping[str, Any], number: int) -> str:
    level = escape(incident["severity"])
    kind = "num" if incident["paged"] else "num quiet"
    paged = '<span class="badge paged">would page</span>' if incident["paged"] else ""
    state = "open" if incident["closed_row"] is None else "closed"
    return (
        f'<header><span class="{kind}">{number}</span><h3>{escape(title(incident))}</h3>'
        f'<span class="badge {level}">{level}</span>{paged}<span class="badge">{state}</span>'
        "</header>"
    )


def _story(document: Mapping[str, Any], incident: Mapping[str, Any]) -> str:
    timed = document["clock"]["source"] == "timestamps"
    low, high = incident["change_row_interval"]
    since = f"row {incident['change_row']:,}"
    if low != high:
        since += f" (between {low:,} and {high:,})"
    if timed and incident.get("changed_at"):
        since += f", {when(incident['changed_at'])}"
    delay = incident["opened_row"] - incident["change_row"]
    found = f"{delay:,} rows later, at row {incident['opened_row']:,}"
    if timed:
        found += f", {when(incident['opened_at'])}"
    found += f"; evidence 10^{incident['evidence_log10']:.1f}"
    over = ""
    if incident["closed_row"] is not None:
        over = f"row {incident['closed_row']:,}"
        if timed and incident["closed_at"]:
            over += f", {when(incident['closed_at'])}"
    culprit = incident["members"][0]["text"]
    harm = incident["harm"]["text"]
    entries = (
        ("What changed", culprit),
        ("Since", since),
        ("Found", found),
        ("For whom", _whom(incident.get("whom"))),
        ("Harm", harm if harm != culprit else ""),
        ("Over", over),
    )
    told = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in entries if text
    )
    return f"<dl>{told}</dl>"


def _whom(whom: Any) -> str:
    if not isinstance(whom, Mapping):
        return ""
    if isinstance(whom.get("text"), str):
        return str(whom["text"])
    return ", ".join(f"{name} {value}" for name, value in whom.items() if value not in (None, ""))


def _next(incident: Mapping[str, Any]) -> str:
    if not incident["causes"]:
        return ""
    cause = incident["causes"][0]
    runbook = str(cause.get("runbook") or "")
    # Only what is certainly a web address becomes a link; the rest is shown as it is.
    shown = f"Runbook: <code>{escape(runbook)}</code>" if runbook else ""
    if runbook.startswith(LINKS):
        shown = f'<a href="{escape(runbook)}">Runbook</a>'
    return f'<div class="next"><b>Next step.</b> {escape(str(cause["next"]))} {shown}</div>'


def _members(incident: Mapping[str, Any]) -> str:
    members = incident["members"]
    if len(members) < 2:
        return ""
    rows = "".join(
        f"<tr><td>{escape(str(one['target']))}</td>"
        f"<td>{escape(words(str(one['monitor'])).lower())}</td>"
        f'<td class="right">{one["share"] * 100:.0f} %</td>'
        f'<td class="right">{one["joined_row"]:,}</td></tr>'
        for one in members[:SHOWN_MEMBERS]
    )
    more = len(members) - SHOWN_MEMBERS
    rest = f'<p class="note">and {more} more</p>' if more > 0 else ""
    return (
        '<h4>Shown by</h4><table class="members"><thead><tr><th>target</th><th>monitor</th>'
        '<th class="right">share</th><th class="right">from row</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>{rest}"
    )


def _picture(document: Mapping[str, Any], incident: Mapping[str, Any], width: float) -> str:
    drawn = charts.culprit(document, incident, width)
    if not drawn:
        return ""
    member = incident["members"][0]
    target = str(member["target"])
    if "=" in target or member["monitor"] in ("performance", "calibration"):
        who = target if "=" in target else "all rows"
        return f"<h4>Accuracy, {escape(who)}, with its interval</h4>{drawn}"
    head = f"<h4>{escape(target)}: distance to the reference over rows</h4>"
    legend = key(("now", "share of rows that moved"), ("quiet", "by chance alone"))
    return f"{head}{legend}{drawn}"


def _why(incident: Mapping[str, Any]) -> str:
    causes = incident["causes"][:SHOWN_CAUSES]
    if not causes:
        return ""
    ranked = "".join(
        f"<li>{escape(str(one.get('title') or words(one['id'])))}"
        f'<i><u style="width:{_share(one) * 100:.0f}%"></u></i>'
        f"<em>{_share(one) * 100:.0f} %</em></li>"
        for one in causes
    )
    facts = "".join(f'<li class="for">{escape(str(fact))}</li>' for fact in causes[0]["for"])
    facts += "".join(
        f'<li class="against">{escape(str(fact))}</li>' for fact in causes[0]["against"]
    )
    told = f'<ul class="facts">{facts}</ul>' if facts else ""
    return f'<h4>Likely causes</h4><ul class="causes">{ranked}</ul>{told}'


def _share(cause: Mapping[str, Any]) -> float:
    return min(max(float(cause["score"]), 0.0), 1.0)
