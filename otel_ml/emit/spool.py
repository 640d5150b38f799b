"""What is about to be sent in, what an ended process could not send out: a directory on disk.

Off by default. Everything is committed before it is sent and forgotten after it was accepted, or
refused for good. A process that was killed leaves a file behind; the next one that starts with the
same directory sends what is in it, with the resource, the times and the instance id it had.

Whatever happens to the disk, telemetry goes on without it, and says so once.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

from otel_ml.emit.destination import Destination
from otel_ml.emit.resource import EncodedResource
from otel_ml.emit.spool_file import SUFFIX, SpoolFile, files_of, remove_files

__all__ = ["Leftover", "Spool", "key_of"]

_QUARANTINED: Final = ".corrupt"
_MOST_CLAIMED: Final = 64
_BROKEN: Final = (OSError, sqlite3.Error)
_log = logging.getLogger(__name__)

Result = TypeVar("Result")


def key_of(destination: Destination) -> str:
    """Return the name of a destination in a spool: an endpoint may hold a password."""
    named = f"{destination.signal} {destination.protocol} {destination.endpoint}"
    return f"{destination.signal}-{hashlib.sha256(named.encode()).hexdigest()[:16]}"


def _signal(name: str) -> str:
    return name.partition("-")[0]


class Leftover:
    """A file of a process that has ended, with what it left.

    Parameters
    ----------
    file
        The file, owned by this process now.
    resource
        What it was written under.

    Attributes
    ----------
    read_to
        Of each destination the id of the last event that was read.
    """

    def __init__(self, file: SpoolFile, resource: EncodedResource) -> None:
        self.file = file
        self.resource = resource
        self.read_to: dict[str, int] = {}


class Spool:
    """The part of one process in a directory.

    Parameters
    ----------
    directory
        Is made, with access for its owner only, where it does not exist.
    size
        Bytes that all files in it may take together, or about that: processes that write at the
        same time do not see each other's last write.
    resource
        Of this process.
    names
        Of the destinations, by `key_of`. What was meant for one that is gone goes to the first of
        the same signal.
    """

    def __init__(
        self, directory: Path, size: int, resource: EncodedResource, names: Sequence[str]
    ) -> None:
        self.directory = directory
        self._lost = 0
        self._size = size
        self._resource = resource
        self._own: SpoolFile | None = None
        self._said = ""
        self.leftovers: list[Leftover] = []
        self._names = frozenset(names)
        self._heirs = {_signal(name): name for name in reversed(tuple(names))}
        self._guarded(self._find)

    def keep_events(self, destination: str, bodies: Sequence[bytes]) -> list[int | None]:
        """Commit events before they are sent; return their ids, None for what is not kept."""
        none: list[int | None] = [None] * len(bodies)
        if not bodies or not self._guarded(lambda: self._room(sum(map(len, bodies)))):
            return none
        made = self._guarded(lambda: self._file().add_events(destination, bodies))
        return none if made is None else list(made)

    def keep_state(self, destination: str, body: bytes) -> None:
        """Commit the state of metrics before it is sent."""
        if self._guarded(lambda: self._room(len(body))):
            self._guarded(lambda: self._file().put_state(destination, body))

    def forget_events(self, ids: Sequence[int], file: SpoolFile | None = None) -> None:
        """Forget events that need not be sent any more, of this process or of a leftover."""
        held = file or self._own
        if ids and held is not None:
            self._guarded(lambda: held.drop_events(ids))

    def forget_state(self, destination: str, file: SpoolFile | None = None) -> None:
        """Forget a state that need not be sent any more."""
        held = file or self._own
        if held is not None:
            self._guarded(lambda: held.drop_state(destination))

    def take_lost(self) -> int:
        """Return how much was lost for want of room since the last call."""
        lost, self._lost = self._lost, 0
        return lost

    def tidy(self) -> None:
        """Remove the leftovers that nothing is left of."""
        for leftover in tuple(self.leftovers):
            if self._guarded(leftover.file.waiting) == 0:
                self.leftovers.remove(leftover)
                self._guarded(leftover.file.remove)

    def close(self) -> int:
        """Remove what is empty, give up the rest; return how much waits for the next process."""
        self.tidy()
        waiting = 0
        files = [leftover.file for leftover in self.leftovers]
        if self._own is not None:
            files.append(self._own)
        for file in files:
            held = self._guarded(file.waiting)
            waiting += held or 0
            self._guarded(file.remove if held == 0 else file.release)
        self.leftovers, self._own = [], None
        return waiting

    def events_of(self, leftover: Leftover, name: str, most: int) -> list[tuple[int, bytes]]:
        """Return the next events for a destination that were not read yet: id and body."""
        after = leftover.read_to.get(name, 0)
        rows = self._guarded(lambda: leftover.file.events(after, most)) or []
        if rows:
            leftover.read_to[name] = rows[-1][0]
        return [(row, body) for row, of, body in rows if self._goes_to(of) == name]

    def states_of(self, leftover: Leftover, name: str) -> list[tuple[str, bytes]]:
        """Return the states for a destination: the name they have in the file, and body."""
        rows = self._guarded(leftover.file.states) or []
        return [(of, body) for of, body in rows if self._goes_to(of) == name]

    def _goes_to(self, name: str) -> str | None:
        return name if name in self._names else self._heirs.get(_signal(name))

    def _file(self) -> SpoolFile:
        if self._own is not None and not self._own.path.exists():
            self._own.release()  # somebody cleared the directory
            self._own = None
        if self._own is None:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self.directory / f"{uuid.uuid4()}{SUFFIX}"
            self._own = SpoolFile.create(path, self._resource)
        return self._own

    def _find(self) -> None:
        """Own what ended processes left; what is damaged is put aside and never read again."""
        if not self.directory.is_dir():
            return
        for path in sorted(self.directory.glob(f"*{SUFFIX}"), key=_age)[:_MOST_CLAIMED]:
            file = SpoolFile.claim(path)
            if file is None:
                continue
            try:
                if file.readable():
                    self.leftovers.append(Leftover(file, file.resource()))
                else:
                    _log.warning("%s is of another version of otel-ml; it is left alone", path)
                    file.release()
            except Exception as error:  # whatever is in a damaged file
                self._put_aside(file, error)

    def _put_aside(self, file: SpoolFile, error: Exception) -> None:
        _log.warning(
            "%s is damaged (%s): it is kept as *%s and not sent", file.path, error, _QUARANTINED
        )
        for each in files_of(file.path):
            if each == file.path:
                each.replace(each.with_suffix(_QUARANTINED))
            else:
                with contextlib.suppress(FileNotFoundError):
                    each.unlink()
        file.release()

    def _room(self, needed: int) -> bool:
        """Make room: what was put aside goes first, then the oldest that nobody owns."""
        if needed + self._used() <= self._size:
            return True
        for path in self._dispensable():
            if needed + self._used() <= self._size:
                return True
            remove_files(path)
        if needed + self._used() <= self._size:
            return True
        self._say(f"{self.directory} is full ({self._size} bytes): raise export.spool_bytes")
        return False

    def _dispensable(self) -> Iterator[Path]:
        yield from sorted(self.directory.glob(f"*{_QUARANTINED}"), key=_age)
        for leftover in tuple(self.leftovers):
            lost = self._guarded(leftover.file.waiting) or 0
            self._lost += lost
            self.leftovers.remove(leftover)
            _log.warning("%d that an ended process left are lost: the spool is full", lost)
            yield leftover.file.path
            leftover.file.release()

    def _used(self) -> int:
        used = 0
        if self.directory.is_dir():
            for entry in os.scandir(self.directory):
                with contextlib.suppress(FileNotFoundError):
                    used += entry.stat(follow_symlinks=False).st_size
        return used

    def _guarded(self, work: Callable[[], Result]) -> Result | None:
        """Do work with files; without a disk that takes it, telemetry goes on without a spool."""
        try:
            result = work()
        except _BROKEN as error:
            damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(
                error, sqlite3.OperationalError
            )
            own = self._own
            if damaged and own is not None:
                self._own = None  # the next one begins a file that is whole
                with contextlib.suppress(*_BROKEN):
                    self._put_aside(own, error)
            self._say(f"{type(error).__name__}: {error}")
            return None
        return result

    def _say(self, problem: str) -> None:
        if problem != self._said:
            _log.warning(
                "what is not delivered is kept in memory only, not in %s: %s",
                self.directory,
                problem,
            )
        self._said = problem


def _age(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0
