"""Evidence of every evaluation in, incidents opened, updated and closed out.

One change is one incident: when the model's evidence crosses the budget, the stream with the
largest share opens it, and every stream that left its reference at the same time, or as a
consequence, joins instead of opening its own. Members count as zero in the model's evidence until
they are back at their reference, which is decided by evidence as well. A fault that comes and goes
is one incident: it is opened again, and stays open until there is quiet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np

from otel_ml.incidents.advice import Since
from otel_ml.incidents.discovery import discovered, with_their_residuals
from otel_ml.incidents.grouping import belongs
from otel_ml.incidents.history import ChangePoint
from otel_ml.incidents.incident import Change, Incident
from otel_ml.incidents.register import Register
from otel_ml.stats.special import log_sum_exp
from otel_ml.types import FloatArray, IntArray

__all__ = ["Evidence", "Incidents"]

_SIGNIFICANT: Final = 4.6  # log 100: evidence at which a stream of the same target is named too
_LOOKS: Final = (50, 100, 200, 500)  # rows since a member joined, to describe it again
_QUIET_ROWS: Final = 1000  # a fault that is back within these is the same incident

_State: TypeAlias = Literal["opened", "updated"]


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


class Incidents(Register):
    """All incidents of one model, and how evidence changes them."""

    def step(self, evidence: Evidence) -> tuple[list[Change], list[int]]:
        """Take an evaluation.

        Returns
        -------
        changes
            Incidents opened, updated and closed, in order.
        rearm
            Streams to start again from nothing: those that joined an incident or left one.
        """
        self._raw = evidence.raw
        last = self._seen[-1][0] if self._seen else 0
        self._seen.append((evidence.row, evidence.at))
        changes = self.expire(evidence.at)
        rearm = self._close(evidence, changes)
        shares = evidence.shares.copy()
        shares[rearm] = -np.inf
        touched: dict[int, _State] = {}
        while (total := log_sum_exp(shares)) >= evidence.threshold:
            culprit = int(np.argmax(shares))
            share = float(np.exp(shares[culprit] - total))
            change = self.followed.change(culprit)
            position = self._home(culprit, change)
            if position is None:
                position = len(self.open)
                back = self._come_back(culprit, change)
                touched[position] = "updated" if back else "opened"
                incident = back or self._opened(change, evidence, total)
                # whoever looks at the open ones meanwhile finds none without a member
                self.followed.add(incident, culprit, share, evidence.row)
                self.open.append(incident)
            else:
                touched.setdefault(position, "updated")
                self.followed.add(self.open[position], culprit, share, evidence.row)
            shares[culprit] = -np.inf
            rearm.append(culprit)
            rearm += self._absorb(position, shares, evidence)
        for position, incident in enumerate(self.open):
            incident.evidence_now_log10 = self.followed.evidence(incident, evidence.raw)
            state = touched.get(position)
            before = _said(incident)
            begun = {incident.beginning[0] if incident.spell else incident.opened_row}
            begun |= {m.joined_row for m in incident.members}
            # more rows tell causes apart better, and there are enough soon
            if look := any(last < b + n <= evidence.row for b in begun for n in _LOOKS):
                self.followed.describe_again(incident)
                if any(m.tentative for m in incident.members):
                    self.followed.confirm(incident, self._moved_alone(incident, evidence.row))
            if state == "opened":
                rearm += self._accompany(incident, shares, evidence.row)
            if state is not None or look:
                self._judge(incident)
            if state == "opened":
                self._begin(incident, evidence.at)
            if state or before != _said(incident):
                incident.updated_row = evidence.row
                changes.append(Change(state or "updated", incident.copy(), evidence.at))
        return changes, rearm

    def _home(self, stream: int, change: ChangePoint) -> int | None:
        """Return the open incident a stream belongs to: the same change, or its consequence."""
        for position, incident in reversed(list(enumerate(self.open))):
            culprit = self.streams[incident.culprit.stream]
            if belongs(self.streams[stream], change, culprit, self._interval(incident)):
                return position
        return None

    def _come_back(self, stream: int, change: ChangePoint) -> Incident | None:
        """Open the incident again that was over a short while ago and has returned."""
        for incident in reversed(self.closed):
            over = incident.closed_row
            if over is None or incident.closed_reason != "recovered":
                continue
            source = self.followed.source(incident)
            moved = {s.source for i, s in enumerate(self.streams) if self._raw[i] > _SIGNIFICANT}
            same = source == self.streams[stream].source or (
                source in moved and stream in {m.stream for m in incident.members}
            )
            if same and change.lower - over <= _QUIET_ROWS:
                self.closed = [i for i in self.closed if i is not incident]
                incident.closed_row = incident.closed_at = incident.closed_reason = None
                incident.back_row = None
                incident.reopened += 1
                incident.spell = (change.row, change.lower, change.upper)
                return incident
        return None

    def _opened(self, change: ChangePoint, evidence: Evidence, total: float) -> Incident:
        return Incident(
            id="",
            opened_row=evidence.row,
            opened_at=evidence.at,
            evidence_log10=total / math.log(10),
            change_row=change.row,
            change_row_interval=(change.lower, change.upper),
            changed_at=next((at for row, at in self._seen if row > change.row), evidence.at),
        )

    def _begin(self, incident: Incident, at: float) -> None:
        """Give a new incident its name and what was said under it, and count it."""
        incident.id = self._id(incident)
        self.attention.recall(incident, at)
        self._judge(incident)
        key = (incident.cause, incident.culprit.target, incident.severity, incident.paged)
        self.opened_total[key] = self.opened_total.get(key, 0) + 1

    def _absorb(self, position: int, shares: FloatArray, evidence: Evidence) -> list[int]:
        """Let streams join at once: of the culprit's source, and others that moved with it."""
        incident = self.open[position]
        source = self.followed.source(incident)
        culprit, interval = self.streams[incident.culprit.stream], self._interval(incident)
        clear = discovered(evidence.raw) | with_their_residuals(self.streams, evidence.raw)
        elsewhere = {m.target for i in self.open if i is not incident for m in i.members}
        joined = []
        for i, info in enumerate(self.streams):
            if not np.isfinite(shares[i]):
                continue
            of_source = info.source == source and evidence.raw[i] > _SIGNIFICANT
            if not of_source and not (
                clear[i]
                and info.target not in elsewhere
                and belongs(info, self.followed.change(i), culprit, interval)
            ):
                continue
            share = 0.0 if of_source else float(np.exp(min(shares[i] - evidence.threshold, 0.0)))
            self.followed.add(incident, i, share, evidence.row)
            shares[i] = -np.inf
            joined.append(i)
        return joined

    def _accompany(self, incident: Incident, shares: FloatArray, row: int) -> list[int]:
        """Let inputs join whose shift explains the others', before their evidence is heard."""
        names = self._moved_alone(incident, row)
        joined = []
        for i, info in enumerate(self.streams):
            own = info.monitor == "input_drift" and not info.defect and info.target in names
            if own and np.isfinite(shares[i]):
                self.followed.add(incident, i, 0.0, row, tentative=True)
                shares[i] = -np.inf
                joined.append(i)
        return joined

    def _moved_alone(self, incident: Incident, row: int) -> dict[str, float]:
        begun, followed = incident.beginning[0], self.followed
        since = Since.of(followed.history, self.sources, followed.before, begun, row)
        return self._shifted(incident, since)

    def _close(self, evidence: Evidence, changes: list[Change]) -> list[int]:
        """Follow open incidents back to their reference; close what is over."""
        over: list[Incident] = []
        for incident in self.open:
            if not self.followed.follow(incident, evidence.counts):
                incident.reopened += incident.back_row is not None
                incident.back_row = None
                continue
            if incident.back_row is None:
                incident.back_row = evidence.row
            # what came back once may do so again
            if not incident.reopened or evidence.row - incident.back_row >= _QUIET_ROWS:
                over.append(incident)
        closed, rearm = self.end(over, evidence.row, evidence.at, "recovered")
        changes += closed
        return rearm


def _said(incident: Incident) -> tuple[object, ...]:
    """Return what is told anew once it is another: cause, culprit, severity, paging, who left."""
    first, count = incident.culprit.stream, len(incident.members)
    return incident.cause, first, count, incident.severity, incident.paged
