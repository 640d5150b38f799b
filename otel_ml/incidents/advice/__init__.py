"""The facts of an incident in, its likely causes with evidence and next step out.

The playbook is data: each cause has conditions it requires, and observations that speak for or
against it, each with a weight and a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp
from typing import Any

from otel_ml.incidents.advice.facts import FACTS, Fact, show
from otel_ml.incidents.advice.gather import Rollout, Setting, facts_of
from otel_ml.incidents.advice.playbook import Entry, Playbook, builtin, load
from otel_ml.incidents.advice.since import Since
from otel_ml.incidents.incident import Cause

__all__ = [
    "FACTS",
    "Entry",
    "Fact",
    "Playbook",
    "Rollout",
    "Setting",
    "Since",
    "builtin",
    "facts_of",
    "load",
    "rank",
]


def rank(facts: Mapping[str, Any], playbook: Playbook | None = None) -> tuple[Cause, ...]:
    """Return the causes whose requirements hold, the likeliest first.

    Parameters
    ----------
    facts
        Facts of the incident, named as in `FACTS`.
    playbook
        Causes to choose from; the built-in ones if left out.
    """
    shown = _Shown(facts)
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
                _say([o.say for o in seen if o.weight > 0], shown),
                _say([o.say for o in seen if o.weight < 0], shown),
                entry.next_step.format_map(shown),
                entry.runbook,
            )
        )
    return tuple(sorted(causes, key=lambda c: (-c.score, c.id)))


def _say(sentences: Sequence[str], shown: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(s.format_map(shown) for s in sentences)


class _Shown(dict[str, str]):
    """Facts as they are shown in sentences; one that is not known is said to be so."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        super().__init__({name: show(name, value, facts) for name, value in facts.items()})

    def __missing__(self, key: str) -> str:
        return "unknown"
