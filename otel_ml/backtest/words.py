"""Parts of a report in, the words that terminal and page have in common out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["budget_words", "plural", "summary", "title", "when", "words"]

_WHOLE_MODEL: Final = frozenset(
    {"score", "prediction", "performance", "calibration", "latency", "errors", "schema", "volume"}
)


def words(name: str) -> str:
    """Return an identifier as words: ``unit_change`` becomes "Unit change"."""
    return name.replace("_", " ").capitalize()


def plural(count: int, noun: str) -> str:
    """Return a count with its noun."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def title(incident: Mapping[str, Any]) -> str:
    """Return what an incident is called: its cause, and the culprit where there is a choice."""
    causes, target = incident["causes"], str(incident["members"][0]["target"])
    cause = str(causes[0].get("title") or words(causes[0]["id"])) if causes else "Change"
    return cause if target in _WHOLE_MODEL else f"{cause}: {target}"


def when(moment: str | None) -> str:
    """Return a time of a report without its seconds."""
    return (moment or "")[:16].replace("T", " ")


def budget_words(budget: Mapping[str, Any]) -> str:
    """Return a budget as a sentence's part: "1 false incident in 30d"."""
    per = str(budget["per"])
    shown = f"{int(per[:-4].replace('_', '')):,} rows" if per.endswith("rows") else per
    count = budget["false_incidents"]
    return f"{count:g} false incident{'' if count == 1 else 's'} in {shown}"


def summary(document: Mapping[str, Any]) -> str:
    """Return the report in one line."""
    incidents = document["incidents"]
    paged = sum(1 for one in incidents if one["paged"])
    found = f"{plural(len(incidents), 'incident')}, {paged:,} paged" if incidents else "no incident"
    expected = document["budget"]["expected_false_incidents"]
    by_chance = "" if expected is None else f"; up to {expected:.2g} false ones put up with"
    return (
        f"{document['rows']:,} rows: {found} (budget {budget_words(document['budget'])}{by_chance})"
    )
