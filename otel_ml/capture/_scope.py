"""What is open in this context, and where captured calls go when it ends.

One context variable holds the innermost open thing: nothing, a `Request` that is being served, a
`Call` that is being captured, or `QUIET`. A model method that finds a call or `QUIET` there is
inside another one (or in training) and never emits: the outermost wins, whichever library it is of.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol

from opentelemetry.trace.propagation import _SPAN_KEY

from otel_ml.capture._told import LOOKED_BACK, Told
from otel_ml.frame import CONTEXT, METHOD, MODEL, MORE, REQUEST, SOURCE, Frame

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from otel_ml.config import Settings
    from otel_ml.types import Captured

__all__ = [
    "QUIET",
    "SCOPE",
    "Quiet",
    "Request",
    "Sink",
    "in_use",
    "lost",
    "prepare",
    "settings",
    "submit",
]

_log = logging.getLogger("otel_ml")

HELD: Final = 64
"""Calls a request holds back at most, so that they can be merged and counted at its end."""


class Sink(Protocol):
    """Where captured calls go; `otel_ml.pipeline` is one."""

    def submit(self, captured: Captured | Frame) -> None:
        """Take a call; never blocks."""

    def skip(self, reason: str, n: int = 1) -> None:
        """Count a call that was seen but not taken."""

    def shutdown(self, timeout: float = 3.0) -> bool:
        """Export what is left; say whether everything went."""
        ...


class _Nowhere:
    """The sink of a process in which the pipeline cannot be loaded."""

    def submit(self, captured: Captured | Frame) -> None:
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


def submit(frame: Frame) -> None:
    """Hand a call to the pipeline, with its request where that has anything to say about it."""
    try:
        frame[SOURCE] = None
        request: Request | None = frame[REQUEST]
        if request is not None and request.alias is None and request.client is None:
            span = request.span
            if span is None or frame[CONTEXT].get(_SPAN_KEY) is span:
                frame[REQUEST] = None  # which ends here then, and does not wait for the worker
        (_current_sink or _sink()).submit(frame)
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


class Quiet:
    """Marks training, evaluation and calls nobody watches: what is inside never emits."""

    __slots__ = ()


QUIET: Final = Quiet()


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

    Attributes
    ----------
    partial
        Whether a response has begun that is not over.
    """

    # Defaults of the class: what need not be set costs the request nothing.
    client: str | None = None
    alias: str | None = None
    span: Span | None = None
    started: bool = False
    partial: bool = False
    closed: bool = False
    annotated: int = 0  # changes that the span tells of
    _passed: Told | None = None
    _latest: tuple[int, Told] | None = None  # what was told last, and of how many changes

    def __init__(
        self,
        client: str | None = None,
        alias: str | None = None,
        span: Span | None = None,
        started: bool = False,
    ) -> None:
        self.entries: list[Frame] = []
        if client is not None:
            self.client = client
        if alias is not None:
            self.alias = alias
        if span is not None:
            self.span = span
        if started:
            self.started = True

    @property
    def changes(self) -> int:
        """How many calls there were; one that was merged into another is none."""
        return len(self.entries) + (0 if self._passed is None else self._passed.calls)

    def told(self) -> Told:
        """Return what can be told of all calls so far: those passed on, and those held."""
        changes = self.changes  # before the calls are looked at: other threads may add some
        if self._latest is not None and self._latest[0] == changes:
            return self._latest[1]
        told = Told() if self._passed is None else self._passed.copy()
        for frame in tuple(self.entries):
            told.add(frame)
        self._latest = (changes, told)
        return told

    def earlier(self, model: object, method: str, features: object) -> Frame | None:
        """Return the latest call of this model on this very input that lacks this method."""
        if features is None:
            return None
        entries = self.entries
        for entry in reversed(entries if len(entries) <= LOOKED_BACK else entries[-LOOKED_BACK:]):
            if entry[SOURCE] is features and entry[MODEL] is model and entry[METHOD] != method:
                more = entry[MORE]
                if more is None or (more.error is None and method not in more.methods):
                    return entry
        return None

    def add(self, frame: Frame) -> None:
        """Keep a call until the request ends."""
        self.entries.append(frame)
        self.pass_on()

    def pass_on(self) -> None:
        """Pass the oldest calls on when there are too many, or nothing to wait for."""
        if self.started or self.closed or len(self.entries) > HELD:
            self._release(0 if self.closed else 1 if self.started else HELD)

    def close(self) -> None:
        """Pass everything on; calls that end later, in other threads, are passed on at once."""
        self.closed = True
        entries = self.entries
        if len(entries) == 1:
            try:
                frame = entries.pop()
            except IndexError:
                return  # another thread of the request was faster
            submit(frame)
        elif entries:
            self._release(0)

    def _release(self, keep: int) -> None:
        # Other threads of the request may do the same: `pop` gives each entry to one of them.
        entries = self.entries
        while len(entries) > keep:
            try:
                frame = entries.pop(0)
            except IndexError:
                return
            if not self.closed:  # else nobody asks any more
                if self._passed is None:
                    self._passed = Told()
                self._passed.add(frame)
            submit(frame)


SCOPE: Final[ContextVar[Any]] = ContextVar("otel_ml_scope", default=None)
"""None, a `Request`, an open call, or `QUIET`; the request path tells them apart by type."""
