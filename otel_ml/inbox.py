"""The state directory in, labels out: lines that any process appends, every worker reads."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from otel_ml.errors import StateError

__all__ = ["LABELS", "Inbox", "LabelLine", "append_labels"]

LABELS: Final = "labels.jsonl"
_CHUNK: Final = 4 * 1024 * 1024
_MOST: Final = 16 * _CHUNK  # bytes taken at a time, so that predictions get their turn
_LONGEST: Final = 64 * 1024  # bytes of a line; a longer one is no label


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


class Inbox:
    """Reads what is appended to the label file since it was opened.

    The file is kept open, so that one which is renamed away is still read to its end and its
    place in the file system is not mistaken for that of the next.

    Parameters
    ----------
    directory
        The state directory; it may come into being later.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / LABELS
        self._rest = b""
        self._skipping = False
        self.malformed = 0
        self._file = self._opened()
        self._offset = 0 if self._file is None else os.fstat(self._file).st_size

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)

    def read(self) -> list[LabelLine]:
        """Return the labels appended since the last call; malformed lines are counted."""
        out: list[LabelLine] = []
        try:
            if self._file is None:
                self._file = self._opened()
            if self._file is None:
                return out
            out += self._lines(self._file)
            if self._replaced(self._file):
                os.close(self._file)
                self._file = None
                self.malformed += bool(self._rest)  # its last line will never be finished
                self._offset, self._rest, self._skipping = 0, b"", False
                self._file = self._opened()
                if self._file is not None:
                    out += self._lines(self._file)
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

    def _lines(self, file: int) -> Iterator[LabelLine]:
        if os.fstat(file).st_size < self._offset:  # it was truncated
            self._offset, self._rest, self._skipping = 0, b"", False
        end = self._offset + _MOST
        while self._offset < end and (data := os.pread(file, _CHUNK, self._offset)):
            self._offset += len(data)
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                if self._skipping:
                    self._skipping = False
                    continue
                if not line.strip():
                    continue
                parsed = _parse(line) if len(line) <= _LONGEST else None
                if parsed is None:
                    self.malformed += 1
                else:
                    yield parsed
            if len(self._rest) > _LONGEST:
                self.malformed += not self._skipping
                self._rest, self._skipping = b"", True


def append_labels(directory: Path, labels: list[LabelLine]) -> None:
    """Append labels for every worker that reads this directory.

    Raises
    ------
    StateError
        If the directory cannot be made or written.
    """
    text = "".join(
        json.dumps({"model": item.model, "id": item.id, "label": item.label}) + "\n"
        for item in labels
    )
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(directory / LABELS, "ab+", buffering=0, opener=_private) as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    text = "\n" + text  # a writer died within its line: it must not take ours along
            rest = text.encode()
            while rest:
                rest = rest[file.write(rest) :]
    except OSError as error:
        raise StateError(
            f"cannot write labels to {directory}: {error.strerror}",
            remedy="give a directory this user may write, the one the server has in "
            "OTEL_ML_STATE_DIR",
        ) from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _parse(line: bytes) -> LabelLine | None:
    try:
        data = json.loads(line)
        model = data.get("model")
        if data["label"] is None:
            return None
        return LabelLine(None if model is None else str(model), str(data["id"]), data["label"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
