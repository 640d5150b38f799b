"""A name, the attributes or a point of captured telemetry in, what is wrong with it out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from otel_ml.semconv._definitions import AttributeRef, Metric

__all__ = ["Finding", "Level", "SignalType", "carried", "point_faults", "unknown"]

Level: TypeAlias = Literal["violation", "improvement"]
SignalType: TypeAlias = Literal["metric", "event", "span", "resource", "scope"]

_TYPES: Final = {
    "string_value": "string",
    "int_value": "int",
    "double_value": "double",
    "bool_value": "boolean",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One way in which telemetry departs from the registry.

    Parameters
    ----------
    level
        ``violation``: it is wrong. ``improvement``: it works, and should be different.
    id
        Identifier of the check.
    signal_type, signal_name
        What it was found on.
    context
        Attribute, value or part of the point concerned.
    message
        One sentence for people.
    """

    level: Level
    id: str
    signal_type: SignalType
    signal_name: str
    context: str
    message: str

    def __str__(self) -> str:
        return f"{self.level} {self.id}: {self.signal_type} {self.signal_name}: {self.message}"


def unknown(kind: SignalType, name: str, id_: str, known: Iterable[str]) -> Iterator[Finding]:
    """Name a signal the registry does not have, and say so where the name looks composed."""
    yield Finding("violation", id_, kind, name, name, "the name is not in the registry")
    parent = next((k for k in known if name.startswith(f"{k}.") or name.startswith(f"{k}_")), None)
    if parent is not None or any(character.isdigit() for character in name):
        message = "the name has content that varies; that belongs in an attribute"
        yield Finding("violation", "dynamic_name", kind, name, parent or name, message)


def carried(
    kind: SignalType, name: str, refs: Iterable[AttributeRef], attributes: Any
) -> Iterator[Finding]:
    """Compare the attributes a point, event or span carries with those it may and must carry."""

    def finding(id_: str, key: str, message: str) -> Finding:
        return Finding("violation", id_, kind, name, key, message)

    known = {ref.attribute.key: ref for ref in refs}
    seen: set[str] = set()
    for attribute in attributes:
        key = attribute.key
        if key in seen:
            yield finding("duplicate_attribute", key, f"attribute {key} is there twice")
        seen.add(key)
        ref = known.get(key)
        if ref is None:
            yield finding("missing_attribute", key, f"attribute {key} is not defined for it")
            continue
        type_ = _type(attribute.value)
        if type_ != ref.attribute.type and not (
            type_ == "[]" and ref.attribute.type.endswith("[]")
        ):
            message = f"attribute {key} is of type {type_}, not {ref.attribute.type}"
            yield finding("type_mismatch", key, message)
        elif ref.attribute.members and not ref.attribute.open:
            value = attribute.value.string_value
            if value not in {member.value for member in ref.attribute.members}:
                message = f"attribute {key} has the value {value!r}, which is not a member"
                yield finding("undefined_enum_variant", key, message)
    for key, ref in known.items():
        if ref.level == "required" and key not in seen:
            message = f"required attribute {key} is missing"
            yield finding("required_attribute_not_present", key, message)


def _type(value: Any) -> str:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        types = {_type(element) for element in value.array_value.values}
        return f"{'|'.join(sorted(types))}[]"
    return _TYPES.get(kind, str(kind))


def point_faults(kind: str, point: Any, definition: Metric) -> Iterator[tuple[str, str]]:
    """Pairs of identifier and message for what no point of a sound metric has."""
    if not point.time_unix_nano:
        yield "missing_timestamp", "a point has no time"
    if kind != "gauge" and not 0 < point.start_time_unix_nano <= point.time_unix_nano:
        yield "invalid_start_time", "a cumulative point has no start time, or one after its end"
    if kind in ("sum", "gauge"):
        value = getattr(point, point.WhichOneof("value") or "as_int")
        if not math.isfinite(value):
            yield "invalid_value", f"the value {value} is not finite"
        elif definition.instrument == "counter" and value < 0:
            yield "invalid_value", f"a counter has the value {value}"
    elif kind == "histogram":
        bounds, counts = list(point.explicit_bounds), list(point.bucket_counts)
        if len(counts) != len(bounds) + 1:
            yield "invalid_buckets", f"{len(counts)} counts do not fit {len(bounds)} bounds"
        if sum(counts) != point.count:
            yield "invalid_buckets", "the counts of the buckets do not add up to the count"
        if any(not math.isfinite(b) for b in bounds) or bounds != sorted(set(bounds)):
            yield "invalid_buckets", "the bounds are not finite and increasing"
