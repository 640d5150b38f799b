"""What is open in this context, and where captured calls go when it ends.

One context variable holds the innermost open thing: nothing, a `Request` that is being served, a
`Call` that is being captured, or `QUIET`. A model method that finds a call or `QUIET` there is
inside another one (or in training) and never emits: the outermost wins, whichever library it is of.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextvars import ContextVar
from random import Random
from time import time_ns
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from otel_ml.config import Settings
    from otel_ml.types import Captured

__all__ = [
    "QUIET",
    "SCOPE",
    "Entry",
    "Quiet",
    "Request",
    "Sink",
    "in_use",
    "lost",
    "prediction_id",
    "prepare",
    "settings",
    "submit",
]

_log = logging.getLogger("otel_ml")

HELD: Final = 64
"""Calls a request holds back at most, so that they can be merged and counted at its end."""

LOOKED_BACK: Final = 8
"""Calls looked through for one on the same input."""

NAMED: Final = 32
"""Prediction ids a response header names at most: a header is limited to a few kilobytes."""


class Sink(Protocol):
    """Where captured calls go; `otel_ml.pipeline` is one."""

    def submit(self, captured: Captured) -> None:
        """Take a call; never blocks."""

    def skip(self, reason: str, n: int = 1) -> None:
        """Count a call that was seen but not taken."""

    def shutdown(self, timeout: float = 3.0) -> bool:
        """Export what is left; say whether everything went."""
        ...


class _Nowhere:
    """The sink of a process in which the pipeline cannot be loaded."""

    def submit(self, captured: Captured) -> None:
        """Take nothing."""

    def skip(self, reason: str, n: int = 1) -> None:
        """Count nothing."""

    def shutdown(self, timeout: float = 3.0) -> bool:
        """Say that nothing is left."""
        return True


_current_sink: Sink | None = None
_active: Callable[[], Settings] | None = None


def _sink() -> Sink:
    """Return the pipeline, imported on first use."""
    global _current_sink
    if _current_sink is None:
        from otel_ml import pipeline

        _current_sink = pipeline
    return _current_sink


def in_use() -> bool:
    """Say whether the pipeline has been loaded, so that there may be something to flush."""
    return _current_sink is not None


def settings() -> Settings:
    """Return the settings in force."""
    global _active
    if _active is None:
        from otel_ml.config import active

        _active = active
    return _active()


def prepare() -> bool:
    """Load pipeline and settings ahead of the first request; on failure say so once and turn off.

    Returns
    -------
    ready
        Whether calls are to be captured.
    """
    global _current_sink
    try:
        if not settings().enabled:
            return False
        _sink()
    except Exception:
        _current_sink = _Nowhere()
        _log.error("otel-ml cannot start in this process and is off", exc_info=True)
        return False
    return not isinstance(_current_sink, _Nowhere)


def submit(captured: Captured) -> None:
    """Hand a call to the pipeline, whatever happens there."""
    try:
        _sink().submit(captured)
    except KeyboardInterrupt:
        raise
    except BaseException:
        lost()


def lost(reason: str = "invalid_input", n: int = 1) -> None:
    """Count calls that were seen but not taken, whatever happens there."""
    try:
        _sink().skip(reason, n)
    except KeyboardInterrupt:
        raise
    except BaseException:
        # Whatever cannot even be counted must still not reach the application.
        return


def prediction_id() -> str:
    """Return 32 hex digits: 48 bits of Unix milliseconds, then 80 random bits.

    Notes
    -----
    The random bits have a generator of their own, seeded by the operating system in each process,
    so neither a fork nor an application that seeds `random` makes two processes give out one id.
    """
    return (time_ns() // 1_000_000 << 80 | _random.getrandbits(80)).to_bytes(16, "big").hex()


_random = Random()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.seed)


class Quiet:
    """Marks training, evaluation and calls nobody watches: what is inside never emits."""

    __slots__ = ()


QUIET: Final = Quiet()


class Entry:
    """A captured call of a request, with what is needed to recognise another one on its input."""

    __slots__ = ("captured", "features", "methods")

    def __init__(self, captured: Captured, features: object) -> None:
        self.captured = captured
        self.features = features
        self.methods: tuple[str, ...] = (captured.method,)

    def merge(self, method: str, output: object, inner: dict[str, object] | None) -> None:
        """Add the output of another method called on the same input."""
        captured = self.captured
        # A new dict, because the worker may already be reading the old one.
        captured.outputs = {**(captured.outputs or {}), **(inner or {}), method: output}
        self.methods = (*self.methods, method)


class Request:
    """A request being served: its caller, and the predictions made for it.

    Parameters
    ----------
    client
        Raw value of the client header, or None.
    alias
        The caller's own request id, or None.
    span
        The recording server span, where one is known.
    started
        True where there is no response header to wait for, as on a websocket.
    """

    __slots__ = (
        "alias",
        "changes",
        "client",
        "closed",
        "entries",
        "ids",
        "models",
        "rows",
        "span",
        "started",
    )

    def __init__(
        self,
        client: str | None = None,
        alias: str | None = None,
        span: Span | None = None,
        started: bool = False,
    ) -> None:
        self.client = client
        self.alias = alias
        self.span = span
        self.started = started
        self.closed = False
        self.entries: list[Entry] = []
        self.ids: list[str] = []
        self.models: list[object] = []
        self.rows: int | None = 0
        self.changes = 0

    def earlier(self, model: object, method: str, features: object) -> Entry | None:
        """Return the latest call of this model on this very input that lacks this method."""
        if features is None or not self.entries:
            return None
        for entry in reversed(self.entries[-LOOKED_BACK:]):
            if (
                entry.features is features
                and entry.captured.model is model
                and entry.captured.error is None
                and method not in entry.methods
            ):
                return entry
        return None

    def add(self, captured: Captured, features: object, rows: int | None) -> None:
        """Keep a call until the request ends; pass the oldest on when there are too many."""
        if captured.error is None:
            if captured.prediction_id is not None and len(self.ids) < NAMED:
                self.ids.append(captured.prediction_id)
            self.rows = None if rows is None or self.rows is None else self.rows + rows
        for model in self.models:
            if model is captured.model:
                break
        else:
            self.models = [*self.models[-LOOKED_BACK:], captured.model]
        self.changes += 1
        self.entries.append(Entry(captured, features))
        keep = 0 if self.closed else 1 if self.started else HELD
        if len(self.entries) > keep:
            self._release(keep)

    def close(self) -> None:
        """Pass everything on; calls that end later, in other threads, are passed on at once."""
        self.closed = True
        self._release(0)

    def _release(self, keep: int) -> None:
        # Other threads of the request may do the same: `pop` gives each entry to one of them.
        while len(self.entries) > keep:
            try:
                entry = self.entries.pop(0)
            except IndexError:
                return
            submit(entry.captured)


SCOPE: Final[ContextVar[Any]] = ContextVar("otel_ml_scope", default=None)
"""None, a `Request`, an open call, or `QUIET`; the request path tells them apart by type."""
