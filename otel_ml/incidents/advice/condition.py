"""Facts in, whether a condition on them holds out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["RELATIONS", "Condition"]

RELATIONS: Final = ("is", "in", "at_least", "at_most", "known")


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition: one fact compared with a value, or several conditions joined.

    Parameters
    ----------
    fact
        Name of the fact; empty where conditions are joined.
    relation
        One of `RELATIONS`, or ``all`` or ``any`` of `parts`.
    value
        What the fact is compared with.
    parts
        The conditions joined.
    """

    fact: str
    relation: str
    value: Any = None
    parts: tuple[Condition, ...] = ()

    def holds(self, facts: Mapping[str, Any]) -> bool:
        """Tell whether the condition holds; one about a fact not known does not.

        Parameters
        ----------
        facts
            Facts by name.
        """
        if self.relation == "all":
            return all(part.holds(facts) for part in self.parts)
        if self.relation == "any":
            return any(part.holds(facts) for part in self.parts)
        found = facts.get(self.fact)
        if self.relation == "known":
            return (found is not None) is bool(self.value)
        if found is None:
            return False
        if self.relation == "is":
            return bool(found == self.value)
        if self.relation == "in":
            return found in self.value
        if isinstance(found, str):
            return False
        return bool(found >= self.value if self.relation == "at_least" else found <= self.value)

    def facts(self) -> frozenset[str]:
        """Return the names of all facts asked about."""
        own = frozenset({self.fact}) if self.fact else frozenset()
        return own.union(*(part.facts() for part in self.parts))
