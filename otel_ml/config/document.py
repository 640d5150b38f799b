"""YAML bytes in, a tree of scalars that know their line and key path out.

The text is read event by event and each bound is checked before anything is built, so aliases,
merge keys, depth and size can never cost more than the bytes they are written in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from otel_ml.config.tree import (
    MAX_DEPTH,
    MAX_NODES,
    Items,
    Node,
    Origin,
    Scalar,
    Table,
    checked_scalar,
    clip,
)
from otel_ml.errors import ConfigError

__all__ = ["MAX_BYTES", "from_yaml"]

MAX_BYTES: Final = 1 << 20

_REFERENCE: Final = re.compile(
    r"\$\$|\$\{(?:env:)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<rest>:-[^}]*)?\}|\$\{"
)


class _Frame:
    """A list or mapping that is still open."""

    __slots__ = ("children", "key", "keys", "keys_seen", "origin")

    def __init__(self, origin: Origin, keys: list[str] | None) -> None:
        self.origin = origin
        self.keys = keys
        self.keys_seen: set[str] = set()
        self.key: str | None = None
        self.children: list[Node] = []

    def place(self, line: int) -> Origin:
        """Return the origin of the next child."""
        if self.keys is None:
            return self.origin.item(len(self.children), line)
        return self.origin.key("?" if self.key is None else self.key, line)

    def add_key(self, name: str, line: int) -> None:
        where = self.origin.key(clip(name), line)
        checked_scalar(name, True, where)
        if name == "<<":
            where.fail("merge keys are not accepted", "Write the keys out.")
        if name in self.keys_seen:
            where.fail("the key is given twice", "Keep one of the two.")
        self.keys_seen.add(name)
        self.key = name

    def add(self, node: Node) -> None:
        if self.keys is not None and self.key is not None:
            self.keys.append(self.key)
            self.key = None
        self.children.append(node)

    def close(self) -> Node:
        if self.keys is None:
            return Items(tuple(self.children), self.origin)
        return Table(tuple(zip(self.keys, self.children, strict=True)), self.origin)


def from_yaml(data: bytes, source: str, env: Mapping[str, str]) -> Node | None:
    """Read one YAML document.

    Parameters
    ----------
    data
        The file's bytes: UTF-8, at most `MAX_BYTES`.
    source
        Name for messages.
    env
        What ``${env:NAME}`` and ``${env:NAME:-default}`` in values stand for.

    Returns
    -------
    Node or None
        The root, or None where the file holds nothing.

    Raises
    ------
    ConfigError
        Where the text is not YAML, or uses anchors, aliases, merge keys, tags, a second document,
        a key twice, a missing variable, or more than `MAX_BYTES`, `MAX_DEPTH` or `MAX_NODES`.
    """
    top = Origin(source)
    if len(data) > MAX_BYTES:
        top.fail(f"the file is larger than {MAX_BYTES} bytes", "Name the right file.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        Origin(source, line=line).fail("the file is not UTF-8", "Save it as UTF-8.")
    import yaml

    try:
        return _build(yaml.parse(text, Loader=yaml.SafeLoader), top, env)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Origin(source, line=mark.line + 1 if mark else None)
        where.fail(f"not valid YAML: {error.problem or error.context}", "Correct the syntax.")
    except ConfigError:
        raise
    except Exception as error:  # PyYAML lets bare ValueErrors through, as for "\UFFFFFFFF"
        top.fail(f"not valid YAML: {clip(str(error))}", "Correct the syntax.")


def _build(events: Any, top: Origin, env: Mapping[str, str]) -> Node | None:
    import yaml

    stack: list[_Frame] = []
    root: Node | None = None
    nodes = documents = 0
    for event in events:
        line = event.start_mark.line + 1 if event.start_mark else 1
        here = stack[-1].place(line) if stack else Origin(top.source, line=line)
        node: Node | None = None
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                here.fail("a second document begins here", "Keep one document per file.")
        elif isinstance(event, yaml.AliasEvent):
            here.fail("aliases are not accepted", "Write the value out.")
        elif isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)):
            nodes += 1
            if nodes > MAX_NODES:
                here.fail(f"more than {MAX_NODES} values", "Name the right file.")
            if event.anchor is not None:
                here.fail("anchors are not accepted", "Write the value out where it is needed.")
            if event.tag is not None:
                here.fail(f"the tag {clip(event.tag)!r} is not accepted", "Remove the tag.")
            is_key = bool(stack) and stack[-1].keys is not None and stack[-1].key is None
            if isinstance(event, yaml.ScalarEvent):
                if is_key:
                    stack[-1].add_key(event.value, line)
                    continue
                node = _scalar(event.value, event.style is None, here, env)
            else:
                if is_key:
                    here.fail("a key is a list or a mapping", "Use a text as the key.")
                if len(stack) >= MAX_DEPTH:
                    here.fail(f"nested deeper than {MAX_DEPTH} levels", "Flatten it.")
                keys: list[str] | None = [] if isinstance(event, yaml.MappingStartEvent) else None
                stack.append(_Frame(here, keys))
        elif isinstance(event, yaml.CollectionEndEvent):
            node = stack.pop().close()
        if node is not None:
            if stack:
                stack[-1].add(node)
            else:
                root = node
    return root


def _scalar(text: str, plain: bool, here: Origin, env: Mapping[str, str]) -> Scalar:
    def value_of(match: re.Match[str]) -> str:
        if match.group() == "$$":
            return "$"
        name, rest = match.group("name"), match.group("rest")
        if name is None:
            here.fail(
                "'${' does not begin a variable",
                "Write ${env:NAME} or ${env:NAME:-default}; $$ stands for a dollar sign.",
            )
        # As everywhere in OpenTelemetry, an empty variable counts as one that is not set.
        value = env.get(name) or (None if rest is None else rest[2:])
        if value is None:
            here.fail(
                f"the environment variable {name} is not set",
                f"Set it, or give a default: ${{env:{name}:-default}}.",
            )
        return value

    return checked_scalar(_REFERENCE.sub(value_of, text), plain, here)
