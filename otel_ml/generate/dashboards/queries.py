"""A dashboard's JSON and values of its variables in, queries that Prometheus can run out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from otel_ml.errors import DataError

__all__ = ["TemplateQuery", "panel_queries", "panels", "template_queries"]

_VARIABLE: Final = re.compile(r"\$(?:(\w+)|\{(\w+)(?::\w+)?\})|\[\[(\w+)\]\]")
_LABEL_VALUES: Final = re.compile(r"label_values\((?:(?P<selector>.+),\s*)?(?P<label>\w+)\)")
_QUERY_RESULT: Final = re.compile(r"query_result\((?P<expr>.+)\)")
_BUILT_IN: Final = {
    "__rate_interval": "1m",
    "__interval": "15s",
    "__range": "15m",
    "__range_s": "900",
}


@dataclass(frozen=True, slots=True)
class TemplateQuery:
    """The query of a variable.

    Parameters
    ----------
    name
        Name of the variable.
    expr
        PromQL, to be asked at an instant. Each result has one value of the variable.
    label
        Label that holds the value, or None where `regex` takes it from the result.
    regex
        Regular expression over the text of a result, in slashes, or an empty string.
    """

    name: str
    expr: str
    label: str | None
    regex: str


def panels(dashboard: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """List all panels, also those of collapsed rows, without the rows themselves.

    Parameters
    ----------
    dashboard
        Its JSON, decoded.

    Yields
    ------
    Mapping
        A panel.
    """
    for panel in dashboard.get("panels", ()):
        if panel.get("type") == "row":
            yield from panels(panel)
        else:
            yield panel


def panel_queries(
    dashboard: Mapping[str, Any], variables: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """List the queries of all panels with the variables put in.

    Parameters
    ----------
    dashboard
        Its JSON, decoded.
    variables
        Value by name, without ``$``. Left out can be what has a value for "All", and
        ``__rate_interval``, ``__interval``, ``__range`` and ``__range_s``, which are 1m, 15s, 15m
        and 900 then.

    Yields
    ------
    tuple of str
        Title of the panel, and PromQL.

    Raises
    ------
    DataError
        A variable has no value.
    """
    known = {**_BUILT_IN, **_all_values(dashboard), **variables}
    for panel in panels(dashboard):
        for target in panel.get("targets", ()):
            title = _substitute(panel["title"], known)
            yield title, _substitute(target["expr"], known)


def template_queries(
    dashboard: Mapping[str, Any], variables: Mapping[str, str]
) -> Iterator[TemplateQuery]:
    """List the queries of all variables, in order, with the other variables put in.

    Parameters
    ----------
    dashboard
        Its JSON, decoded.
    variables
        As for `panel_queries`.

    Yields
    ------
    TemplateQuery
        The query; ``label_values`` is written as a PromQL aggregation by the label.

    Raises
    ------
    DataError
        A variable has no value, or a query is neither ``label_values`` nor ``query_result``.
    """
    known = {**_BUILT_IN, **_all_values(dashboard), **variables}
    for variable in dashboard["templating"]["list"]:
        if variable["type"] != "query":
            continue
        query = variable["query"]
        text = query["query"] if isinstance(query, dict) else query
        name, regex = variable["name"], variable.get("regex") or ""
        if match := _LABEL_VALUES.fullmatch(text):
            label = match["label"]
            selector = _substitute(match["selector"] or f'{{{label}!=""}}', known)
            yield TemplateQuery(name, f"count by ({label}) ({selector})", label, regex)
        elif match := _QUERY_RESULT.fullmatch(text):
            yield TemplateQuery(name, _substitute(match["expr"], known), None, regex)
        else:
            raise DataError(f"variable {name} has an unknown kind of query: {text}")


def _all_values(dashboard: Mapping[str, Any]) -> dict[str, str]:
    return {
        variable["name"]: variable["allValue"]
        for variable in dashboard["templating"]["list"]
        if variable.get("includeAll") and variable.get("allValue")
    }


def _substitute(text: str, known: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = next(group for group in match.groups() if group)
        if name not in known:
            raise DataError(f"variable ${name} has no value", remedy="pass one for it.")
        return known[name]

    return _VARIABLE.sub(value, text)
