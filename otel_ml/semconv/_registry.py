"""The registry's YAML files in, its definitions as value objects out, or why they are refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast, get_args

import yaml

from otel_ml.errors import ConfigError
from otel_ml.semconv._definitions import (
    Attribute,
    AttributeRef,
    Entity,
    EventDef,
    Group,
    Instrument,
    Level,
    Member,
    Metric,
    Registry,
)
from otel_ml.semconv._rules import violations

__all__ = ["HOME", "load"]

HOME: Final = Path(__file__).parent / "registry"

# What Weaver allows. A misspelt key would otherwise silently fall back to a default.
_COMMON: Final = frozenset({"brief", "note", "stability", "deprecated", "annotations"})
_KEYS: Final = {
    "attributes": _COMMON | {"key", "type", "examples"},
    "attribute_groups": _COMMON | {"id", "visibility", "attributes"},
    "entities": _COMMON | {"type", "identity", "description"},
    "metrics": _COMMON | {"name", "instrument", "unit", "attributes", "entity_associations"},
    "events": _COMMON | {"name", "attributes", "entity_associations"},
    "ref": _COMMON | {"ref", "requirement_level", "examples"},
    "member": _COMMON | {"id", "value"},
}
# The same safe loader in C, where PyYAML was built with it.
_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SECTIONS: Final = ("attributes", "attribute_groups", "entities", "metrics", "events")
_TYPES: Final = ("string", "int", "double", "boolean", "string[]", "int[]", "double[]", "boolean[]")
_FORMAT: Final = "definition/2"


_UPSTREAM: Final = {
    key: Attribute(key, "string", brief, examples=examples, upstream=True)
    for key, brief, examples in (
        ("error.type", "Class of error the operation ended with.", ("ValueError",)),
        ("service.name", "Logical name of the service.", ("scoring",)),
        ("service.namespace", "Namespace of the service.", ("credit",)),
        ("service.version", "Version of the service.", ("1.4.2",)),
        ("service.instance.id", "Identifier of the process.", ("0b8f0a3e-5d0c",)),
        ("deployment.environment.name", "Environment it is deployed in.", ("production",)),
    )
}


def load(home: Path = HOME) -> Registry:
    """Read the registry and refuse it where it breaks a rule.

    Parameters
    ----------
    home
        Folder with ``manifest.yaml`` and the definition files.

    Returns
    -------
    Registry
        All definitions, with references and groups resolved.

    Raises
    ------
    ConfigError
        A file is missing or malformed, a name is defined twice, a reference leads nowhere, or a
        name or unit breaks a rule. The message has one line for each file and name concerned.
    """
    manifest = _read(home / "manifest.yaml")
    files = [(p.name, _read(p)) for p in sorted(home.glob("*.yaml")) if p.name != "manifest.yaml"]
    raw = {section: list(_section(files, section)) for section in _SECTIONS}
    attributes = _index(_attribute(where, item) for where, item in raw["attributes"])
    known = {**_UPSTREAM, **attributes}
    groups: dict[str, Group] = {}
    for where, item in raw["attribute_groups"]:
        _add(groups, where, Group(**_signal(where, item, "id", known, {}), public=_public(item)))
    metrics: dict[str, Metric] = {}
    for where, item in raw["metrics"]:
        common = _signal(where, item, "name", known, groups)
        instrument, unit = _get(where, item, "instrument"), _get(where, item, "unit")
        if instrument not in get_args(Instrument):
            raise _error(where, f"instrument {instrument!r} is none of {get_args(Instrument)}")
        _add(metrics, where, Metric(**common, instrument=cast(Instrument, instrument), unit=unit))
    events: dict[str, EventDef] = {}
    for where, item in raw["events"]:
        common = _signal(where, item, "name", known, groups)
        own = common["annotations"]
        numbers = own.get("severity_numbers")
        if not numbers:
            raise _error(where, "annotations.otel_ml.severity_numbers is missing")
        attribute = own.get("severity_attribute")
        _add(
            events,
            where,
            EventDef(**common, severity_attribute=attribute, severity_numbers=numbers),
        )
    entities = _index(_entity(where, item, known) for where, item in raw["entities"])
    registry = Registry(
        _get("manifest.yaml", manifest, "schema_url"), known, metrics, events, groups, entities
    )
    if broken := violations(registry):
        raise ConfigError(
            "the registry breaks its rules:\n  " + "\n  ".join(broken),
            remedy=f"correct the names under {home.name}/.",
        )
    return registry


def _error(where: str, what: str) -> ConfigError:
    return ConfigError(f"registry: {where}: {what}", remedy="correct the definition in that file.")


def _read(path: Path) -> dict[str, Any]:
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, yaml.YAMLError) as error:
        raise _error(path.name, str(error)) from error
    if not isinstance(data, dict):
        raise _error(path.name, "the file is not a mapping")
    return data


def _section(
    files: list[tuple[str, dict[str, Any]]], section: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    for file, data in files:
        if data.get("file_format") != _FORMAT:
            raise _error(file, f"file_format is not {_FORMAT!r}")
        if unknown := set(data) - {"file_format", *_SECTIONS}:
            raise _error(file, f"unknown section {min(unknown)!r}")
        for number, item in enumerate(data.get(section, [])):
            name = next((item[k] for k in ("key", "name", "id", "type") if k in item), None)
            where = f"{file}: {section}[{number}] {name or ''}".rstrip()
            _only(where, item, section)
            yield where, item


def _get(where: str, item: Mapping[str, Any], key: str) -> str:
    value = item.get(key)
    if not isinstance(value, str) or not value:
        raise _error(where, f"{key!r} is missing or not a string")
    return value


def _only(where: str, item: Mapping[str, Any], kind: str) -> None:
    if unknown := set(item) - _KEYS[kind]:
        raise _error(where, f"unknown key {min(unknown)!r}; known are {sorted(_KEYS[kind])}")


def _add(index: dict[str, Any], where: str, value: Group | Metric | EventDef) -> None:
    if value.name in index:
        raise _error(where, "the name is defined twice")
    index[value.name] = value


def _index(items: Iterator[tuple[str, str, Any]]) -> dict[str, Any]:
    index: dict[str, Any] = {}
    for where, name, value in items:
        if name in index or name in _UPSTREAM:
            raise _error(where, "the name is defined twice")
        index[name] = value
    return index


def _own(item: Mapping[str, Any]) -> dict[str, Any]:
    return dict((item.get("annotations") or {}).get("otel_ml") or {})


def _attribute(where: str, item: dict[str, Any]) -> tuple[str, str, Attribute]:
    key, type_ = _get(where, item, "key"), item.get("type")
    members: tuple[Member, ...] = ()
    _get(where, item, "stability")
    if isinstance(type_, dict):
        members = tuple(_member(where, member) for member in type_.get("members", ()))
        type_ = "string"
    elif type_ not in _TYPES:
        raise _error(where, f"type {type_!r} is none of {_TYPES}")
    own = _own(item)
    examples = tuple(item.get("examples", ()))
    text = (_get(where, item, "brief"), item.get("note", ""))
    is_open = bool(own.get("open"))
    return where, key, Attribute(key, type_, *text, examples, members, is_open, False, own)


def _member(where: str, item: dict[str, Any]) -> Member:
    _only(f"{where}: member", item, "member")
    _get(where, item, "stability")
    return Member(_get(where, item, "id"), _get(where, item, "value"), _get(where, item, "brief"))


def _entity(
    where: str, item: dict[str, Any], known: Mapping[str, Attribute]
) -> tuple[str, str, Entity]:
    keys = {
        part: tuple(ref.attribute.key for ref in _refs(where, item.get(part, []), known, {}))
        for part in ("identity", "description")
    }
    name = _get(where, item, "type")
    return where, name, Entity(name, _get(where, item, "brief"), item.get("note", ""), **keys)


def _public(item: Mapping[str, Any]) -> bool:
    return item.get("visibility") == "public"


def _signal(
    where: str,
    item: dict[str, Any],
    name: str,
    known: Mapping[str, Attribute],
    groups: Mapping[str, Group],
) -> dict[str, Any]:
    if name == "name" or _public(item):
        _get(where, item, "stability")
        _get(where, item, "brief")
    refs = _refs(where, item.get("attributes", []), known, groups)
    return {
        "name": _get(where, item, name),
        "area": where.partition(".")[0],
        "brief": item.get("brief", ""),
        "note": item.get("note", ""),
        "attributes": refs,
        "annotations": _own(item),
    }


def _refs(
    where: str,
    items: list[dict[str, Any]],
    known: Mapping[str, Attribute],
    groups: Mapping[str, Group],
) -> tuple[AttributeRef, ...]:
    refs: list[AttributeRef] = []
    for item in items:
        if "ref_group" in item:
            if item["ref_group"] not in groups:
                raise _error(where, f"ref_group {item['ref_group']!r} is not defined")
            refs.extend(groups[item["ref_group"]].attributes)
            continue
        key = _get(where, item, "ref")
        _only(f"{where}: ref {key}", item, "ref")
        if key not in known:
            raise _error(where, f"ref {key!r} is not defined")
        level, condition = item.get("requirement_level", "recommended"), ""
        if isinstance(level, dict):
            level, condition = next(iter(level.items()))
        if level not in get_args(Level):
            raise _error(
                where, f"requirement_level {level!r} of {key!r} is none of {get_args(Level)}"
            )
        refs.append(AttributeRef(known[key], level, condition, item.get("note", "")))
    keys = [ref.attribute.key for ref in refs]
    if repeated := {key for key in keys if keys.count(key) > 1}:
        raise _error(where, f"attribute {min(repeated)!r} is referred to twice")
    return tuple(refs)
