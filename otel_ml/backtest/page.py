"""A report in, one HTML page that needs nothing else out: no scripts, no fonts, no network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from importlib import resources
from typing import Any, Final

from otel_ml.backtest import charts
from otel_ml.backtest.cards import card
from otel_ml.backtest.words import budget_words, plural, words
from otel_ml.demo.cards import key

__all__ = ["page"]

WIDE: Final = 1000.0
HALF: Final = 480.0
NARROW: Final = 360.0
SHOWN_METRICS: Final = (
    "accuracy", "auc", "precision", "recall", "f1", "log_loss", "brier", "calibration_error",
    "mae", "rmse",
)  # fmt: skip
SHOWN_RATES: Final = ("accuracy", "selection_rate", "tpr", "fpr")
RATE_NAMES: Final[Mapping[str, str]] = {
    "tpr": "true positive rate", "fpr": "false positive rate", "ppv": "positive predictive value",
}  # fmt: skip
SHOWN_INCIDENTS: Final = 40


def page(document: Mapping[str, Any]) -> str:
    """Return the page.

    Parameters
    ----------
    document
        The report, of the shape ``schema.json``.
    """
    style = "".join(
        (resources.files(package) / "page.css").read_text(encoding="utf-8")
        for package in ("otel_ml.demo", "otel_ml.backtest")
    )
    body = "".join(
        (
            _head(document),
            _tiles(document),
            _timeline(document),
            _incidents(document),
            _performance(document),
            _fairness(document),
            _drift(document),
            _budgets(document),
            _foot(document),
        )
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>otel-ml backtest: {escape(_headline(document))}</title><style>{style}</style>"
        f"</head><body><main>{body}</main></body></html>\n"
    )


def _headline(document: Mapping[str, Any]) -> str:
    incidents = document["incidents"]
    rows = plural(document["rows"], "prediction")
    if not incidents:
        return f"Nothing to report in {rows}"
    paged = sum(1 for one in incidents if one["paged"])
    page = f"{paged:,} would have paged" if paged else "none would have paged"
    if paged == len(incidents):
        page = "all would have paged"
    if len(incidents) == 1:
        page = "it would have paged" if paged else "it would not have paged"
    return f"{plural(len(incidents), 'incident')} in {rows}, {page}"


def _head(document: Mapping[str, Any]) -> str:
    reference, clock = document["reference"], document["clock"]
    against = "nothing: there was too little to learn from"
    if reference is not None:
        against = (
            f"the first {reference['rows']:,} of them"
            if reference["source"] == "traffic"
            else f"a reference of {reference['rows']:,} rows"
        )
    stretch = ""
    if clock["source"] == "timestamps" and clock["from"]:
        stretch = f", from {clock['from'][:10]} to {clock['to'][:10]}"
    model = document["model"]
    version = f" {model['version']}" if model["version"] else ""
    return (
        f'<p class="eyebrow"><b>otel-ml backtest</b> · model {escape(model["name"] + version)}</p>'
        f"<h1>{escape(_headline(document))}</h1>"
        f'<p class="lead">{document["rows"]:,} historical predictions{stretch}, compared with '
        f"{escape(against)}. Nobody set a threshold: the only setting is how many false incidents "
        f"are put up with, {escape(budget_words(document['budget']))}.</p>"
    )


def _tiles(document: Mapping[str, Any]) -> str:
    incidents, labels = document["incidents"], document["labels"]
    paged = sum(1 for one in incidents if one["paged"])
    expected = document["budget"]["expected_false_incidents"]
    highest = max((value for _, value in document["evidence"]["total"]), default=0.0)
    limit = document["evidence"]["threshold_log10"]
    tiles = [
        (f"{len(incidents):,}", "incidents, recorded", ""),
        (f"{paged:,}", "of them would have paged", "bad" if paged else "good"),
        (f"≤ {expected:.2g}" if expected is not None else "–",
         "false ones put up with in as many rows", ""),
        (f"{max(highest, 0):.1f}", f"highest evidence, log10; {limit} opens an incident", ""),
        (f"{labels['arrived']:,}", f"labels, {_delay(labels['delay'])}", ""),
    ]  # fmt: skip
    drawn = "".join(
        f'<div class="tile {kind}"><b>{escape(value)}</b><span>{escape(label)}</span></div>'
        for value, label, kind in tiles
    )
    return f'<div class="tiles">{drawn}</div>'


def _delay(delay: str) -> str:
    if delay in ("0rows", "0s"):
        return "known at once"
    if delay.endswith("rows"):
        return f"{int(delay[:-4]):,} rows late"
    return f"{float(delay[:-1]) / 3600:g} hours late"


def _both(draw: Any) -> str:
    """Return a drawing for wide and one for narrow screens."""
    return f'<div class="wide">{draw(WIDE)}</div><div class="narrow">{draw(NARROW)}</div>'


def _timeline(document: Mapping[str, Any]) -> str:
    if not document["evidence"]["total"]:
        return ""
    return (
        "<h2>What happened</h2>"
        '<p class="note">All monitors of the model add up to one number, evidence that something '
        "has changed (log10, so 3 means a thousand to one). It crosses one line, the budget. An "
        "incident opens there, and what it has explained is not counted again.</p>"
        '<div class="card">'
        + key(
            ("now", "evidence"),
            ("limit", "the budget"),
            ("bad", "incident that would have paged"),
            ("quiet", "incident that would not"),
        )
        + _both(lambda width: charts.evidence(document, width))
        + "</div>"
    )


def _incidents(document: Mapping[str, Any]) -> str:
    incidents = document["incidents"]
    if not incidents:
        return (
            '<div class="card calm"><h3>No incident</h3><p class="note">Nothing that would have '
            "been worth a look. What the budget lets through, and what is found how fast, is "
            "below.</p></div>"
        )
    drawn = "".join(
        card(document, one, number, HALF)
        for number, one in enumerate(incidents[:SHOWN_INCIDENTS], start=1)
    )
    more = len(incidents) - SHOWN_INCIDENTS
    rest = f'<p class="note">{more:,} more are in the JSON.</p>' if more > 0 else ""
    return f"<h2>Incidents</h2>{drawn}{rest}"


def _performance(document: Mapping[str, Any]) -> str:
    known = {row["metric"] for row in document["performance"] if row["value"] is not None}
    shown = [name for name in SHOWN_METRICS if name in known]
    if not shown:
        return ""
    cards = []
    for name in shown:
        rows = [row for row in document["performance"] if row["metric"] == name]
        last = f"<b>{rows[-1]['value']:.4g}</b>" if rows[-1]["value"] is not None else ""
        head = f"<h4>{escape(words(name) if name != 'auc' else 'AUC')} {last}</h4>"
        cards.append(f'<div class="card">{head}{charts.metric(document, name, HALF)}</div>')
    return (
        "<h2>Was the model right?</h2>"
        '<p class="note">From the labels, each window with its 95 % interval; the last value is on '
        "the right. Shaded: from the change to the end of an incident.</p>"
        f'<div class="grid2">{"".join(cards)}</div>'
    )


def _fairness(document: Mapping[str, Any]) -> str:
    pairs = dict.fromkeys((row["attribute"], row["metric"]) for row in document["fairness"])
    drawn = []
    for attribute in dict.fromkeys(attribute for attribute, _ in pairs):
        for name in SHOWN_RATES:
            chart = (
                charts.groups(document, attribute, name, HALF) if (attribute, name) in pairs else ""
            )
            if chart:
                said = RATE_NAMES.get(name, name.replace("_", " "))
                drawn.append(
                    f'<div class="card"><h4>{escape(said.capitalize())} by {escape(attribute)}</h4>'
                    f"{chart}</div>"
                )
    if not drawn:
        return ""
    return (
        "<h2>For whom?</h2>"
        '<p class="note">Each group in the last window with its interval; the hollow dot is where '
        "it was in the first.</p>"
        + key(("now", "last window"), ("was", "first window"))
        + f'<div class="grid2">{"".join(drawn)}</div>'
    )


def _drift(document: Mapping[str, Any]) -> str:
    if not document["drift"]:
        return ""
    return (
        "<h2>Where did it move?</h2>"
        '<p class="note">Share of rows that would have to change for a feature to look like the '
        "reference again, beyond what chance makes of it; those that moved most are on top. "
        "Dotted: where an incident has begun. These scores explain; they page nobody.</p>"
        '<div class="card">'
        + key(
            ("cold", "as the reference"), ("h1", "little"), ("h3", "8 %"), ("bad", "30 % and more")
        )
        + _both(lambda width: charts.heat_map(document, width))
        + "</div>"
    )


def _budgets(document: Mapping[str, Any]) -> str:
    rows = []
    for one in document["budgets"]:
        later = one["median_rows_later"]
        said = "" if one["stated"] else "–" if later is None else f"{later:+,.0f}"
        rows.append(
            f'<tr class="{"stated" if one["stated"] else ""}">'
            f"<td>{escape(budget_words(one))}</td>"
            f'<td class="right">{one["threshold_log10"]:.1f}</td>'
            f'<td class="right">{one["incidents"]:,}</td><td class="right">{one["paged"]:,}</td>'
            f'<td class="right">{escape(said)}</td></tr>'
        )
    table = (
        '<div class="card scroll"><table><thead><tr><th>Budget</th>'
        '<th class="right">Evidence needed</th><th class="right">Incidents</th>'
        '<th class="right">Paged</th><th class="right">Rows later, median</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
    found = document["budget"]["detectable"]
    said = ", ".join(
        f"{one['shift_sd']:g} standard deviations "
        + (
            "never (it is within the effect floor)"
            if one["rows"] is None
            else f"after about {one['rows']:,} rows"
        )
        for one in found
    )
    text = (
        f"By arithmetic, a shift of one feature by {said}, at the stated budget. " if found else ""
    )
    return (
        "<h2>What would another budget have done?</h2>"
        f'<p class="note">{escape(text)}A stricter budget costs little delay, because evidence '
        f"grows exponentially.</p>{table}"
    )


def _foot(document: Mapping[str, Any]) -> str:
    notes = _list(document["notes"])
    return (
        f"<footer>{notes}<h2>The same, live</h2>"
        "<p>No line of the serving code changes. Without a reference, the first traffic becomes it."
        "</p><pre>otel-ml init --reference train.parquet --score p --label y\n"
        "opentelemetry-instrument uvicorn app:app</pre></footer>"
    )


def _list(notes: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<h2>Notes</h2><ul class="notes">{items}</ul>' if items else ""
