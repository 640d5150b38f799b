"""The facts of an incident in, its likely causes with evidence and next step out.

The playbook is data: each cause has conditions it requires, and observations that speak for or
against it, each with a weight and a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import exp
from typing import Any

from otel_ml.errors import ConfigError
from otel_ml.incidents.incident import Cause

__all__ = ["Entry", "Playbook", "builtin", "rank"]


@dataclass(frozen=True, slots=True)
class _Test:
    fact: str
    relation: str
    value: Any

    def holds(self, facts: Mapping[str, Any]) -> bool:
        found = facts.get(self.fact)
        if self.relation == "known":
            return (found is not None) is bool(self.value)
        if found is None:
            return False
        if self.relation == "is":
            return bool(found == self.value)
        if self.relation == "in":
            return found in self.value
        if self.relation == "at_least":
            return bool(found >= self.value)
        return bool(found <= self.value)


@dataclass(frozen=True, slots=True)
class _Observation:
    test: _Test
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
    """

    id: str
    title: str
    meaning: str
    impact: str
    diagnosis: tuple[str, ...]
    prior: float
    requires: tuple[_Test, ...]
    observations: tuple[_Observation, ...]
    next_step: str


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
    def parse(cls, text: str, where: str) -> Playbook:
        """Read a playbook from YAML.

        Raises
        ------
        ConfigError
            If an entry lacks a key or has an unknown relation; names the entry.
        """
        import yaml

        entries = []
        for i, item in enumerate(yaml.safe_load(text)["causes"]):
            try:
                entries.append(
                    Entry(
                        item["id"],
                        item["title"],
                        item["meaning"],
                        item["impact"],
                        tuple(item["diagnosis"]),
                        float(item.get("prior", 0.0)),
                        tuple(_test(t) for t in item["requires"]),
                        tuple(
                            _Observation(_test(o["when"]), float(o["weight"]), o["say"])
                            for o in item.get("observations", ())
                        ),
                        item["next"],
                    )
                )
            except (KeyError, TypeError, ValueError) as error:
                raise ConfigError(
                    f"{where}: causes[{i}] ({item.get('id', 'without id')}): {error}",
                    remedy="give every cause the keys of those in the built-in playbook",
                ) from error
        return cls(tuple(entries))


@cache
def builtin() -> Playbook:
    """Return the playbook that comes with the package."""
    text = files(__package__).joinpath("playbook.yaml").read_text(encoding="utf-8")
    return Playbook.parse(text, "playbook.yaml")


def rank(facts: Mapping[str, Any], playbook: Playbook | None = None) -> tuple[Cause, ...]:
    """Return the causes whose requirements hold, the likeliest first.

    Parameters
    ----------
    facts
        Facts of the incident; names are those of the playbook.
    playbook
        Causes to choose from; the built-in ones if left out.
    """
    causes = []
    for entry in (playbook or builtin()).entries:
        if not all(test.holds(facts) for test in entry.requires):
            continue
        seen = [o for o in entry.observations if o.test.holds(facts)]
        weight = entry.prior + sum(o.weight for o in seen)
        causes.append(
            Cause(
                entry.id,
                entry.title,
                1 / (1 + exp(-weight)),
                _say([o.say for o in seen if o.weight > 0], facts),
                _say([o.say for o in seen if o.weight < 0], facts),
                entry.next_step.format_map(_Shown(facts)),
                f"docs/runbooks/{entry.id}.md",
            )
        )
    return tuple(sorted(causes, key=lambda c: (-c.score, c.id)))


def _say(sentences: Sequence[str], facts: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(s.format_map(_Shown(facts)) for s in sentences)


_SHARES = frozenset({"total_variation", "top_before", "top_after", "scaled_share"})


class _Shown(dict[str, Any]):
    """Facts as they are shown in sentences; one that is not known is said to be so."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        shares = _SHARES | ({"before", "after"} if facts.get("rate") else set())
        super().__init__(
            {
                k: (f"{v:.1%}" if k in shares else f"{v:.4g}") if isinstance(v, float) else str(v)
                for k, v in facts.items()
            }
        )

    def __missing__(self, key: str) -> str:
        return "unknown"


def _test(data: Mapping[str, Any]) -> _Test:
    fact = data["fact"]
    relations = [k for k in data if k != "fact"]
    if len(relations) != 1 or relations[0] not in {"is", "in", "at_least", "at_most", "known"}:
        raise ValueError(f"{dict(data)}: one of is, in, at_least, at_most, known is needed")
    return _Test(fact, relations[0], data[relations[0]])
