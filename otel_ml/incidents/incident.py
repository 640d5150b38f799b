"""The value objects of incidents: what changed, since when, for whom, how bad it is, what next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

from otel_ml.incidents.parts import Cause, Harm, Member
from otel_ml.types import Severity

__all__ = ["Cause", "Change", "ClosedReason", "Harm", "Incident", "Member"]

ClosedReason: TypeAlias = Literal["recovered", "command", "re-referenced"]
_RANK: Final[Mapping[Severity, int]] = {"info": 0, "warning": 1, "critical": 2}


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
        Whether somebody should be woken now: it hurts, and is neither muted nor acknowledged.
    harm
        How much it hurts.
    updated_row, closed_row, closed_at
        Later moments of its life.
    changed_at
        When the change most likely happened, seconds since the Unix epoch.
    closed_reason
        Why it was closed; None while it is open.
    acknowledged_by, acknowledged_at, acknowledged_severity, note
        Who took care of it, when, how urgent it was then, and what they had to say.
    muted_until
        Until when it pages nobody, seconds since the Unix epoch.
    harmful
        Whether it would page if nobody had muted or acknowledged it.
    whom
        For whom the change is largest, as facts; None where nobody stands out.
    evidence_now_log10
        Evidence of its members since they joined, as a power of ten.
    reopened
        How often it came back shortly after it was over.
    spell
        Where it last began, in rows: most likely row, lower and upper end. The change itself
        until it comes back.
    back_row
        Rows seen when all looked like the reference again; None while it does not.
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
    changed_at: float | None = None
    closed_reason: ClosedReason | None = None
    acknowledged_by: str | None = None
    acknowledged_at: float | None = None
    acknowledged_severity: Severity | None = None
    note: str | None = None
    muted_until: float | None = None
    harmful: bool = False
    whom: dict[str, Any] | None = None
    evidence_now_log10: float | None = None
    reopened: int = 0
    spell: tuple[int, int, int] | None = None
    back_row: int | None = None

    @property
    def culprit(self) -> Member:
        """The member that explains most of the evidence."""
        return self.members[0]

    @property
    def cause(self) -> str:
        """Id of the likeliest cause."""
        return self.causes[0].id if self.causes else "unknown"

    @property
    def acknowledged(self) -> bool:
        """Whether somebody takes care of it; not any more once it is worse than they knew."""
        known = self.acknowledged_severity
        return known is not None and _RANK[known] >= _RANK[self.severity]

    @property
    def beginning(self) -> tuple[int, int, int]:
        """Row, lower and upper end of where it last began."""
        return self.spell or (self.change_row, *self.change_row_interval)

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
            "changed_at": self.changed_at,
            "closed_reason": self.closed_reason,
            "acknowledged_by": self.acknowledged_by,
            "acknowledged_at": self.acknowledged_at,
            "acknowledged_severity": self.acknowledged_severity,
            "note": self.note,
            "muted_until": self.muted_until,
            "harmful": self.harmful,
            "whom": self.whom,
            "evidence_now_log10": (
                None if self.evidence_now_log10 is None else round(self.evidence_now_log10, 3)
            ),
            "reopened": self.reopened,
            "spell": None if self.spell is None else list(self.spell),
            "back_row": self.back_row,
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
        lower, upper = data["change_row_interval"]
        harm, spell = data["harm"], data["spell"]
        return cls(
            id=data["id"],
            opened_row=data["opened_row"],
            opened_at=data["opened_at"],
            evidence_log10=data["evidence_log10"],
            change_row=data["change_row"],
            change_row_interval=(lower, upper),
            members=[Member.from_json(m, streams) for m in data["members"]],
            causes=tuple(Cause.from_json(c) for c in data["causes"]),
            severity=data["severity"],
            paged=data["paged"],
            harm=Harm(harm["kind"], harm["value"], harm["text"]),
            updated_row=data["updated_row"],
            closed_row=data["closed_row"],
            closed_at=data["closed_at"],
            changed_at=data["changed_at"],
            closed_reason=data["closed_reason"],
            acknowledged_by=data["acknowledged_by"],
            acknowledged_at=data["acknowledged_at"],
            acknowledged_severity=data["acknowledged_severity"],
            note=data["note"],
            muted_until=data["muted_until"],
            harmful=data["harmful"],
            whom=data["whom"],
            evidence_now_log10=data["evidence_now_log10"],
            reopened=data["reopened"],
            spell=None if spell is None else (spell[0], spell[1], spell[2]),
            back_row=data["back_row"],
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
