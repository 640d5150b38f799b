"""Playbook files in, causes with what speaks for and against them out.

A playbook is a YAML file. The built-in one is always there; a file of the user's adds causes to it
or replaces single keys of one it names. Every message names file, line, key and remedy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from otel_ml.config.document import MAX_BYTES, from_yaml
from otel_ml.config.tree import Items, Node, Origin, Scalar, Table
from otel_ml.config.values import did_you_mean
from otel_ml.incidents.advice.condition import Condition
from otel_ml.incidents.advice.reading import condition_of, identifier, number, text_of, texts_of
from otel_ml.incidents.advice.reading import sentence_of as _sentence

__all__ = ["Entry", "Observation", "Playbook", "builtin", "load"]

_KEYS: Final = (
    *("id", "title", "meaning", "impact", "diagnosis", "prior", "requires", "observations"),
    *("next", "runbook"),
)
_NEEDED: Final = ("title", "meaning", "impact", "diagnosis", "requires", "next")
_OBSERVED: Final = ("when", "weight", "say")
_MOST_WEIGHT: Final = 20.0


@dataclass(frozen=True, slots=True)
class Observation:
    """What speaks for or against a cause.

    Parameters
    ----------
    test
        When it holds.
    weight
        Log odds it adds; negative speaks against.
    say
        The sentence; facts in braces are filled in.
    """

    test: Condition
    weight: float
    say: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One cause of the playbook.

    Parameters
    ----------
    id, title
        Its name for machines, and for people.
    meaning, impact, diagnosis
        What its runbook says.
    prior
        Log odds before any observation.
    requires
        Conditions under which it is considered at all.
    observations
        What speaks for or against it.
    next_step
        What to do.
    runbook
        Path or address of its runbook.
    """

    id: str
    title: str
    meaning: str
    impact: str
    diagnosis: tuple[str, ...]
    prior: float
    requires: tuple[Condition, ...]
    observations: tuple[Observation, ...]
    next_step: str
    runbook: str


@dataclass(frozen=True, slots=True)
class Playbook:
    """All causes that are known.

    Parameters
    ----------
    entries
        The causes.
    """

    entries: tuple[Entry, ...]

    @classmethod
    def parse(cls, text: str, where: str, base: Playbook | None = None) -> Playbook:
        """Read a playbook from YAML.

        Parameters
        ----------
        text
            The document: ``causes``, a list.
        where
            Name of the file for messages.
        base
            Causes to start from. A cause of the text with the id of one of these replaces the keys
            it gives, any other is added.

        Raises
        ------
        ConfigError
            If a key is missing, unknown or of the wrong kind, or a fact is not known; names file,
            line and key.
        """
        root = from_yaml(text.encode("utf-8", "surrogatepass"), where, {})
        top = Origin(where)
        if not isinstance(root, Table):
            top.fail("a playbook is a mapping with the key 'causes'", "Begin with `causes:`.")
        listed: Node | None = None
        for name, node in root.entries:
            if name != "causes":
                node.origin.fail("unknown key", "A playbook has one key, causes.")
            listed = node
        if not isinstance(listed, Items):
            (root.origin if listed is None else listed.origin).fail(
                "a playbook needs a list of causes", "Write `causes:` and one item per cause."
            )
        entries = {} if base is None else {entry.id: entry for entry in base.entries}
        seen: dict[str, Origin] = {}
        for item in listed.items:
            entry = _entry(item, entries, where, builtin_file=base is None)
            if entry.id in seen:
                item.origin.fail(f"the cause {entry.id!r} is given twice", "Keep one of the two.")
            seen[entry.id] = item.origin
            entries[entry.id] = entry
        return cls(tuple(entries.values()))


def load(path: Path | str) -> Playbook:
    """Return the built-in playbook with what a file adds to it or replaces in it.

    Parameters
    ----------
    path
        The file, YAML.

    Raises
    ------
    ConfigError
        If the file cannot be read or is not a playbook.
    """
    top = Origin(str(path))
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        top.fail(f"the playbook cannot be read: {error.strerror}", "Correct the key `playbook`.")
    if len(data) > MAX_BYTES:
        top.fail(f"the playbook is larger than {MAX_BYTES} bytes", "Name the right file.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        top.fail("the playbook is not UTF-8", "Save it as UTF-8.")
    return Playbook.parse(text, str(path), builtin())


@cache
def builtin() -> Playbook:
    """Return the playbook that comes with the package."""
    text = files(__package__).joinpath("playbook.yaml").read_text(encoding="utf-8")
    return Playbook.parse(text, "playbook.yaml")


def _entry(item: Node, known: Mapping[str, Entry], where: str, *, builtin_file: bool) -> Entry:
    if not isinstance(item, Table):
        item.origin.fail("a cause is a mapping", f"Give it the keys {', '.join(_KEYS)}.")
    keys = dict(item.entries)
    for name, node in item.entries:
        if name not in _KEYS:
            node.origin.fail(f"unknown key{did_you_mean(name, _KEYS)}", "Remove it.")
    if "id" not in keys:
        item.origin.fail("the cause has no id", "Give it one, such as late_feed.")
    name = identifier(keys["id"])
    base = known.get(name)
    missing = [key for key in _NEEDED if key not in keys]
    if base is None and missing:
        item.origin.fail(
            f"the new cause {name!r} lacks {', '.join(missing)}",
            "Add them; only a cause that is known may give single keys.",
        )
    values: dict[str, Any] = {}
    for key in ("title", "meaning", "impact", "runbook"):
        if key in keys:
            values[key] = text_of(keys[key])
    if "diagnosis" in keys:
        values["diagnosis"] = texts_of(keys["diagnosis"])
    if "prior" in keys:
        values["prior"] = number(keys["prior"], _MOST_WEIGHT)
    if "next" in keys:
        values["next_step"] = _sentence(keys["next"])
    if "requires" in keys:
        values["requires"] = tuple(condition_of(node) for node in _items(keys["requires"]))
        if not values["requires"]:
            keys["requires"].origin.fail("nothing is required", "Name at least one test.")
    if "observations" in keys:
        values["observations"] = tuple(_observation(n) for n in _items(keys["observations"]))
    if base is not None:
        return replace(base, **values)
    defaults: dict[str, Any] = {
        "prior": 0.0,
        "observations": (),
        "runbook": f"docs/runbooks/{name}.md" if builtin_file else f"{where}#{name}",
    }
    return Entry(id=name, **(defaults | values))


def _observation(node: Node) -> Observation:
    if not isinstance(node, Table):
        node.origin.fail("an observation is a mapping", "Give it when, weight and say.")
    keys = dict(node.entries)
    for name, value in node.entries:
        if name not in _OBSERVED:
            value.origin.fail(f"unknown key{did_you_mean(name, _OBSERVED)}", "Remove it.")
    missing = [key for key in _OBSERVED if key not in keys]
    if missing:
        node.origin.fail(f"the observation lacks {', '.join(missing)}", "Add them.")
    return Observation(
        condition_of(keys["when"]), number(keys["weight"], _MOST_WEIGHT), _sentence(keys["say"])
    )


def _items(node: Node) -> tuple[Node, ...]:
    if not isinstance(node, Items):
        found = "a text" if isinstance(node, Scalar) else "a mapping"
        node.origin.fail(f"expected a list, found {found}", "Begin each item with a dash.")
    return node.items
