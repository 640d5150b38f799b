"""The card of an incident: in, the incident and the telemetry around it; out, HTML.

It answers in this order: what changed, since when, how much it hurts, what to do, and why.
"""

from __future__ import annotations

from html import escape
from typing import Final

from otel_ml.demo import charts, views
from otel_ml.demo.collector import Finding, Incident
from otel_ml.demo.outcome import Outcome
from otel_ml.demo.telemetry import Telemetry
from otel_ml.semconv import attributes as attr

__all__ = ["card", "key", "title", "words"]

SHOWN_ROWS: Final = 2000
"""Rows after the change whose distribution is shown, unless it ended before."""
LINKS: Final = ("http://", "https://")
WHOLE_MODEL: Final = frozenset({"score", "prediction", "performance", "latency", "errors"})


def words(name: str) -> str:
    """Return an identifier as words: ``unit_change`` becomes "Unit change"."""
    return name.replace("_", " ").capitalize()


def title(incident: Incident) -> str:
    """Return what an incident is called: its cause, and the culprit where there is a choice."""
    cause = words(incident.cause)
    return cause if incident.target in WHOLE_MODEL else f"{cause}: {incident.target}"


def key(*entries: tuple[str, str]) -> str:
    """Return a legend of (class, label) entries."""
    drawn = "".join(
        f'<span><i class="{kind}"></i>{escape(label)}</span>' for kind, label in entries
    )
    return f'<div class="key">{drawn}</div>'


def card(incident: Incident, outcome: Outcome, telemetry: Telemetry, width: float) -> str:
    """Return the card of an incident.

    Parameters
    ----------
    incident
        The incident.
    outcome
        The run it belongs to, for the fault it has found.
    telemetry
        What arrived.
    width
        Width of its chart.
    """
    number, finding = next(
        (
            (number, one)
            for number, one in enumerate(outcome.findings, start=1)
            if one.incident is not None and one.incident.id == incident.id
        ),
        (None, None),
    )
    return (
        f'<article class="card incident">{_title(incident, number)}'
        f"<div>{_story(incident, finding)}{_next(incident)}</div>"
        f"<div>{_picture(incident, outcome, finding, telemetry, width)}{_why(incident)}</div>"
        "</article>"
    )


def _title(incident: Incident, number: int | None) -> str:
    dot = (
        '<span class="num quiet">·</span>'
        if number is None
        else f'<span class="num">{number}</span>'
    )
    paged = '<span class="badge paged">paged</span>' if incident.paged else ""
    level = escape(incident.severity)
    state = "open" if incident.closed is None else "closed"
    return (
        f"<header>{dot}<h3>{escape(title(incident))}</h3>"
        f'<span class="badge {level}">{level}</span>{paged}'
        f'<span class="badge">{state}</span></header>'
    )


def _story(incident: Incident, finding: Finding | None) -> str:
    entries = [("What changed", incident.effect), ("Since", _since(incident))]
    if finding is not None:
        entries.append(
            (
                "In truth",
                f"{finding.passage.fault.story} It began at row {finding.passage.start_row:,} and "
                f"was found {finding.rows_to_find:,} rows later.",
            )
        )
    else:
        entries.append(("In truth", "No fault was injected that accounts for this."))
    if len(incident.members) > 1:
        entries.append(("Also shown by", ", ".join(_member(one) for one in incident.members[1:6])))
    if incident.harm != incident.effect:
        entries.append(("Harm", incident.harm))
    told = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(told)}</dd>" for name, told in entries if told
    )
    return f"<dl>{told}</dl>"


def _since(incident: Incident) -> str:
    if incident.change_row is None:
        return f"found at row {incident.opened_row:,}"
    said = f"row {incident.change_row:,}"
    known = incident.change_lower is not None and incident.change_upper is not None
    if known and incident.change_lower != incident.change_upper:
        said += f" (between {incident.change_lower:,} and {incident.change_upper:,})"
    return f"{said}, found at row {incident.opened_row:,}"


def _member(member: str) -> str:
    monitor, _, target = member.partition(":")
    return f"{target} ({words(monitor).lower()})" if target else member


def _next(incident: Incident) -> str:
    if not incident.next_step:
        return ""
    told = f"{escape(incident.next_step)} {_runbook(incident)}"
    return f'<div class="next"><b>Next step.</b> {told}</div>'


def _runbook(incident: Incident) -> str:
    if not incident.runbook:
        return ""
    # Only what is certainly a web address becomes a link; the rest is shown as it is.
    if incident.runbook.startswith(LINKS):
        return f'<a href="{escape(incident.runbook)}">Runbook</a>'
    return f"Runbook: <code>{escape(incident.runbook)}</code>"


def _why(incident: Incident) -> str:
    ranked = "".join(_cause(entry) for entry in incident.causes[:4])
    facts = "".join(f'<li class="for">{escape(fact)}</li>' for fact in incident.evidence_for)
    facts += "".join(
        f'<li class="against">{escape(fact)}</li>' for fact in incident.evidence_against
    )
    drawn = f'<h4>Likely causes</h4><ul class="causes">{ranked}</ul>' if ranked else ""
    return drawn + (f'<ul class="facts">{facts}</ul>' if facts else "")


def _cause(entry: str) -> str:
    name, _, score = entry.rpartition(":")
    try:
        share = min(max(float(score), 0.0), 1.0)
    except ValueError:
        name, share = entry, 0.0
    return (
        f'<li>{escape(words(name))}<i><u style="width:{share * 100:.0f}%"></u></i>'
        f"<em>{share * 100:.0f} %</em></li>"
    )


def _picture(
    incident: Incident,
    outcome: Outcome,
    finding: Finding | None,
    telemetry: Telemetry,
    width: float,
) -> str:
    first = float(incident.opened_row if incident.change_row is None else incident.change_row)
    last = min(float(incident.closed_row or outcome.log.rows), first + SHOWN_ROWS)
    if finding is not None:
        # The traffic was faulty only this long; what came after is not what the incident is about.
        first = max(first, float(finding.passage.start_row))
        last = min(last, float(finding.passage.end_row or last))
    last = max(last, first + 1)
    quiet, target = float(outcome.first_fault_row), incident.target
    if "=" in target or incident.monitor == attr.MlMonitorName.PERFORMANCE:
        row = last + (outcome.label_delay / 2 if finding is not None else 0.0)
        name = views.group_attribute(target) if "=" in target else "SEX"
        groups = views.groups(telemetry, name, row, first, target)
        drawn = charts.intervals(groups, width, label=f"Accuracy by {name}") if groups else ""
        legend = ""
        if "=" in target:
            legend = key(("bad", target), ("now", "other groups"), ("was", "before"))
        head = f"Accuracy by {name}, with intervals"
        return f"<h4>{escape(head)}</h4>{legend}{drawn or _nothing()}"
    was = "before the first fault"
    if target == "latency":
        bars, what = views.latency_cells(telemetry, first, last, quiet), "Duration of calls"
    elif target in ("score", "prediction"):
        bars, what = views.score_cells(telemetry, first, last, quiet), "Scores"
    else:
        bars, what, was = views.cells(telemetry, target, first, last), target, "reference"
    drawn = charts.shares(bars, width, label=what) if bars else ""
    legend = key(("was", was), ("now", f"rows {first:,.0f} to {last:,.0f}"))
    return f"<h4>{escape(what)}</h4>{legend}{drawn or _nothing()}"


def _nothing() -> str:
    return '<p class="empty">Nothing of this arrived.</p>'
