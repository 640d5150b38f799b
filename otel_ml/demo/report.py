"""The page for people: in, the outcome of a run and its telemetry; out, one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import Final

from otel_ml.demo import charts, views
from otel_ml.demo.cards import card, key, title
from otel_ml.demo.charts import Stretch
from otel_ml.demo.collector import Finding
from otel_ml.demo.outcome import Outcome
from otel_ml.demo.telemetry import Telemetry
from otel_ml.demo.timeline import timeline
from otel_ml.semconv import attributes as attr
from otel_ml.semconv import metrics as metric

__all__ = ["page"]

WIDE: Final = 1000.0
HALF: Final = 480.0
NARROW: Final = 360.0


def page(outcome: Outcome, telemetry: Telemetry, years: Sequence[Stretch]) -> str:
    """Return the page: what happened, incident by incident, and how the model did.

    Parameters
    ----------
    outcome
        The run.
    telemetry
        What arrived of it.
    years
        Which rows are of which year.
    """
    style = (resources.files("otel_ml.demo") / "page.css").read_text(encoding="utf-8")
    body = "".join(
        (
            _head(outcome),
            _tiles(outcome),
            _problems(outcome),
            _timeline(outcome, telemetry, years),
            _table(outcome.findings),
            _incidents(outcome, telemetry),
            _over_time(outcome, telemetry),
            _for_whom(outcome, telemetry),
            _health(outcome, telemetry),
            _foot(),
        )
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>otel-ml demo: {escape(_headline(outcome))}</title><style>{style}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def _headline(outcome: Outcome) -> str:
    named = sum(one.cause_named and one.target_named for one in outcome.findings)
    said = f"{named} of {len(outcome.findings)} faults found and rightly named"
    extra = len(outcome.other)
    return f"{said}, {extra} incident{'s' * (extra > 1)} too many" if extra else said


def _head(outcome: Outcome) -> str:
    minutes = f"{outcome.seconds.get('replay', 0.0):.0f} seconds"
    return (
        f'<p class="eyebrow"><b>otel-ml demo</b> · model {escape(str(outcome.model["name"]))}</p>'
        f"<h1>{escape(_headline(outcome))}</h1>"
        f'<p class="lead">A model that was trained on {outcome.model["rows"]:,} people of 2015 and '
        f"is right about {outcome.model['accuracy'] * 100:.0f} % of them served "
        f"{outcome.log.rows:,} real people of 2016 to 2018 in {minutes}. "
        "Six things went wrong on the way. Nobody set a threshold: the only setting is how many "
        "false incidents are put up with, "
        f"{outcome.budget['false_incidents']} in {escape(_per(outcome))}.</p>"
    )


def _per(outcome: Outcome) -> str:
    per = str(outcome.budget["per"])
    return f"{int(per[:-4]):,} rows" if per.endswith("rows") else per


def _tiles(outcome: Outcome) -> str:
    found = sorted(one.rows_to_find for one in outcome.findings if one.rows_to_find is not None)
    median = f"{found[len(found) // 2]:,} rows" if found else "never"
    early = sum(one.paged for one in outcome.before_first)
    named = sum(one.cause_named and one.target_named for one in outcome.findings)
    exact = outcome.counts.predictions == outcome.log.rows
    quiet = f"pages in {outcome.first_fault_row:,} rows before the first fault"
    counted = f"predictions counted of {outcome.log.rows:,} sent"
    tiles = (
        (f"{named} / {len(outcome.findings)}", "faults found and rightly named",
         named == len(outcome.findings)),
        (median, "until a fault is found, at the median", bool(found)),
        (str(early), quiet, not early),
        (f"{outcome.counts.predictions:,}", counted, exact),
        (f"{outcome.counts.labels:,}", f"late labels joined of {outcome.log.labels:,} sent",
         outcome.counts.labels == outcome.log.labels),
    )  # fmt: skip
    drawn = (
        f'<div class="tile {"good" if good else "bad"}"><b>{escape(value)}</b>'
        f"<span>{escape(label)}</span></div>"
        for value, label, good in tiles
    )
    return f'<div class="tiles">{"".join(drawn)}</div>'


def _problems(outcome: Outcome) -> str:
    if outcome.ok:
        return ""
    said = "".join(f"<li>{escape(problem)}</li>" for problem in outcome.problems)
    return f'<div class="card problems"><h3>Not as it should be</h3><ul>{said}</ul></div>'


def _faults(outcome: Outcome) -> list[Stretch]:
    return [
        Stretch(
            one.start_row,
            outcome.log.rows if one.end_row is None else one.end_row,
            one.fault.title,
            f"{number}. {one.fault.title}: {one.fault.story} "
            f"(rows {one.start_row:,} to {one.end_row or outcome.log.rows:,})",
        )
        for number, one in enumerate(outcome.log.passages, start=1)
    ]


def _timeline(outcome: Outcome, telemetry: Telemetry, years: Sequence[Stretch]) -> str:
    incidents = [
        Stretch(
            one.opened_row,
            outcome.log.rows if one.closed_row is None else one.closed_row,
            title(one),
            f"{title(one)}: opened at row {one.opened_row:,}"
            + ("" if one.closed_row is None else f", closed at row {one.closed_row:,}"),
            "paged-bar" if one.paged else "told-bar",
        )
        for one in outcome.known
    ]
    limit = views.threshold(telemetry)
    openings = [(one.opened_row, max(one.opened_evidence, limit or 0.0)) for one in outcome.known]
    band = views.evidence(telemetry, openings)
    drawn = "".join(
        f'<div class="{kind}">'
        + timeline(band, limit, _faults(outcome), incidents, years, outcome.log.rows, width)
        + "</div>"
        for kind, width in (("wide", WIDE), ("narrow", NARROW))
    )
    return (
        "<h2>What happened</h2>"
        '<p class="note">All monitors of the model add up to one number, evidence that something '
        "has changed (log10, so 3 means a thousand to one). It crosses one line, the budget. An "
        "incident opens there, and what it has explained is not counted again.</p>"
        '<div class="card">'
        + key(
            ("now", "evidence"),
            ("limit", "the budget"),
            ("wash", "a fault is in the traffic"),
            ("bad", "incident that paged"),
            ("quiet", "incident that did not"),
        )
        + f"{drawn}</div>"
    )


def _table(findings: Sequence[Finding]) -> str:
    rows = []
    for number, one in enumerate(findings, start=1):
        fault, incident = one.passage.fault, one.incident
        if incident is None:
            told = '<td class="no">not found</td><td></td><td></td>'
        else:
            right = one.cause_named and one.target_named
            name = title(incident)
            told = (
                f'<td class="right">{one.rows_to_find:,}</td>'
                f'<td class="{"yes" if right else "no"}">{escape(name)}</td>'
                f"<td>{'paged' if incident.paged else 'not paged'}</td>"
            )
        rows.append(
            f'<tr><td><span class="num">{number}</span></td>'
            f"<td>{escape(fault.title)}<small>{escape(fault.story)}</small></td>"
            f'<td class="right">{one.passage.start_row:,}</td>{told}</tr>'
        )
    return (
        '<div class="card scroll"><table><thead><tr><th></th><th>What was done</th>'
        '<th class="right">from row</th><th class="right">found after rows</th>'
        f"<th>and called</th><th></th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _incidents(outcome: Outcome, telemetry: Telemetry) -> str:
    if not outcome.known:
        return '<h2>Incidents</h2><p class="empty">No incident was opened.</p>'
    drawn = (card(one, outcome, telemetry, HALF) for one in outcome.known)
    return f"<h2>Incidents</h2>{''.join(drawn)}"


def _over_time(outcome: Outcome, telemetry: Telemetry) -> str:
    faults, rows = _faults(outcome), outcome.log.rows
    right = views.accuracy(telemetry)
    fast = views.latency(telemetry)
    accuracy = charts.over_rows([right], faults, rows, HALF, unit=" %", scale=100)
    latency = charts.over_rows(fast, faults, rows, HALF, unit=" ms", low=0.0, scale=1000)
    return (
        '<h2>The model over time</h2><div class="pair">'
        '<div class="card"><h4>Accuracy, from labels that come '
        f"{outcome.label_delay:,} rows late, with its interval</h4>"
        f"{accuracy if right.rows else _empty()}</div>"
        '<div class="card"><h4>Duration of a call to the model</h4>'
        + key(("now", "median"), ("bad", "95 % of calls are faster"))
        + f"{latency if fast[0].rows else _empty()}</div></div>"
    )


def _for_whom(outcome: Outcome, telemetry: Telemetry) -> str:
    subgroup = next((one for one in outcome.findings if one.passage.fault.in_labels), None)
    row, marked, before = float(outcome.log.rows), "", 0.0
    if subgroup is not None:
        before = float(subgroup.passage.start_row)
        row = float(subgroup.passage.end_row or row) + outcome.label_delay / 2
        marked = subgroup.incident.target if subgroup.incident is not None else ""
    names = sorted(
        {
            str(one.attributes.get(attr.ML_SLICE_ATTRIBUTE, ""))
            for one in telemetry.series(metric.ML_FAIRNESS_SCORE)
        }
    )
    every = [
        group for name in names for group in views.groups(telemetry, name, row, before, marked)
    ]
    wide = charts.intervals(every, WIDE, label="Accuracy")
    narrow = charts.intervals(every, NARROW, label="Accuracy")
    drawn = f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>'
    return (
        "<h2>For whom</h2>"
        '<p class="note">Accuracy in each group with its interval, when the labels of one group '
        "were wrong; the hollow dot is where it was before. Groups too small to say anything about "
        "are left out.</p>"
        f'<div class="card">{drawn if every else _empty()}</div>'
    )


def _health(outcome: Outcome, telemetry: Telemetry) -> str:
    exports = {
        state: telemetry.total(metric.ML_MONITORING_EXPORTS, {attr.ML_EXPORT_OUTCOME: state})
        for state in (attr.MlExportOutcome.SUCCESS, attr.MlExportOutcome.FAILURE)
    }
    spent = [
        one.points[-1].value for one in telemetry.series(metric.ML_MONITORING_EVALUATION_DURATION)
    ]
    seconds = sum(getattr(value, "sum", None) or 0.0 for value in spent)
    number = sum(sum(getattr(value, "counts", ())) for value in spent)
    mean = f"{seconds / number * 1000:.1f} ms" if number and seconds else "–"
    lost = sum(outcome.counts.dropped.values())
    captured = telemetry.total(metric.ML_MONITORING_CAPTURED)
    tiles = (
        (f"{captured:,.0f}", "predictions captured", ""),
        (f"{lost:,}", "given up", "bad" if lost else ""),
        (f"{exports[attr.MlExportOutcome.SUCCESS]:,.0f}", "exports that arrived", ""),
        (f"{exports[attr.MlExportOutcome.FAILURE]:,.0f}", "exports that failed",
         "bad" if exports[attr.MlExportOutcome.FAILURE] else ""),
        (mean, "for an evaluation of all monitors", ""),
    )  # fmt: skip
    drawn = "".join(
        f'<div class="tile {kind}"><b>{escape(value)}</b><span>{escape(label)}</span></div>'
        for value, label, kind in tiles
    )
    return f'<h2>Is monitoring itself alive?</h2><div class="tiles close">{drawn}</div>'


def _foot() -> str:
    return (
        "<footer><h2>The same for your model</h2><p>No line of the serving code changes. Without a "
        "reference, the first traffic becomes it.</p>"
        "<pre>pip install otel-ml opentelemetry-distro\n"
        "opentelemetry-instrument uvicorn app:app</pre>"
        "<p>Data: American Community Survey, public-use microdata, US Census Bureau.</p></footer>"
    )


def _empty() -> str:
    return '<p class="empty">Nothing of this arrived.</p>'
