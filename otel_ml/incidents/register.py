"""Incidents and what people say about them in, the same incidents judged, ended and named out."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from otel_ml.incidents.advice import Since
from otel_ml.incidents.advice.order import rank_members
from otel_ml.incidents.advice.shifted import shifted
from otel_ml.incidents.attention import Attention
from otel_ml.incidents.commands import Command
from otel_ml.incidents.explain import explain
from otel_ml.incidents.grouping import SLACK_ROWS, downstream, echoes
from otel_ml.incidents.harm import Sensitivities
from otel_ml.incidents.history import History
from otel_ml.incidents.incident import Change, ClosedReason, Incident
from otel_ml.incidents.members import Members
from otel_ml.incidents.surroundings import Surroundings
from otel_ml.incidents.whom import for_whom
from otel_ml.types import FloatArray, Stream

__all__ = ["Register"]

_KEPT: Final = 200  # closed incidents remembered
_DAY: Final = 86_400.0
_OF_INPUTS: Final = ("input_drift", "joint_drift")


class Register:
    """The incidents of one model, open and closed.

    Parameters
    ----------
    model
        Name and version, for the ids.
    streams
        What is watched.
    sources
        Position of each source in the counts.
    history
        Counts of the latest evaluations.
    before
        Mean and standard deviation of each source in the reference, by name.
    sensitivity
        Mean absolute change of the score when a feature is shuffled, by feature.
    around
        What else explains incidents.
    """

    def __init__(
        self,
        model: str,
        streams: Sequence[Stream],
        sources: Mapping[str, int],
        history: History,
        before: Mapping[str, tuple[float, float]],
        sensitivity: Sensitivities,
        around: Surroundings | None = None,
    ) -> None:
        self.model = model
        self.around = around or Surroundings()
        self.sources = sources
        self.followed = Members(streams, sources, history, before)
        self.sensitivity = sensitivity
        self.open: list[Incident] = []
        self.closed: list[Incident] = []
        self.opened_total: dict[tuple[str, str, str, bool], int] = {}
        self.attention = Attention()
        self._raw: FloatArray = np.zeros(0)
        self._seen: deque[tuple[int, float]] = deque(maxlen=history.length)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """What is watched."""
        return self.followed.streams

    @streams.setter
    def streams(self, streams: Sequence[Stream]) -> None:
        self.followed.streams = tuple(streams)

    def apply(self, command: Command, row: int, at: float) -> tuple[list[Change], list[int]]:
        """Do what a person says about incidents or streams; returns what `step` returns.

        Parameters
        ----------
        command
            Any command but one for another reference.
        row, at
            Rows seen, and seconds since the Unix epoch.
        """
        if command.verb == "close":
            closing = [i for i in self.open if i.id == command.id]
            for incident in closing:
                incident.note = command.note or incident.note
            return self.end(closing, row, at, "command")
        told = self.attention.hear(command, [*self.open, *self.closed])
        return self._judged_again(at, {i.id for i in told}), []

    def expire(self, at: float) -> list[Change]:
        """End mutes that are over; return the incidents that page again."""
        ended = self.attention.expire(at, [*self.open, *self.closed])
        return self._judged_again(at, set()) if ended else []

    def _judged_again(self, at: float, told: set[str]) -> list[Change]:
        """Judge all open incidents; return those told something, or that page differently now."""
        changes = []
        for incident in self.open:
            before = (incident.severity, incident.paged)
            self._judge(incident)
            if incident.id in told or (incident.severity, incident.paged) != before:
                incident.updated_row = self._seen[-1][0] if self._seen else incident.updated_row
                changes.append(Change("updated", incident.copy(), at))
        return changes

    def end(
        self, incidents: Sequence[Incident], row: int, at: float, reason: ClosedReason
    ) -> tuple[list[Change], list[int]]:
        """Close incidents; returns what `step` returns."""
        changes: list[Change] = []
        rearm: set[int] = set()
        for incident in incidents:
            incident.closed_row, incident.closed_at, incident.closed_reason = row, at, reason
            incident.updated_row = row
            self.open = [i for i in self.open if i is not incident]
            self.closed = [*self.closed, incident][-_KEPT:]
            members = {m.stream for m in incident.members}
            self.followed.release(members)
            # streams that were on their way to join carry rows of what is now over
            rearm |= members | {i for i in range(len(self.streams)) if self._echoes(i, incident)}
            changes.append(Change("closed", incident.copy(), at))
        self.followed.arm(rearm, row)
        return changes, sorted(rearm)

    def inherit(self, other: Register) -> None:
        """Take over what outlives a reference: what was said, what was counted, what is over."""
        index = {(s.monitor, s.target, s.defect): i for i, s in enumerate(self.streams)}
        kept = [
            i
            for i in other.closed
            if all((m.monitor, m.target, m.defect) in index for m in i.members)
        ]
        self.closed = [Incident.from_json(i.to_json(), index) for i in kept] + self.closed
        self.attention = other.attention
        for key, count in other.opened_total.items():
            self.opened_total[key] = self.opened_total.get(key, 0) + count

    def members(self) -> list[int]:
        """Return the streams of open incidents."""
        found = {m.stream for i in self.open for m in i.members}
        return sorted(stream for stream in found if stream in self.followed)

    def spans(self) -> list[tuple[int, int]]:
        """Return the rows of closed incidents whose inputs or outputs had changed.

        Labels of these rows arrive late and say nothing new: they are not evidence.
        """
        out = []
        for incident in self.closed[-_KEPT:]:
            level = downstream(self.streams[incident.culprit.stream].family)
            if level is not None and level < 2 and incident.closed_row is not None:
                out.append((incident.change_row_interval[0] - SLACK_ROWS, incident.closed_row))
        return out

    def _judge(self, incident: Incident) -> None:
        """Explain an incident from its members as they are, and decide whether it pages."""
        incident.paged = incident.harmful
        row = incident.beginning[0]
        source = self.sources[self.followed.source(incident)]
        if self._seen and self.followed.history.holds(source, row):
            self._explain(incident, row)
        incident.harmful = incident.paged
        self.attention.decide(incident, self.streams, self.sensitivity)

    def _explain(self, incident: Incident, row: int) -> None:
        """Put the culprit first, and say for whom, why and how bad."""
        around, followed = self.around, self.followed
        now = self._seen[-1][0]
        since = Since.of(followed.history, self.sources, followed.before, row, now)
        intervals = {
            m.stream: (found.lower, found.upper)
            for m in incident.members
            for found in [followed.change(m.stream)]
        }
        incident.members = rank_members(
            incident.members,
            self.streams,
            self.sensitivity,
            effects=around.effects,
            since=since,
            changes=intervals,
            shifts=self._shifted(incident, since),
        )
        culprit = self.streams[incident.culprit.stream]
        whom = None
        if around.recent is not None and culprit.clock == "rows":
            whom = for_whom(around.recent, culprit, row + 1)  # its evaluation holds older rows
        incident.whom = None if whom is None else whom.to_json()
        explain(
            incident,
            self.streams,
            self.sensitivity,
            since=since,
            effects=around.effects,
            whom=whom,
            rollouts=around.rollouts,
            earlier=self.closed,
            playbook=around.playbook,
        )

    def _shifted(self, incident: Incident, since: Since) -> dict[str, float]:
        """Return the shifts of the inputs that moved by themselves, as `shifted` does."""
        relations = self.around.relations
        if relations is None or not any(m.monitor in _OF_INPUTS for m in incident.members):
            return {}
        return shifted(self.streams, since, relations)

    def _interval(self, incident: Incident) -> tuple[int, int]:
        """Return where its change lies, of one that came back from the first time to the last."""
        return incident.change_row_interval[0], incident.beginning[2]

    def _echoes(self, stream: int, incident: Incident) -> bool:
        """Tell whether a stream's evidence may be of an incident that is over."""
        if stream in self.followed or (len(self._raw) > stream and self._raw[stream] <= 0):
            return False  # of another incident, or with nothing to lose
        culprit = self.streams[incident.culprit.stream]
        interval, end = self._interval(incident), incident.closed_row or 0
        return echoes(self.streams[stream], self.followed.change(stream), culprit, interval, end)

    def _id(self, incident: Incident) -> str:
        """Return the same id in every process that sees the change.

        Of model, target, and the day of the change in UTC, with a number where there were several:
        replicas open an incident minutes apart and may at first name another cause, and those
        that started today have counted fewer of them.
        """
        when = incident.opened_at if incident.changed_at is None else incident.changed_at
        text = f"{self.model}|{incident.culprit.target}|{int(when // _DAY)}"
        taken = {i.id for i in (*self.open, *self.closed)}
        for n in range(len(taken) + 1):
            name = hashlib.sha256(f"{text}|{n}".encode()).hexdigest()[:16]
            if name not in taken:
                return name
        raise AssertionError("one more candidate than names taken")

    def to_json(self) -> dict[str, Any]:
        """Return all incidents as plain JSON values."""
        return {
            "open": [i.to_json() for i in self.open],
            "closed": [i.to_json() for i in self.closed],
            "opened_total": [[*k, v] for k, v in self.opened_total.items()],
            "attention": self.attention.to_json(),
            "seen": [list(pair) for pair in self._seen],
            **self.followed.to_json(),
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take up what `to_json` wrote."""
        index = {(s.monitor, s.target, s.defect): i for i, s in enumerate(self.streams)}
        self.open = [Incident.from_json(i, index) for i in data["open"]]
        self.closed = [Incident.from_json(i, index) for i in data["closed"]]
        self.opened_total = {(c, t, s, bool(p)): n for c, t, s, p, n in data["opened_total"]}
        self.attention.restore(data["attention"])
        self.followed.restore(data)
        self._seen.extend((int(row), float(at)) for row, at in data["seen"])
