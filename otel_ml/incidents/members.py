"""Streams that joined incidents in, what changed in them, and whether they are back, out."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from otel_ml.incidents.effect import describe, sentence
from otel_ml.incidents.history import ChangePoint, History
from otel_ml.incidents.incident import Incident
from otel_ml.incidents.parts import Member
from otel_ml.incidents.recovery import Recovery, law_of
from otel_ml.stats.special import log_sum_exp
from otel_ml.types import FloatArray, IntArray, Stream

__all__ = ["Members"]

_NO_EVIDENCE: Final = -3.0  # log10: what is below is said as this


class Members:
    """The streams of open incidents, each followed back to its reference.

    Parameters
    ----------
    streams
        What is watched.
    sources
        Position of each source in the counts.
    history
        Counts of the latest evaluations.
    before
        Mean and standard deviation of each source in the reference, by name.
    """

    def __init__(
        self,
        streams: Sequence[Stream],
        sources: Mapping[str, int],
        history: History,
        before: Mapping[str, tuple[float, float]],
    ) -> None:
        self.streams = tuple(streams)
        self.sources = sources
        self.history = history
        self.before = before
        self.columns = ""  # which are missing or new in the latest rows
        self._recovery: dict[int, Recovery] = {}
        self._armed: dict[int, int] = {}

    def __contains__(self, stream: int) -> bool:
        return stream in self._recovery

    def change(self, stream: int) -> ChangePoint:
        """Return where a stream left its reference, as far as that was since it was armed."""
        info = self.streams[stream]
        first = self._armed.get(stream, 0)
        return self.history.change_point(self.sources[info.source], info, first)

    def source(self, incident: Incident) -> str:
        """Return the source of an incident's culprit."""
        return self.streams[incident.culprit.stream].source

    def add(
        self, incident: Incident, stream: int, share: float, row: int, *, tentative: bool = False
    ) -> None:
        """Let a stream join; one that was a member before the fault came back keeps its place."""
        info = self.streams[stream]
        effect = self._effect(incident, stream)
        text = sentence(info, effect)
        for i, m in enumerate(incident.members):
            if m.stream == stream:
                incident.members[i] = replace(m, effect=effect, text=text)
                break
        else:
            what = (info.monitor, info.target, info.defect)
            member = Member(stream, *what, share, row, effect, text, tentative)
            incident.members.append(member)
        start = max(incident.beginning[0], 0)
        counts, _ = self.history.since(self.sources[info.source], start)
        self._recovery[stream] = Recovery(start, law_of(info, counts))

    def describe_again(self, incident: Incident) -> None:
        """Describe members from the rows there are by now; what changed earlier keeps its words."""
        for i, m in enumerate(incident.members):
            if m.stream not in self:
                continue
            effect = self._effect(incident, m.stream)
            text = sentence(self.streams[m.stream], effect)
            incident.members[i] = replace(m, effect=effect, text=text)

    def _effect(self, incident: Incident, stream: int) -> dict[str, Any]:
        info = self.streams[stream]
        source, start = self.sources[info.source], incident.beginning[0]
        counts, moments = self.history.after(source, start)
        nan = float("nan")
        effect = describe(info, counts, moments, self.before.get(info.source, (nan, nan)))
        return {**effect, "columns": self.columns} if info.monitor == "schema" else effect

    def confirm(self, incident: Incident, targets: Collection[str]) -> None:
        """Keep tentative members of these targets; let the others go, to be watched again."""
        kept: list[Member] = []
        for m in incident.members:
            if m.tentative and m.target not in targets:
                self.release({m.stream})
            else:
                kept.append(replace(m, tentative=False))
        incident.members = kept

    def evidence(self, incident: Incident, raw: FloatArray) -> float:
        """Return the evidence of an incident's members since they joined, as a power of ten.

        Parameters
        ----------
        incident
            An open one.
        raw
            Evidence of each stream, natural log, shape ``(streams,)``.
        """
        held = [raw[m.stream] for m in incident.members if m.stream in self]
        return max(log_sum_exp(np.array(held)) / math.log(10), _NO_EVIDENCE)

    def follow(self, incident: Incident, counts: IntArray) -> bool:
        """Take an evaluation; tell whether the culprit is back at its reference.

        Parameters
        ----------
        incident
            An open one.
        counts
            Shape ``(sources, width)``.
        """
        back: dict[int, bool] = {}
        for stream in {m.stream for m in incident.members if m.stream in self}:
            info, recovery = self.streams[stream], self._recovery[stream]
            source = self.sources[info.source]
            if recovery.follow(info, counts[source]):
                since, _ = self.history.since(source, recovery.start)
                recovery.law = law_of(info, since)
            back[stream] = recovery.done
        culprit = self.source(incident)
        own = [done for stream, done in back.items() if self.streams[stream].source == culprit]
        return all(own or back.values())

    def release(self, streams: set[int]) -> None:
        """Forget streams whose incident is closed."""
        for stream in streams:
            self._recovery.pop(stream, None)

    def arm(self, streams: set[int], row: int) -> None:
        """Look for changes of streams from a row on only."""
        for stream in streams:
            # labels that come from now on are of rows long before
            latest = self.history.latest(self.sources[self.streams[stream].source])
            self._armed[stream] = min(row, latest + 1)

    def to_json(self) -> dict[str, Any]:
        """Return what is followed as plain JSON values."""
        return {
            "armed": {str(k): v for k, v in self._armed.items()},
            "recovery": {
                str(k): [r.start, r.law.tolist(), r.level, r.done, r.rows]
                for k, r in self._recovery.items()
            },
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take up what `to_json` wrote."""
        self._armed = {int(k): int(v) for k, v in data["armed"].items()}
        self._recovery = {
            int(k): Recovery(start, np.array(law), level, done, rows)
            for k, (start, law, level, done, rows) in data["recovery"].items()
        }
