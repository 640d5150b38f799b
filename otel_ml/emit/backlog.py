"""Encoded records in, the newest that fit out: what waits for a receiver, within bounds."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from otel_ml.emit.resource import EncodedResource

if TYPE_CHECKING:
    from otel_ml.emit.spool_file import SpoolFile

__all__ = ["Backlog", "Entry"]

_MOST: Final = 1_000
_MOST_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A record that waits.

    Parameters
    ----------
    record
        The message.
    identity
        The resource it belongs to.
    row
        Its id in a spool, where it is in one.
    file
        File of an ended process that it is in; None for that of this one.
    """

    record: LogRecord
    identity: EncodedResource
    row: int | None = None
    file: SpoolFile | None = None

    def ByteSize(self) -> int:
        """Return the bytes of the encoded record."""
        return self.record.ByteSize()


class Backlog:
    """Records that wait to be sent, oldest first; beyond its bounds the oldest are lost.

    Parameters
    ----------
    most, most_bytes
        Records, and bytes of them, that may wait.
    """

    def __init__(self, most: int = _MOST, most_bytes: int = _MOST_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._entries: deque[tuple[Entry, int]] = deque()
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def roomy(self) -> bool:
        """Whether less than half of it is taken."""
        return len(self) * 2 < self._most and self._bytes * 2 < self._most_bytes

    def add(self, entries: Iterable[Entry]) -> list[Entry]:
        """Append entries; return the old ones that were lost for want of room."""
        with self._lock:
            for entry in entries:
                size = entry.ByteSize()
                self._entries.append((entry, size))
                self._bytes += size
            return self._trim()

    def put_back(self, entries: Iterable[Entry]) -> list[Entry]:
        """Put entries that are older than all others to the front; as `add`."""
        with self._lock:
            for entry in reversed(tuple(entries)):
                size = entry.ByteSize()
                self._entries.appendleft((entry, size))
                self._bytes += size
            return self._trim()

    def take(self) -> tuple[Entry, ...]:
        """Remove and return all."""
        with self._lock:
            entries = self.all()
            self._entries.clear()
            self._bytes = 0
            return entries

    def all(self) -> tuple[Entry, ...]:
        """Return all."""
        return tuple(entry for entry, _ in self._entries)

    def _trim(self) -> list[Entry]:
        lost: list[Entry] = []
        # One record alone may be over the bound: it is sent, or dropped as too large, soon.
        while len(self._entries) > self._most or (
            self._bytes > self._most_bytes and len(self._entries) > 1
        ):
            entry, size = self._entries.popleft()
            self._bytes -= size
            lost.append(entry)
        return lost
