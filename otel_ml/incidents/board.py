"""The incidents of this process in, a file of them in the state directory out, and back merged.

Every process writes one file and no other; whoever wants to see all of them reads all files.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from otel_ml.errors import StateError

__all__ = ["BEAT", "DIRECTORY", "Board", "Post", "read_posts", "recent"]

DIRECTORY: Final = "incidents"
FORMAT: Final = "otel-ml/incidents/1"
BEAT: Final = 30.0
"""Seconds after which a process writes its file again, even if nothing changed."""

_SILENT: Final = 4 * BEAT  # seconds without a sign of life after which a file is stale
_KEPT_SECONDS: Final = 7 * 86_400.0  # closed incidents, and files of processes that are gone
_MOST: Final = 100  # closed incidents of a model in a file
_MOST_BYTES: Final = 64 * 1024 * 1024


def recent(closed: Sequence[Any], now: float) -> list[Any]:
    """Return the closed incidents that are still shown: the last days', bounded."""
    young = [i for i in closed if i.closed_at is None or now - i.closed_at <= _KEPT_SECONDS]
    return young[-_MOST:]


class Board:
    """The file of this process.

    Parameters
    ----------
    directory
        The state directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory / DIRECTORY
        self.instance = secrets.token_hex(8)
        self.path = self._directory / f"{self.instance}.json"
        self._tidy = True

    def post(self, models: Sequence[Mapping[str, Any]], *, ended: bool = False) -> None:
        """Write what there is now, in one step.

        Parameters
        ----------
        models
            Each with its ``model``, ``version``, ``incidents`` and ``mutes``.
        ended
            Whether this process stops watching.

        Raises
        ------
        OSError
            If the directory cannot be made or written.
        """
        document = {
            "format": FORMAT,
            "instance": self.instance,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "at": time.time(),
            "ended": ended,
            "models": list(models),
        }
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._tidy:
            self._tidy = False
            _forget(self._directory)
        temporary = self.path.with_name(f".{self.path.name}")
        with open(temporary, "w", encoding="utf-8", opener=_private) as file:
            file.write(json.dumps(document) + "\n")
        os.replace(temporary, self.path)


@dataclass(frozen=True, slots=True)
class Post:
    """What one process wrote.

    Parameters
    ----------
    instance, host, pid
        The process.
    at
        When it wrote, seconds since the Unix epoch.
    state
        ``running``; ``ended`` where it said so; ``stale`` where it is gone without a word.
    models
        Each with its ``model``, ``version``, ``incidents`` and ``mutes``.
    """

    instance: str
    host: str
    pid: int
    at: float
    state: str
    models: tuple[Mapping[str, Any], ...]


def read_posts(directory: Path, now: float | None = None) -> list[Post]:
    """Return what all processes wrote into a state directory, the latest first.

    Parameters
    ----------
    directory
        The state directory.
    now
        Seconds since the Unix epoch.

    Raises
    ------
    StateError
        If a file cannot be read.
    """
    posts = []
    moment = time.time() if now is None else now
    for path in sorted((directory / DIRECTORY).glob("*.json")):
        try:
            if path.stat().st_size > _MOST_BYTES:
                raise ValueError(f"more than {_MOST_BYTES} bytes")
            data = json.loads(path.read_bytes())
            if data["format"] != FORMAT:
                raise ValueError(f"format {data['format']!r}, this version reads {FORMAT!r}")
            at, host, pid = float(data["at"]), str(data["host"]), int(data["pid"])
            gone = moment - at > _SILENT or not _alive(host, pid)
            state = "ended" if data["ended"] else "stale" if gone else "running"
            posts.append(Post(str(data["instance"]), host, pid, at, state, tuple(data["models"])))
        except FileNotFoundError:
            continue  # its process has tidied up meanwhile
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise StateError(
                f"{path}: no list of incidents ({error})",
                remedy="remove the file: a running process writes it again",
            ) from error
    return sorted(posts, key=lambda post: -post.at)


def _alive(host: str, pid: int) -> bool:
    """Tell whether a process runs; of another machine that cannot be told, so it may."""
    if host != socket.gethostname() or os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # of another user
    return True


def _forget(directory: Path) -> None:
    """Remove files of processes that were gone days ago."""
    for path in directory.glob("*.json"):
        try:
            if time.time() - path.stat().st_mtime > _KEPT_SECONDS:
                path.unlink()
        except FileNotFoundError:
            continue  # another process was first


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
