"""What an incident is made of: a likely cause, the harm, a stream that belongs to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Cause", "Harm", "Member"]


@dataclass(frozen=True, slots=True)
class Cause:
    """A likely cause.

    Parameters
    ----------
    id
        Its id in the playbook.
    title
        Its name for people.
    score
        How well the facts fit it, 0 to 1.
    supporting, contradicting
        Facts for and against it, as sentences.
    next_step
        What to do.
    runbook
        Where to read on.
    """

    id: str
    title: str
    score: float
    supporting: tuple[str, ...]
    contradicting: tuple[str, ...]
    next_step: str
    runbook: str

    def to_json(self) -> dict[str, Any]:
        """Return the cause in the shape of the command line's JSON."""
        return {
            "id": self.id,
            "title": self.title,
            "score": round(self.score, 3),
            "for": list(self.supporting),
            "against": list(self.contradicting),
            "next": self.next_step,
            "runbook": self.runbook,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Cause:
        """Return the cause that `to_json` wrote."""
        return cls(
            data["id"],
            data["title"],
            data["score"],
            tuple(data["for"]),
            tuple(data["against"]),
            data["next"],
            data["runbook"],
        )


@dataclass(frozen=True, slots=True)
class Harm:
    """How much a change hurts.

    Parameters
    ----------
    kind
        In what it is measured: ``error_rate``, ``score``, ``slow_calls`` or ``unknown``.
    value
        Change of that quantity, in its own unit; None where it is not known.
    text
        The same as a sentence.
    """

    kind: Literal[
        "error_rate",
        "error_size",
        "score",
        "defective_rows",
        "slow_calls",
        "failed_calls",
        "unknown",
    ]
    value: float | None
    text: str

    def to_json(self) -> dict[str, Any]:
        """Return the harm in the shape of the command line's JSON."""
        return {"kind": self.kind, "value": self.value, "text": self.text}


@dataclass(frozen=True, slots=True)
class Member:
    """A stream that belongs to an incident.

    Parameters
    ----------
    stream
        Its position in the detector.
    monitor, target, defect
        What it watches.
    share
        Its share of the model's evidence when it joined, 0 to 1.
    joined_row
        Rows seen when it joined.
    effect
        What changed, as facts: law before and after, rates, means.
    text
        The effect as a sentence.
    tentative
        Whether it joined before its own evidence was in, because its shift explains others. It
        wakes nobody, and leaves again if later rows do not say the same.
    """

    stream: int
    monitor: str
    target: str
    defect: str
    share: float
    joined_row: int
    effect: Mapping[str, Any]
    text: str
    tentative: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the member in the shape of the command line's JSON."""
        return {
            "monitor": self.monitor,
            "target": self.target,
            "defect": self.defect,
            "share": round(self.share, 4),
            "joined_row": self.joined_row,
            "effect": dict(self.effect),
            "text": self.text,
            "tentative": self.tentative,
        }

    @classmethod
    def from_json(
        cls, data: Mapping[str, Any], streams: Mapping[tuple[str, str, str], int]
    ) -> Member:
        """Return the member that `to_json` wrote; `streams` as for `Incident.from_json`."""
        key = (data["monitor"], data["target"], data["defect"])
        held = (data["share"], data["joined_row"], data["effect"], data["text"])
        return cls(streams[key], *key, *held, bool(data.get("tentative", False)))
