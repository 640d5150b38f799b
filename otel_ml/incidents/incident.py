"""The value objects of incidents: what changed, since when, for whom, how bad it is, what next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from otel_ml.types import Severity

__all__ = ["Cause", "Change", "Harm", "Incident", "Member"]


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

    kind: Literal["error_rate", "score", "defective_rows", "slow_calls", "failed_calls", "unknown"]
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
    """

    stream: int
    monitor: str
    target: str
    defect: str
    share: float
    joined_row: int
    effect: Mapping[str, Any]
    text: str

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
        }


@dataclass
class Incident:
    """One thing that went wrong, from its opening to its end.

    Parameters
    ----------
    id
        The same in every process that sees the same change.
    opened_row, opened_at
        Rows seen, and seconds since the Unix epoch, when it opened.
    evidence_log10
        The model's evidence when it opened.
    change_row, change_row_interval
        Where the change most likely happened, in rows.
    members
        Streams that belong to it; the first is the culprit.
    causes
        Likely causes, the likeliest first.
    severity
        How urgent it is.
    paged
        Whether somebody should be woken.
    harm
        How much it hurts.
    updated_row, closed_row, closed_at
        Later moments of its life.
    """

    id: str
    opened_row: int
    opened_at: float
    evidence_log10: float
    change_row: int
    change_row_interval: tuple[int, int]
    members: list[Member] = field(default_factory=list)
    causes: tuple[Cause, ...] = ()
    severity: Severity = "warning"
    paged: bool = False
    harm: Harm = field(default_factory=lambda: Harm("unknown", None, "not known yet"))
    updated_row: int = 0
    closed_row: int | None = None
    closed_at: float | None = None

    @property
    def culprit(self) -> Member:
        """The member that explains most of the evidence."""
        return self.members[0]

    @property
    def cause(self) -> str:
        """Id of the likeliest cause."""
        return self.causes[0].id if self.causes else "unknown"

    def copy(self) -> Incident:
        """Return the incident as it is now, untouched by what comes."""
        return replace(self, members=list(self.members))

    def to_json(self) -> dict[str, Any]:
        """Return the incident in the shape of the command line's JSON."""
        return {
            "id": self.id,
            "opened_row": self.opened_row,
            "opened_at": self.opened_at,
            "updated_row": self.updated_row,
            "closed_row": self.closed_row,
            "closed_at": self.closed_at,
            "paged": self.paged,
            "severity": self.severity,
            "evidence_log10": round(self.evidence_log10, 3),
            "change_row": self.change_row,
            "change_row_interval": list(self.change_row_interval),
            "harm": self.harm.to_json(),
            "members": [m.to_json() for m in self.members],
            "causes": [c.to_json() for c in self.causes],
        }

    @classmethod
    def from_json(
        cls, data: Mapping[str, Any], streams: Mapping[tuple[str, str, str], int]
    ) -> Incident:
        """Return the incident that `to_json` wrote.

        Parameters
        ----------
        data
            What `to_json` returned.
        streams
            Position of each stream by monitor, target and defect.
        """
        members = [
            Member(
                streams[(m["monitor"], m["target"], m["defect"])],
                m["monitor"],
                m["target"],
                m["defect"],
                m["share"],
                m["joined_row"],
                m["effect"],
                m["text"],
            )
            for m in data["members"]
        ]
        causes = tuple(
            Cause(
                c["id"],
                c["title"],
                c["score"],
                tuple(c["for"]),
                tuple(c["against"]),
                c["next"],
                c["runbook"],
            )
            for c in data["causes"]
        )
        lower, upper = data["change_row_interval"]
        harm = data["harm"]
        return cls(
            id=data["id"],
            opened_row=data["opened_row"],
            opened_at=data["opened_at"],
            evidence_log10=data["evidence_log10"],
            change_row=data["change_row"],
            change_row_interval=(lower, upper),
            members=members,
            causes=causes,
            severity=data["severity"],
            paged=data["paged"],
            harm=Harm(harm["kind"], harm["value"], harm["text"]),
            updated_row=data["updated_row"],
            closed_row=data["closed_row"],
            closed_at=data["closed_at"],
        )


@dataclass(frozen=True, slots=True)
class Change:
    """A step in the life of an incident.

    Parameters
    ----------
    state
        What happened to it.
    incident
        The incident as it is after the step.
    at
        When, seconds since the Unix epoch.
    """

    state: Literal["opened", "updated", "closed"]
    incident: Incident
    at: float

    def to_json(self) -> dict[str, Any]:
        """Return the step as plain JSON values."""
        return {"state": self.state, "incident": self.incident.to_json(), "at": self.at}

    @classmethod
    def from_json(
        cls, data: Mapping[str, Any], streams: Mapping[tuple[str, str, str], int]
    ) -> Change:
        """Return the step that `to_json` wrote; `streams` as for `Incident.from_json`."""
        return cls(data["state"], Incident.from_json(data["incident"], streams), data["at"])
