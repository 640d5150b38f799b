"""What a definition in the registry is: the value objects the loader returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = [
    "Attribute",
    "AttributeRef",
    "Entity",
    "EventDef",
    "Group",
    "Instrument",
    "Level",
    "Member",
    "Metric",
    "Registry",
    "Signal",
]

Instrument: TypeAlias = Literal["counter", "updowncounter", "gauge", "histogram"]
Level: TypeAlias = Literal["required", "conditionally_required", "recommended", "opt_in"]


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an enum, under the name its constant gets and with the value that is sent."""

    id: str
    value: str
    brief: str


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute.

    Parameters
    ----------
    key
        Its name.
    type
        One of the types of the attributes of OpenTelemetry; ``string`` for an enum.
    brief, note
        One sentence, and more of them.
    examples
        Values it may have.
    members
        Members of the enum, or nothing where it is none.
    open
        Whether an enum allows further values.
    upstream
        Whether OpenTelemetry defines it and this registry only refers to it.
    annotations
        This project's own annotations.
    """

    key: str
    type: str
    brief: str
    note: str = ""
    examples: tuple[object, ...] = ()
    members: tuple[Member, ...] = ()
    open: bool = False
    upstream: bool = False
    annotations: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AttributeRef:
    """An attribute as one signal uses it: whether it must be there, and under which condition."""

    attribute: Attribute
    level: Level
    condition: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Signal:
    """What metrics, events and attribute groups have in common; groups of attributes are resolved.

    Parameters
    ----------
    name
        Its name.
    area
        Stem of the file that defines it.
    brief, note
        One sentence, and more of them.
    attributes
        What it may carry.
    annotations
        This project's own annotations.
    """

    name: str
    area: str
    brief: str
    note: str
    attributes: tuple[AttributeRef, ...]
    annotations: Mapping[str, Any]

    def at_level(self, *levels: Level) -> tuple[str, ...]:
        """Keys of the attributes at the given requirement levels, in order."""
        return tuple(ref.attribute.key for ref in self.attributes if ref.level in levels)

    def names(self) -> tuple[str, ...]:
        """Keys of all attributes, in order."""
        return tuple(ref.attribute.key for ref in self.attributes)


@dataclass(frozen=True, slots=True)
class Metric(Signal):
    """A metric; its note says which question it answers."""

    instrument: Instrument
    unit: str


@dataclass(frozen=True, slots=True)
class EventDef(Signal):
    """An event.

    Parameters
    ----------
    severity_attribute
        Attribute that decides the severity number, or None where there is one number only.
    severity_numbers
        Number by value of that attribute.
    """

    severity_attribute: str | None
    severity_numbers: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Group(Signal):
    """A group of attributes; a public one is documented, an internal one only saves repetition."""

    public: bool


@dataclass(frozen=True, slots=True)
class Entity:
    """What the telemetry is about."""

    type: str
    brief: str
    note: str
    identity: tuple[str, ...]
    description: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Registry:
    """All definitions, each by its name and in the order of the files."""

    schema_url: str
    attributes: Mapping[str, Attribute]
    metrics: Mapping[str, Metric]
    events: Mapping[str, EventDef]
    groups: Mapping[str, Group]
    entities: Mapping[str, Entity]
