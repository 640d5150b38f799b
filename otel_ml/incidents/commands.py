"""What a person says about incidents in, one value per command out, and back as a JSON line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal, TypeAlias, get_args

from otel_ml.errors import DataError

__all__ = ["FOR_EVER", "STANDING", "Command", "Verb"]

Verb: TypeAlias = Literal["mute", "unmute", "acknowledge", "close", "re-reference"]
FOR_EVER: Final = 253_370_764_800.0
"""The first second of the year 9999: JSON has no infinity."""

STANDING: Final[frozenset[str]] = frozenset({"mute", "unmute", "acknowledge"})
"""What also holds for incidents that open later, and for processes that start later."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Parameters
    ----------
    verb
        What to do.
    at
        When it was given, seconds since the Unix epoch.
    id
        The incident it is about, or "".
    target, monitor
        The streams that a mute is about, or "": a feature, ``group=value``, ``score``, …
    model
        Name of the model it is about; None for whichever holds the incident or the target.
    until
        When a mute ends, seconds since the Unix epoch.
    by, note
        Who gave it, and why.
    reference
        Id of the reference to accept, kept in the state directory; or "".
    rows
        Rows of traffic to learn a reference from; 0 where a reference is given.
    """

    verb: Verb
    at: float
    id: str = ""
    target: str = ""
    monitor: str = ""
    model: str | None = None
    until: float = FOR_EVER
    by: str = ""
    note: str = ""
    reference: str = ""
    rows: int = 0

    def mutes(self, monitor: str, target: str) -> bool:
        """Tell whether a mute of streams holds for one of them."""
        return self.target == target and self.monitor in ("", monitor)

    def to_json(self) -> dict[str, Any]:
        """Return the command as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Command:
        """Return the command that `to_json` wrote.

        Raises
        ------
        DataError
            If it is none, or lacks what its verb needs; names the key.
        """
        known = {f.name: f.type for f in fields(cls)}
        if data.get("verb") not in get_args(Verb):
            raise _no_command("verb", data.get("verb"))
        values: dict[str, Any] = {}
        for name, value in data.items():
            kind = known.get(name)
            if kind is None:
                continue  # of a later version
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            fits = number and value == value if kind in ("float", "int") else type(value) is str
            if not (fits or (name == "model" and value is None)):
                raise _no_command(name, value)
            values[name] = value
        if "at" not in values:
            raise _no_command("at", None)
        command = cls(**values)
        if command.verb == "re-reference":
            # a path would be read from wherever it points
            if not (command.rows > 0 or (command.reference.isalnum() and command.model)):
                raise _no_command("reference", command.reference)
        elif not command.id and not (command.target and command.verb in ("mute", "unmute")):
            raise _no_command("id", command.id)
        return command


def _no_command(key: str, value: object) -> DataError:
    return DataError(f"no command: {key} is {value!r}", remedy="write it with: otel-ml incident")
