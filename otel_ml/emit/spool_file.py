"""Encoded events and metrics in, the same out again in another process: one file of a spool.

A file belongs to one sink of one process, and later to whoever finds it without an owner. It holds
the resource it was written under, the events that were not accepted yet, and the last state of the
metrics of each destination.

A connection lives for one operation only, so that a fork never finds one: SQLite must not be used,
not even closed, in a child. The lock of the owner is one of POSIX on a file of its own: it ends
with the process, however that ends, and is not inherited.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from otel_ml.emit.resource import EncodedResource, instance_id

__all__ = ["SUFFIX", "SpoolFile", "files_of", "remove_files"]

SUFFIX: Final = ".spool"
_LOCK: Final = ".lock"
_VERSION: Final = 1
_BUSY_SECONDS: Final = 1.0
_SCHEMA: Final = """
PRAGMA auto_vacuum = FULL;
PRAGMA journal_mode = WAL;
BEGIN IMMEDIATE;
CREATE TABLE resource (body BLOB NOT NULL, schema_url TEXT NOT NULL);
CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT, destination TEXT NOT NULL, body BLOB NOT NULL
);
CREATE TABLE state (destination TEXT PRIMARY KEY, body BLOB NOT NULL);
"""

_held: dict[str, set[str]] = {}  # names of the files that a process owns


class SpoolFile:
    """One file, owned by this process.

    Parameters
    ----------
    path
        Its path.
    descriptor
        Of the locked file beside it; stays open as long as the file is owned.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._lock = threading.Lock()

    @classmethod
    def create(cls, path: Path, resource: EncodedResource) -> SpoolFile:
        """Make a file and own it.

        Raises
        ------
        OSError, sqlite3.Error
            It cannot be made.
        """
        descriptor = _own(path)
        if descriptor is None:
            raise FileExistsError(f"{path} belongs to another process")
        made = cls(path, descriptor)
        try:
            # SQLite gives its journal the permissions of the file.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
            with made._connected() as connection:
                connection.executescript(_SCHEMA)
                connection.execute(
                    "INSERT INTO resource VALUES (?, ?)",
                    (resource.message.SerializeToString(), resource.schema_url),
                )
                connection.execute(f"PRAGMA user_version = {_VERSION}")
                connection.execute("COMMIT")
        except BaseException:
            made.remove()
            raise
        return made

    @classmethod
    def claim(cls, path: Path) -> SpoolFile | None:
        """Own a file whose process has ended; None where it has not, or it is no file of ours."""
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
            return None
        descriptor = _own(path)
        if descriptor is None:
            return None
        claimed = cls(path, descriptor)
        if not path.exists():  # its owner removed it in between
            claimed.remove()
            return None
        return claimed

    def readable(self) -> bool:
        """Tell whether it was written by a version that this one understands.

        Raises
        ------
        sqlite3.DatabaseError
            The file is damaged.
        """
        with self._connected() as connection:
            version: int = connection.execute("PRAGMA user_version").fetchone()[0]
            if version != _VERSION:
                return False
            found: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise sqlite3.DatabaseError(found)
        return True

    def resource(self) -> EncodedResource:
        """Return the resource that it was written under."""
        with self._connected() as connection:
            body, schema_url = connection.execute(
                "SELECT body, schema_url FROM resource"
            ).fetchone()
        return EncodedResource(Resource.FromString(body), schema_url)

    def add_events(self, destination: str, bodies: Sequence[bytes]) -> list[int]:
        """Commit events; return the id of each."""
        ids: list[int] = []
        with self._transaction() as connection:
            for body in bodies:
                made = connection.execute(
                    "INSERT INTO event (destination, body) VALUES (?, ?)", (destination, body)
                )
                ids.append(int(made.lastrowid or 0))
        return ids

    def events(self, after: int, most: int) -> list[tuple[int, str, bytes]]:
        """Return the first events with an id above `after`: id, destination, body."""
        with self._connected() as connection:
            return connection.execute(
                "SELECT id, destination, body FROM event WHERE id > ? ORDER BY id LIMIT ?",
                (after, most),
            ).fetchall()

    def drop_events(self, ids: Sequence[int]) -> None:
        """Forget events."""
        with self._transaction() as connection:
            connection.executemany("DELETE FROM event WHERE id = ?", [(i,) for i in ids])

    def put_state(self, destination: str, body: bytes) -> None:
        """Commit the last state of a destination's metrics in the place of the one before."""
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (destination, body))

    def states(self) -> list[tuple[str, bytes]]:
        """Return the last states: destination, body."""
        with self._connected() as connection:
            return connection.execute("SELECT destination, body FROM state").fetchall()

    def drop_state(self, destination: str) -> None:
        """Forget a state."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM state WHERE destination = ?", (destination,))

    def waiting(self) -> int:
        """Return how many events and states it holds."""
        with self._connected() as connection:
            counted: int = connection.execute(
                "SELECT (SELECT count(*) FROM event) + (SELECT count(*) FROM state)"
            ).fetchone()[0]
        return counted

    def remove(self) -> None:
        """Remove the file and give up its lock."""
        remove_files(self.path)
        self.release()

    def release(self) -> None:
        """Give up the lock; what is left in the file is for the next process."""
        with contextlib.suppress(OSError):
            os.unlink(self.path.with_suffix(_LOCK))
        os.close(self._descriptor)
        _held.get(instance_id(), set()).discard(self.path.name)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            connection = sqlite3.connect(
                f"file:{quote(str(self.path))}?mode=rw",  # never makes one in the place of another
                uri=True,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
            )
            try:
                # Enough against the end of the process, which is what a spool is for. The end of
                # the machine may cost the last operations, not the file.
                connection.execute("PRAGMA synchronous = NORMAL")
                yield connection
            finally:
                connection.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")


def files_of(path: Path) -> list[Path]:
    """Return the file with those SQLite may have put beside it."""
    return [path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal"))]


def remove_files(path: Path) -> None:
    """Remove a file and those that SQLite may have put beside it."""
    for each in files_of(path):
        with contextlib.suppress(FileNotFoundError):
            each.unlink()


def _own(path: Path) -> int | None:
    """Lock a file's lock; return the descriptor, or None where it is another's, or ours already.

    Closing any descriptor of a file gives up all locks of this process on it, so one that this
    process holds must not even be opened.
    """
    held = _held.setdefault(instance_id(), set())
    if path.name in held:
        return None
    descriptor = os.open(
        path.with_suffix(_LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
    )
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The owner before may have removed what was opened here, and another made it anew.
        still = os.path.samestat(os.fstat(descriptor), os.lstat(path.with_suffix(_LOCK)))
    except OSError:
        still = False
    if not still:
        os.close(descriptor)
        return None
    held.add(path.name)
    return descriptor
