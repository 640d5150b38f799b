"""The state directory in, labels out: lines that any process appends, every worker reads."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from otel_ml.errors import StateError

__all__ = ["LABELS", "Inbox", "LabelLine", "append_labels"]

LABELS: Final = "labels.jsonl"
_CHUNK: Final = 4 * 1024 * 1024


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

    Parameters
    ----------
    directory
        The state directory; it may come into being later.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / LABELS
        self._rest = b""
        self.malformed = 0
        try:
            status = self._path.stat()
            self._inode, self._offset = status.st_ino, status.st_size
        except OSError:
            self._inode, self._offset = 0, 0

    def read(self) -> list[LabelLine]:
        """Return the labels appended since the last call; malformed lines are counted."""
        out: list[LabelLine] = []
        try:
            status = self._path.stat()
            if status.st_ino != self._inode or status.st_size < self._offset:
                self._inode, self._offset, self._rest = status.st_ino, 0, b""
            if status.st_size == self._offset:
                return out
            with self._path.open("rb") as handle:
                handle.seek(self._offset)
                data = handle.read(_CHUNK)
        except OSError:
            return out
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.strip():
                parsed = _parse(line)
                if parsed is None:
                    self.malformed += 1
                else:
                    out.append(parsed)
        return out


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
        descriptor = os.open(directory / LABELS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StateError(
            f"cannot write labels to {directory}: {error.strerror}",
            remedy="give a directory this user may write, the one the server has in "
            "OTEL_ML_STATE_DIR",
        ) from error


def _parse(line: bytes) -> LabelLine | None:
    try:
        data = json.loads(line)
        model = data.get("model")
        return LabelLine(None if model is None else str(model), str(data["id"]), data["label"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
