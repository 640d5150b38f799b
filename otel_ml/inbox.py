"""The state directory in, labels and commands out: any process appends, every worker reads."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from otel_ml.errors import DataError, StateError

if TYPE_CHECKING:
    from otel_ml.incidents.commands import Command

__all__ = [
    "COMMANDS",
    "LABELS",
    "Inbox",
    "LabelLine",
    "Tail",
    "append_command",
    "append_labels",
]

_T = TypeVar("_T")

LABELS: Final = "labels.jsonl"
COMMANDS: Final = "commands.jsonl"
_CHUNK: Final = 4 * 1024 * 1024
_MOST: Final = 16 * _CHUNK  # bytes taken at a time, so that predictions get their turn
_LONGEST: Final = 64 * 1024  # bytes of a line; a longer one is neither


@dataclass(frozen=True, slots=True)
class LabelLine:
    """One label.

    Parameters
    ----------
    model
        Name of the model, or None for whichever holds the id.
    id
        Prediction id, or the request id of the caller.
    label
        True class or value.
    """

    model: str | None
    id: str
    label: Any


class Tail:
    """Reads the lines that are appended to a file.

    The file is kept open, so that one which is renamed away is still read to its end and its
    place in the file system is not mistaken for that of the next.

    Parameters
    ----------
    path
        The file; it may come into being later.
    whole
        Whether what it holds already is read as well.
    """

    def __init__(self, path: Path, *, whole: bool = False) -> None:
        self._path = path
        self.rest = b""
        self._skipping = False
        self.malformed = 0
        self._file = self._opened()
        self.size = 0 if self._file is None else os.fstat(self._file).st_size
        self._offset = 0 if whole else self.size

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)

    def read(self, parse: Callable[[bytes], _T | None], until: int | None = None) -> list[_T]:
        """Return what was appended since the last call; malformed lines are counted.

        Parameters
        ----------
        parse
            Returns what a line says, None where it says nothing.
        until
            Bytes of the file that are read at most.
        """
        out: list[_T] = []
        try:
            if self._file is None:
                self._file = self._opened()
            if self._file is None:
                return out
            out += self._lines(self._file, parse, until)
            if self._replaced(self._file):
                os.close(self._file)
                self._file = None
                self.malformed += bool(self.rest)  # its last line will never be finished
                self._offset, self.rest, self._skipping = 0, b"", False
                self._file = self._opened()
                if self._file is not None:
                    out += self._lines(self._file, parse, None)
        except OSError:
            return out
        return out

    def _opened(self) -> int | None:
        try:
            return os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None

    def _replaced(self, file: int) -> bool:
        held = os.fstat(file)
        if self._offset < held.st_size:
            return False  # first to its end
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return True
        return (there.st_dev, there.st_ino) != (held.st_dev, held.st_ino)

    def _lines(
        self, file: int, parse: Callable[[bytes], _T | None], until: int | None
    ) -> Iterator[_T]:
        if os.fstat(file).st_size < self._offset:  # it was truncated
            self._offset, self.rest, self._skipping = 0, b"", False
        end = self._offset + _MOST if until is None else until
        while left := max(min(end - self._offset, _CHUNK), 0):
            data = os.pread(file, left, self._offset)
            if not data:
                return
            self._offset += len(data)
            *lines, self.rest = (self.rest + data).split(b"\n")
            for line in lines:
                if self._skipping:
                    self._skipping = False
                    continue
                if not line.strip():
                    continue
                parsed = parse(line) if len(line) <= _LONGEST else None
                if parsed is None:
                    self.malformed += 1
                else:
                    yield parsed
            if len(self.rest) > _LONGEST:
                self.malformed += not self._skipping
                self.rest, self._skipping = b"", True


class Inbox:
    """Reads what other processes append to the files of a state directory.

    Labels are read from where their file ends when the inbox is opened; commands from their
    beginning, because a mute holds for processes that start later.

    Parameters
    ----------
    directory
        The state directory; it may come into being later.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.labels = Tail(directory / LABELS)
        self._commands = Tail(directory / COMMANDS, whole=True)
        self._earlier = True

    @property
    def malformed(self) -> int:
        """Lines of the label file that are no labels."""
        return self.labels.malformed

    @property
    def malformed_commands(self) -> int:
        """Lines of the command file that are no commands."""
        return self._commands.malformed

    def read(self) -> list[LabelLine]:
        """Return the labels appended since the last call."""
        return self.labels.read(_label)

    def commands(self) -> list[Command]:
        """Return the commands appended since the last call; of those before it what still holds."""
        from otel_ml.incidents.commands import STANDING  # heavy, and only the worker comes here

        held: list[Command] = []
        if self._earlier:
            self._earlier = False
            earlier = self._commands.read(_command, self._commands.size)
            held = [command for command in earlier if command.verb in STANDING]
        return held + self._commands.read(_command)


def append_labels(directory: Path, labels: list[LabelLine]) -> None:
    """Append labels for every worker that reads this directory.

    Raises
    ------
    StateError
        If the directory cannot be made or written.
    """
    lines = [{"model": item.model, "id": item.id, "label": item.label} for item in labels]
    _append(directory, LABELS, lines)


def append_command(directory: Path, command: Command) -> None:
    """Append a command for every worker that reads this directory.

    Raises
    ------
    StateError
        If the directory cannot be made or written.
    """
    _append(directory, COMMANDS, [command.to_json()])


def _append(directory: Path, name: str, lines: Sequence[Mapping[str, Any]]) -> None:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(directory / name, "ab+", buffering=0, opener=_private) as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    text = "\n" + text  # a writer died within its line: it must not take ours along
            rest = text.encode()
            while rest:
                rest = rest[file.write(rest) :]
    except OSError as error:
        raise StateError(
            f"cannot write {name.partition('.')[0]} to {directory}: {error.strerror}",
            remedy="give a directory this user may write, the one the server has in "
            "OTEL_ML_STATE_DIR",
        ) from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _label(line: bytes) -> LabelLine | None:
    try:
        data = json.loads(line)
        model = data.get("model")
        if data["label"] is None:
            return None
        return LabelLine(None if model is None else str(model), str(data["id"]), data["label"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _command(line: bytes) -> Command | None:
    from otel_ml.incidents.commands import Command

    try:
        return Command.from_json(json.loads(line))
    except (DataError, ValueError, AttributeError, RecursionError):
        return None
