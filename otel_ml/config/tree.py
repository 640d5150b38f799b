"""Plain Python values in, a tree of scalars that know their file, line and key path out."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NoReturn, TypeAlias

from otel_ml.errors import ConfigError

__all__ = [
    "MAX_DEPTH",
    "MAX_NODES",
    "Items",
    "Node",
    "Origin",
    "Scalar",
    "Table",
    "checked_scalar",
    "clip",
    "printable",
    "to_tree",
]

MAX_DEPTH: Final = 64
MAX_NODES: Final = 20_000


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value stands: what every message begins with.

    Parameters
    ----------
    source
        The file as the user named it, a variable, or ``OTEL_CONFIG_FILE``.
    path
        Key path like ``models[0].threshold``; empty at the top.
    line
        Line from 1, or None where the source has none.
    """

    source: str
    path: str = ""
    line: int | None = None

    def key(self, name: str, line: int | None) -> Origin:
        """Return the origin of the value under a key."""
        return Origin(self.source, f"{self.path}.{name}" if self.path else name, line)

    def item(self, index: int, line: int | None) -> Origin:
        """Return the origin of an item of a list."""
        return Origin(self.source, f"{self.path}[{index}]", line)

    def fail(self, problem: str, remedy: str = "") -> NoReturn:
        """Raise `ConfigError` naming this place."""
        place = self.source if self.line is None else f"{self.source}:{self.line}"
        path = self.path if len(self.path) <= 200 else f"{self.path[:197]}..."
        message = ": ".join(filter(None, (place, path, problem)))
        raise ConfigError(printable(message), remedy=printable(remedy))


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text; `plain` where it was written without quotes and may be a number or a boolean."""

    text: str
    plain: bool
    origin: Origin


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: tuple[Node, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping; keys are unique."""

    entries: tuple[tuple[str, Node], ...]
    origin: Origin


Node: TypeAlias = Scalar | Items | Table


def to_tree(value: object, source: str) -> Node:
    """Turn plain Python values, as the declarative file hands them over, into the same tree.

    Parameters
    ----------
    value
        Mappings with text keys, lists and tuples, texts, paths, numbers, booleans and None.
    source
        Name for messages.

    Returns
    -------
    Node
        The tree; variables are not substituted, which the declarative file's reader has done.

    Raises
    ------
    ConfigError
        Where a value is of another type, or there are more than `MAX_DEPTH` or `MAX_NODES`.
    """
    nodes = 0

    def walk(value: object, here: Origin, depth: int) -> Node:
        nonlocal nodes
        nodes += 1
        if nodes > MAX_NODES:
            here.fail(f"more than {MAX_NODES} values", "Are lists shared through aliases?")
        if value is None:
            return Scalar("null", True, here)
        if isinstance(value, bool | int | float):
            return Scalar(_number(value), True, here)
        if isinstance(value, str | os.PathLike):
            return checked_scalar(str(value), False, here)
        if depth >= MAX_DEPTH:
            here.fail(f"nested deeper than {MAX_DEPTH} levels", "Flatten it.")
        if isinstance(value, Mapping):
            entries = []
            for key, item in value.items():
                if not isinstance(key, str):
                    here.fail(f"the key {clip(repr(key))} is not a text", "Use a text.")
                entries.append((key, walk(item, here.key(clip(key), None), depth + 1)))
            return Table(tuple(entries), here)
        if isinstance(value, list | tuple):
            children = [walk(v, here.item(i, None), depth + 1) for i, v in enumerate(value)]
            return Items(tuple(children), here)
        here.fail(f"a {type(value).__name__} is not accepted", "Use texts, numbers and lists.")

    return walk(value, Origin(source), 0)


def _number(value: float) -> str:
    # Beyond this no setting is in range, and str() refuses 4,300 digits in its own words.
    if isinstance(value, int) and abs(value) >= 10**40:
        return repr(math.inf)
    return repr(value).lower()


def checked_scalar(text: str, plain: bool, here: Origin) -> Scalar:
    """Return a scalar, unless its text could not be a name, a path or a log line."""
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        here.fail("the text holds a character that no name or path can have", "Remove it.")
    return Scalar(text, plain, here)


def clip(text: str) -> str:
    """Return a text, cut to a length that a message can hold."""
    return text if len(text) <= 60 else f"{text[:57]}..."


def printable(text: str) -> str:
    """Return a text with everything escaped that could break a line of a log or a terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
