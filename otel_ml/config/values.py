"""A tree of scalars and a settings class in, validated settings out."""

from __future__ import annotations

import dataclasses
import os
import re
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from otel_ml.config.option import Option
from otel_ml.config.tree import Items, Node, Origin, Scalar, Table
from otel_ml.errors import ConfigError

__all__ = ["build", "did_you_mean", "options", "value_of"]

_TRUE: Final = frozenset({"true", "yes", "on"})
_FALSE: Final = frozenset({"false", "no", "off"})
_NULL: Final = frozenset({"", "~", "null"})
_INTEGER: Final = re.compile(r"[-+]?[0-9][0-9_]{0,39}", re.ASCII)
_NUMBER: Final = re.compile(
    r"[-+]?(?:[0-9][0-9_]{0,39}\.?[0-9]{0,39}|\.[0-9]{1,39})(?:e[-+]?[0-9]{1,3})?",
    re.ASCII | re.IGNORECASE,
)


def options(cls: type[Any]) -> dict[str, tuple[Any, Option]]:
    """Return type and option of every field of a settings class that can be configured."""
    hints = typing.get_type_hints(cls)
    fields = dataclasses.fields(cls)
    return {f.name: (hints[f.name], f.metadata["option"]) for f in fields if f.metadata}


def build(cls: type[Any], node: Node, base: Path) -> Any:
    """Make an instance of a settings class.

    Parameters
    ----------
    cls
        A dataclass whose fields carry an `Option`.
    node
        A table of its keys, or a null for the defaults.
    base
        Folder against which relative paths are resolved.

    Returns
    -------
    object
        The instance.

    Raises
    ------
    ConfigError
        For an unknown key, a wrong type, or a value out of range.
    """
    if not isinstance(node, Table):
        if _is_null(node):
            return cls()
        node.origin.fail(f"expected keys and values, found {_shown(node)}", "Indent keys below it.")
    known = options(cls)
    values: dict[str, Any] = {}
    for name, child in node.entries:
        if name not in known:
            child.origin.fail(
                f"unknown key{did_you_mean(name, known)}", f"Known are {', '.join(known)}."
            )
        hint, option = known[name]
        values[name] = value_of(hint, option, child, base)
    return cls(**values)


def value_of(hint: Any, option: Option, node: Node, base: Path) -> Any:
    """Read one value as the type of its field says; see `build`."""
    if isinstance(hint, types.UnionType) or get_origin(hint) is typing.Union:
        if _is_null(node):
            return None
        hint = next(part for part in get_args(hint) if part is not type(None))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, node, base)
    if get_origin(hint) is tuple:
        return _several(get_args(hint)[0], option, node, base)
    if get_origin(hint) is Literal:
        return _choice(get_args(hint), node)
    text = _text(node, option)
    if hint is bool:
        return _boolean(text, node, option)
    if hint in (int, float):
        return _number(hint, text, node, option)
    if option.check is not None:
        _checked(option, text, node.origin)
    return _path(text, base, node.origin) if hint is Path else text


def _is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.plain and node.text.lower() in _NULL


def _several(hint: Any, option: Option, node: Node, base: Path) -> tuple[Any, ...]:
    if _is_null(node):
        return ()
    if not isinstance(node, Items):
        node.origin.fail(f"expected a list, found {_shown(node)}", "Write it as [a, b].")
    return tuple(value_of(hint, option, child, base) for child in node.items)


def _choice(choices: tuple[str, ...], node: Node) -> str:
    if isinstance(node, Scalar) and node.text in choices:
        return node.text
    node.origin.fail(
        f"expected one of {', '.join(choices)}, found {_shown(node)}",
        "Use one of them, or omit the key.",
    )


def _text(node: Node, option: Option) -> str:
    if isinstance(node, Scalar):
        if node.plain and node.text.lower() in _NULL:
            node.origin.fail("expected a value, found none", "Give one, or omit the key.")
        return node.text
    node.origin.fail(f"expected a single value, found {_shown(node, option)}", "Give one value.")


def _boolean(text: str, node: Node, option: Option) -> bool:
    word = text.lower()
    if not (isinstance(node, Scalar) and node.plain and word in _TRUE | _FALSE):
        node.origin.fail(f"expected true or false, found {_shown(node, option)}", "Write true.")
    return word in _TRUE


def _number(hint: type[int] | type[float], text: str, node: Node, option: Option) -> int | float:
    pattern = _INTEGER if hint is int else _NUMBER
    kind = "a whole number" if hint is int else "a number"
    accepted = _range(kind, option)
    if not (isinstance(node, Scalar) and node.plain and pattern.fullmatch(text)):
        quoted = isinstance(node, Scalar) and not node.plain and pattern.fullmatch(text)
        remedy = "Remove the quotes." if quoted else f"Give {accepted}."
        node.origin.fail(f"expected {accepted}, found {_shown(node, option)}", remedy)
    number = hint(text.replace("_", ""))
    low, high, above = option.minimum, option.maximum, option.above
    if (
        (low is not None and number < low)
        or (high is not None and number > high)
        or (above is not None and number <= above)
    ):
        node.origin.fail(f"expected {accepted}, found {_shown(node, option)}", f"Give {accepted}.")
    return number


def _range(kind: str, option: Option) -> str:
    if option.above is not None:
        return f"{kind} above {option.above:g} and up to {option.maximum:.15g}"
    return f"{kind} between {option.minimum:.15g} and {option.maximum:.15g}"


def _checked(option: Option, text: str, origin: Origin) -> None:
    assert option.check is not None
    try:
        option.check(text)
    except ConfigError as error:
        origin.fail(error.message, error.remedy)


def _path(text: str, base: Path, origin: Origin) -> Path:
    try:
        return Path(os.path.abspath(base / Path(text).expanduser()))
    except (OSError, RuntimeError) as error:
        origin.fail(f"the path cannot be resolved: {error}", "Write an absolute path.")


def _shown(node: Node, option: Option | None = None) -> str:
    if isinstance(node, Table):
        return "a mapping"
    if isinstance(node, Items):
        return "a list"
    if option is not None and option.secret:
        return "a text"
    text = node.text if len(node.text) <= 60 else f"{node.text[:57]}..."
    return text if node.plain and text else repr(text)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return what to add to a message about an unknown name: nothing where none is near."""
    import difflib

    close = difflib.get_close_matches(name[:100], list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""
