"""Encoded records in, the newest that fit out: what waits for a receiver, within bounds."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from typing import Final

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

__all__ = ["Backlog"]

_MOST: Final = 1_000
_MOST_BYTES: Final = 4 * 1024 * 1024


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
        self._records: deque[tuple[LogRecord, int]] = deque()
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._records)

    def add(self, records: Iterable[LogRecord]) -> int:
        """Append records; return how many old ones were lost for want of room."""
        with self._lock:
            for record in records:
                size = record.ByteSize()
                self._records.append((record, size))
                self._bytes += size
            return self._trim()

    def put_back(self, records: Iterable[LogRecord]) -> int:
        """Return records, taken before and not delivered, to the front; as `add`."""
        with self._lock:
            for record in reversed(tuple(records)):
                size = record.ByteSize()
                self._records.appendleft((record, size))
                self._bytes += size
            return self._trim()

    def take(self) -> tuple[LogRecord, ...]:
        """Remove and return all."""
        with self._lock:
            records = tuple(record for record, _ in self._records)
            self._records.clear()
            self._bytes = 0
            return records

    def _trim(self) -> int:
        lost = 0
        # One record alone may be over the bound: it is sent, or dropped as too large, soon.
        while len(self._records) > self._most or (
            self._bytes > self._most_bytes and len(self._records) > 1
        ):
            self._bytes -= self._records.popleft()[1]
            lost += 1
        return lost
