"""Commands of people in, which incidents may wake somebody out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from otel_ml.incidents.commands import STANDING, Command
from otel_ml.incidents.harm import Sensitivities, assess
from otel_ml.incidents.incident import Incident
from otel_ml.incidents.parts import Member
from otel_ml.types import Stream

__all__ = ["Attention"]

_WAITING: Final = 200  # incidents not open here of which something was said
_MUTES: Final = 1000


class Attention:
    """What people said: muted streams, and words on incidents that this process has not opened."""

    def __init__(self) -> None:
        self.mutes: list[Command] = []
        self._waiting: dict[str, list[Command]] = {}

    def decide(
        self, incident: Incident, streams: Sequence[Stream], sensitivity: Sensitivities
    ) -> None:
        """Decide whether an incident pages that has just been explained.

        Parameters
        ----------
        incident
            `harmful` says whether it would; `severity` and `paged` are written.
        streams
            All streams of the model.
        sensitivity
            Mean absolute change of the score when a feature is shuffled, by feature.

        Notes
        -----
        Members of muted streams are recorded and do not count: an incident of nothing else is
        good to know, and one that has hurt something else pages by that alone.
        """
        pages = incident.harmful
        heard = [m for m in incident.members if not self._muted(m)]
        if not heard:
            incident.severity, pages = "info", False
        elif len(heard) < len(incident.members):
            _, incident.severity, pages = assess(heard, streams, sensitivity)
        incident.paged = pages and incident.muted_until is None and not incident.acknowledged

    def _muted(self, member: Member) -> bool:
        return any(mute.mutes(member.monitor, member.target) for mute in self.mutes)

    def hear(self, command: Command, incidents: Sequence[Incident]) -> list[Incident]:
        """Take a command that stands; return the incidents it says something new about."""
        if command.target:
            same = (command.target, command.monitor)
            self.mutes = [m for m in self.mutes if (m.target, m.monitor) != same][-_MUTES:]
            if command.verb == "mute":
                self.mutes.append(command)
            return []
        known = [i for i in incidents if i.id == command.id]
        if not known and command.verb in STANDING:
            held = self._waiting.pop(command.id, [])
            self._waiting[command.id] = [*held, command][-10:]
            while len(self._waiting) > _WAITING:
                del self._waiting[next(iter(self._waiting))]
        return [incident for incident in known if _say(command, incident)]

    def recall(self, incident: Incident, at: float) -> None:
        """Take up what was said of an incident before it opened here."""
        for command in self._waiting.pop(incident.id, ()):
            if command.until > at:
                _say(command, incident)

    def expire(self, at: float, incidents: Sequence[Incident]) -> bool:
        """End what is over; tell whether anything was."""
        held = len(self.mutes)
        self.mutes = [m for m in self.mutes if m.until > at]
        ended = [i for i in incidents if i.muted_until is not None and i.muted_until <= at]
        for incident in ended:
            incident.muted_until = None
        return bool(ended) or len(self.mutes) < held

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        return {
            "mutes": [m.to_json() for m in self.mutes],
            "waiting": [c.to_json() for held in self._waiting.values() for c in held],
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take up what `to_json` wrote."""
        self.mutes = [Command.from_json(m) for m in data["mutes"]]
        self._waiting = {}
        for item in data["waiting"]:
            command = Command.from_json(item)
            self._waiting.setdefault(command.id, []).append(command)


def _say(command: Command, incident: Incident) -> bool:
    """Write a command down in its incident; tell whether it is news."""
    if command.verb == "acknowledge":
        if (incident.acknowledged_by, incident.acknowledged_at) == (command.by, command.at):
            return False  # read again: the incident may have got worse since
        incident.acknowledged_by, incident.acknowledged_at = command.by, command.at
        incident.acknowledged_severity = incident.severity
        incident.note = command.note or incident.note
        return True
    until = command.until if command.verb == "mute" else None
    news = incident.muted_until != until
    incident.muted_until = until
    return news
