"""Evidence of every evaluation in, incidents opened, updated and closed out.

One change is one incident: when the model's evidence crosses the budget, the stream with the
largest share opens it, and every stream that left its reference at the same time, or as a
consequence, joins instead of opening its own. Members count as zero in the model's evidence until
they are back at their reference, which is decided by evidence as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from otel_ml.incidents.effect import describe, sentence
from otel_ml.incidents.explain import explain
from otel_ml.incidents.harm import Sensitivities
from otel_ml.incidents.history import ChangePoint, History
from otel_ml.incidents.incident import Change, Incident, Member
from otel_ml.incidents.recovery import LEARN_ROWS, Recovery, law_of
from otel_ml.stats.special import log_sum_exp
from otel_ml.types import FloatArray, IntArray, Stream

__all__ = ["Evidence", "Incidents"]

_SLACK_ROWS: Final = 100  # two evaluations: change points this close are one change
_CLEAR_ROWS: Final = 50  # rows since a change that are enough to describe it
_KEPT: Final = 200  # closed incidents remembered
_DOWNSTREAM: Final[Mapping[str, int]] = {
    "inputs": 0,
    "quality": 0,
    "outputs": 1,
    "performance": 2,
    "fairness": 2,
}
_SIGNIFICANT: Final = 4.6  # log 100: evidence at which a stream of the same target is named too


@dataclass(frozen=True, slots=True)
class Evidence:
    """Evidence of one evaluation.

    Parameters
    ----------
    shares
        Weighted evidence of each stream, natural log, shape ``(streams,)``; members of open
        incidents are minus infinity.
    raw
        Unweighted evidence of each stream, natural log, shape ``(streams,)``.
    threshold
        Natural log of the budget in evaluations.
    counts
        Counts of this evaluation, shape ``(sources, width)``.
    row
        Rows seen after it.
    at
        Seconds since the Unix epoch.
    """

    shares: FloatArray
    raw: FloatArray
    threshold: float
    counts: IntArray
    row: int
    at: float


class Incidents:
    """All incidents of one model.

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
    """

    def __init__(
        self,
        model: str,
        streams: Sequence[Stream],
        sources: Mapping[str, int],
        history: History,
        before: Mapping[str, tuple[float, float]],
        sensitivity: Sensitivities,
    ) -> None:
        self.model = model
        self.streams = tuple(streams)
        self.sources = sources
        self.history = history
        self.before = before
        self.sensitivity = sensitivity
        self.open: list[Incident] = []
        self.closed: list[Incident] = []
        self.opened_total: dict[tuple[str, str, str, bool], int] = {}
        self._recovery: dict[int, Recovery] = {}
        self._armed: dict[int, int] = {}

    def step(self, evidence: Evidence) -> tuple[list[Change], list[int]]:
        """Take an evaluation.

        Returns
        -------
        changes
            Incidents opened, updated and closed, in order.
        rearm
            Streams to start again from nothing: those that joined an incident or left one.
        """
        changes: list[Change] = []
        rearm = self._close(evidence, changes)
        shares = evidence.shares.copy()
        shares[rearm] = -np.inf
        touched: dict[int, str] = {}
        while (total := log_sum_exp(shares)) >= evidence.threshold:
            culprit = int(np.argmax(shares))
            share = float(np.exp(shares[culprit] - total))
            position = self._home(culprit, self._change(culprit))
            if position is None:
                self.open.append(self._open(culprit, share, evidence, total))
                touched[len(self.open) - 1] = "opened"
                position = len(self.open) - 1
            else:
                self._add(self.open[position], culprit, share, evidence)
                touched.setdefault(position, "updated")
            shares[culprit] = -np.inf
            rearm.append(culprit)
            rearm += self._absorb(position, shares, evidence)
        for position, state in touched.items():
            incident = self.open[position]
            explain(incident, self.streams, self.sensitivity)
            if state == "opened":
                # the same id in every process that sees the same change at about the same time
                incident.id = self._id(incident)
                key = (
                    incident.cause,
                    incident.culprit.target,
                    incident.severity,
                    incident.paged,
                )
                self.opened_total[key] = self.opened_total.get(key, 0) + 1
            incident.updated_row = evidence.row
            changes.append(
                Change("opened" if state == "opened" else "updated", incident.copy(), evidence.at)
            )
        for position, incident in enumerate(self.open):
            if position not in touched and self._refine(incident, evidence):
                changes.append(Change("updated", incident.copy(), evidence.at))
        return changes, rearm

    def _refine(self, incident: Incident, evidence: Evidence) -> bool:
        """Look again while the incident is young: more rows tell causes apart better."""
        if not 0 < evidence.row - incident.opened_row <= LEARN_ROWS:
            return False
        cause, severity = incident.cause, incident.severity
        incident.members = [
            replace(m, effect=facts, text=sentence(self.streams[m.stream], facts))
            for m in incident.members
            for facts in [self._facts(incident, m.stream)]
        ]
        explain(incident, self.streams, self.sensitivity)
        if (cause, severity) == (incident.cause, incident.severity):
            return False
        incident.updated_row = evidence.row
        return True

    def members(self) -> list[int]:
        """Return the streams of open incidents."""
        return sorted({m.stream for i in self.open for m in i.members} & set(self._recovery))

    def spans(self) -> list[tuple[int, int]]:
        """Return the rows of closed incidents whose inputs or outputs had changed.

        Labels of these rows arrive late and say nothing new: they are not evidence.
        """
        out = []
        for incident in self.closed[-_KEPT:]:
            family = self.streams[incident.culprit.stream].family
            if _DOWNSTREAM.get(family, 9) < 2 and incident.closed_row is not None:
                lower = incident.change_row_interval[0] - _SLACK_ROWS
                out.append((lower, incident.closed_row))
        return out

    def _source(self, member: Member) -> str:
        return self.streams[member.stream].source

    def _change(self, stream: int) -> ChangePoint:
        info = self.streams[stream]
        first = self._armed.get(stream, 0)
        return self.history.change_point(self.sources[info.source], info, first)

    def _home(self, stream: int, change: ChangePoint) -> int | None:
        """Return the open incident a stream belongs to: the same change, or its consequence."""
        level = _DOWNSTREAM.get(self.streams[stream].family)
        for position, incident in reversed(list(enumerate(self.open))):
            lower, upper = incident.change_row_interval
            culprit = self.streams[incident.culprit.stream]
            if culprit.source == self.streams[stream].source:
                return position
            if level is None or culprit.family not in _DOWNSTREAM:
                continue
            overlap = change.lower <= upper + _SLACK_ROWS and change.upper >= lower - _SLACK_ROWS
            # groups overlap, so what makes one of them worse makes others and the whole worse
            above = _DOWNSTREAM[culprit.family]
            follows = level > above or level == above == _DOWNSTREAM["performance"]
            consequence = follows and change.upper >= lower - _SLACK_ROWS
            if overlap or consequence:
                return position
        return None

    def _open(self, stream: int, share: float, evidence: Evidence, total: float) -> Incident:
        change = self._change(stream)
        incident = Incident(
            id="",
            opened_row=evidence.row,
            opened_at=evidence.at,
            evidence_log10=total / float(np.log(10)),
            change_row=change.row,
            change_row_interval=(change.lower, change.upper),
            updated_row=evidence.row,
        )
        self._add(incident, stream, share, evidence)
        return incident

    def _absorb(self, position: int, shares: FloatArray, evidence: Evidence) -> list[int]:
        """Let streams of the culprit's source that moved with it join at once."""
        incident = self.open[position]
        source = self._source(incident.culprit)
        joined = []
        for i, info in enumerate(self.streams):
            if info.source == source and np.isfinite(shares[i]) and evidence.raw[i] > _SIGNIFICANT:
                self._add(incident, i, 0.0, evidence)
                shares[i] = -np.inf
                joined.append(i)
        return joined

    def _add(self, incident: Incident, stream: int, share: float, evidence: Evidence) -> None:
        info = self.streams[stream]
        facts = self._facts(incident, stream)
        incident.members.append(
            Member(
                stream,
                info.monitor,
                info.target,
                info.defect,
                share,
                evidence.row,
                facts,
                sentence(info, facts),
            )
        )
        start = max(incident.change_row, 0)
        counts, _ = self.history.since(self.sources[info.source], start)
        self._recovery[stream] = Recovery(start, law_of(info, counts))

    def _facts(self, incident: Incident, stream: int) -> dict[str, Any]:
        info = self.streams[stream]
        source = self.sources[info.source]
        # the evaluation in which it changed holds rows of before as well
        counts, moments = self.history.since(source, incident.change_row + 1)
        if int(counts.sum()) < _CLEAR_ROWS:
            counts, moments = self.history.since(source, incident.change_row)
        nan = float("nan")
        return describe(info, counts, moments, self.before.get(info.source, (nan, nan)))

    def _close(self, evidence: Evidence, changes: list[Change]) -> list[int]:
        """Follow the members of open incidents back to their reference; close what is over."""
        rearm: list[int] = []
        for incident in list(self.open):
            for member in incident.members:
                recovery = self._recovery.get(member.stream)
                if recovery is not None and not recovery.done:
                    info = self.streams[member.stream]
                    source = self.sources[info.source]
                    if recovery.follow(info, evidence.counts[source]):
                        since, _ = self.history.since(source, recovery.start)
                        recovery.law = law_of(info, since)
            over = [
                self._recovery[m.stream].done
                for m in incident.members
                if self._source(m) == self._source(incident.culprit) and m.stream in self._recovery
            ]
            if all(over):
                incident.closed_row, incident.closed_at = evidence.row, evidence.at
                incident.updated_row = evidence.row
                self.open.remove(incident)
                self.closed = [*self.closed, incident][-_KEPT:]
                for member in incident.members:
                    self._recovery.pop(member.stream, None)
                    rearm.append(member.stream)
                # streams that were on their way to join carry rows of what is now over
                rearm += [
                    i
                    for i, info in enumerate(self.streams)
                    if info.family in _DOWNSTREAM and i not in self._recovery
                ]
                self._armed |= dict.fromkeys(rearm, evidence.row)
                changes.append(Change("closed", incident.copy(), evidence.at))
        return sorted(set(rearm))

    def _id(self, incident: Incident) -> str:
        bucket = int(incident.opened_at // 600)
        text = f"{self.model}|{incident.cause}|{incident.culprit.target}|{bucket}"
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
            "armed": {str(k): v for k, v in self._armed.items()},
            "recovery": {
                str(k): [r.start, r.law.tolist(), r.level, r.done, r.rows]
                for k, r in self._recovery.items()
            },
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take up what `to_json` wrote."""
        index = {(s.monitor, s.target, s.defect): i for i, s in enumerate(self.streams)}
        self.open = [Incident.from_json(i, index) for i in data["open"]]
        self.closed = [Incident.from_json(i, index) for i in data["closed"]]
        self.opened_total = {(c, t, s, bool(p)): n for c, t, s, p, n in data["opened_total"]}
        self._armed = {int(k): int(v) for k, v in data["armed"].items()}
        self._recovery = {
            int(k): Recovery(start, np.array(law), level, done, rows)
            for k, (start, law, level, done, rows) in data["recovery"].items()
        }
