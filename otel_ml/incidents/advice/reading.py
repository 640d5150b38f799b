"""Nodes of a playbook file in, checked texts, numbers and conditions out."""

from __future__ import annotations

import math
import re
import string
from typing import Any, Final

from otel_ml.config.tree import Items, Node, Scalar, Table, clip
from otel_ml.config.values import did_you_mean
from otel_ml.incidents.advice.condition import RELATIONS, Condition
from otel_ml.incidents.advice.facts import FACTS

__all__ = ["condition_of", "identifier", "number", "sentence_of", "text_of", "texts_of"]

_ID: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")


def text_of(node: Node) -> str:
    """Return a text that is not empty."""
    if not isinstance(node, Scalar) or not node.text.strip():
        node.origin.fail("expected a text", "Write one, in quotes where it holds ': '.")
    return node.text


def texts_of(node: Node) -> tuple[str, ...]:
    """Return a list of texts that is not empty."""
    if not isinstance(node, Items) or not node.items:
        node.origin.fail("expected a list of texts", "Begin each item with a dash.")
    return tuple(text_of(item) for item in node.items)


def identifier(node: Node) -> str:
    """Return the id of a cause."""
    text = text_of(node)
    if not _ID.fullmatch(text):
        node.origin.fail(
            f"{clip(text)!r} is no id of a cause", "Use small letters, digits and underscores."
        )
    return text


def number(node: Node, most: float) -> float:
    """Return a number between ``-most`` and ``most``."""
    value = _value(node)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= most:
        node.origin.fail("expected a number", f"Give one from {-most:g} to {most:g}.")
    return float(value)


def sentence_of(node: Node) -> str:
    """Return a sentence whose placeholders are all facts."""
    text = text_of(node)
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        node.origin.fail(f"the braces do not match: {error}", "Write {{ for a brace.")
    for _, name, spec, conversion in parts:
        if name is None:
            continue
        if name not in FACTS:
            node.origin.fail(
                f"{{{clip(name)}}} is not a fact{did_you_mean(name, list(FACTS))}",
                "Use one of the facts in docs/facts.md, or write {{ for a brace.",
            )
        if spec or conversion:
            node.origin.fail("a fact has no format of its own", f"Write {{{name}}}.")
    return text


def condition_of(node: Node) -> Condition:
    """Return a condition: a mapping with `fact` and one relation, or `all` or `any` of several."""
    if isinstance(node, Items):
        return Condition("", "all", parts=tuple(condition_of(part) for part in node.items))
    if not isinstance(node, Table):
        node.origin.fail("expected a condition", "Write {fact: NAME, is: VALUE}.")
    keys = dict(node.entries)
    if len(keys) == 1 and (joined := next(iter(keys))) in ("all", "any"):
        parts = keys[joined]
        if not isinstance(parts, Items) or not parts.items:
            parts.origin.fail("expected a list of conditions", "Begin each with a dash.")
        return Condition("", joined, parts=tuple(condition_of(part) for part in parts.items))
    if "fact" not in keys:
        node.origin.fail("the condition names no fact", "Write {fact: NAME, is: VALUE}.")
    named = keys.pop("fact")
    fact = text_of(named)
    if fact not in FACTS:
        named.origin.fail(
            f"{clip(fact)!r} is not a fact{did_you_mean(fact, list(FACTS))}",
            "Use one of the facts in docs/facts.md.",
        )
    if len(keys) != 1 or next(iter(keys)) not in RELATIONS:
        node.origin.fail(
            f"one of {', '.join(RELATIONS)} is needed", f"Write {{fact: {fact}, is: VALUE}}."
        )
    ((relation, value),) = keys.items()
    return Condition(fact, relation, _checked(fact, relation, value))


def _checked(fact: str, relation: str, node: Node) -> Any:
    kind = FACTS[fact].kind
    if relation == "in":
        if not isinstance(node, Items) or not node.items:
            node.origin.fail("expected a list of values", "Write [A, B].")
        return tuple(_checked(fact, "is", item) for item in node.items)
    value = _value(node)
    if relation == "known" or (relation == "is" and kind == "flag"):
        if not isinstance(value, bool):
            node.origin.fail("expected true or false", "Write one of them, without quotes.")
    elif kind in ("text", "flag"):
        if relation != "is":
            node.origin.fail(f"{fact} is no number", "Compare it by is or in.")
        return text_of(node)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        node.origin.fail("expected a number", "Write one, without quotes.")
    return value


def _value(node: Node) -> bool | int | float | str:
    """Return what an unquoted scalar stands for: a boolean, a number, or its text."""
    if not isinstance(node, Scalar):
        node.origin.fail("expected a single value", "Write it on one line.")
    text = node.text.strip()
    if not node.plain:
        return text
    if text in ("true", "false"):
        return text == "true"
    try:
        found = float(text)
    except ValueError:
        return text
    if not math.isfinite(found):
        return text
    return int(found) if found.is_integer() and "." not in text and "e" not in text else found
