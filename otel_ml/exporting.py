"""What was gathered in, reports of its exports out: a thread that waits for receivers.

The worker must not wait itself: ten thousand predictions come in a second, and as many are what its
queue holds.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from otel_ml.types import Event, Sample

if TYPE_CHECKING:
    from otel_ml.emit import Sink
    from otel_ml.emit.hand import Hand, Ticket
    from otel_ml.emit.sink import ExportReport

__all__ = ["GRACE", "Exporter"]

GRACE: Final = 0.25  # seconds


class Exporter:
    """Gives every sink what there is, one export after the other.

    Parameters
    ----------
    guard
        Runs a function and returns None where that raises.
    """

    def __init__(self, guard: Callable[..., Any]) -> None:
        self._guard = guard
        self._hand: Hand[None] | None = None
        self._last: Ticket[None] | None = None
        self._reports: deque[tuple[ExportReport, int]] = deque()

    @property
    def busy(self) -> bool:
        """Whether an export is under way."""
        return self._last is not None and not self._last.done

    def begin(
        self,
        sinks: Sequence[Sink],
        samples: Sequence[Sample],
        events: Sequence[Event],
        start_ns: int,
        now_ns: int,
        deadline: float,
    ) -> None:
        """Begin an export, after those that were begun before.

        Parameters
        ----------
        sinks
            What is exported to.
        samples, events, start_ns, now_ns
            As of `Sink.export`.
        deadline
            When all sinks together are to be done, a time of the monotonic clock.
        """

        def send(until: float) -> None:
            for sink in sinks:
                left = max(until - time.monotonic(), 0.0)
                report = self._guard(
                    lambda s=sink, t=left: s.export(
                        samples, events, start_ns=start_ns, now_ns=now_ns, timeout=t
                    )
                )
                if report is not None:
                    self._reports.append((report, now_ns))

        if self._hand is None:
            from otel_ml.emit.hand import Hand

            self._hand = Hand("otel-ml-export")
        self._last = self._hand.begin(send, deadline)
        if not self._last.taken:  # no thread can be started, as at the exit of the interpreter
            self._last.run(deadline)

    def hurry(self, sinks: Sequence[Sink], deadline: float) -> None:
        """Have what is under way wait for nothing any more, and wait for it until a time."""
        if self.busy:
            for sink in sinks:
                self._guard(getattr(sink, "hurry", _nothing))
            self.wait(deadline)

    def wait(self, deadline: float) -> None:
        """Wait for the last export, until a time of the monotonic clock, or for a moment.

        With no time left a sink waits for nothing, but what it is given it must have before it is
        closed.
        """
        if self._last is not None:
            self._last.wait(max(deadline, time.monotonic() + GRACE))

    def reports(self) -> Iterator[tuple[ExportReport, int]]:
        """Yield the reports of exports that have ended, each once, and when they were begun."""
        while self._reports:
            yield self._reports.popleft()

    def close(self, deadline: float) -> None:
        """End the thread if it has done what was begun by a time; a later export starts another.

        One that has not stays: what is begun later comes after what it still has to do.
        """
        self.wait(deadline)
        if self._hand is not None and not self.busy:
            hand, self._hand = self._hand, None
            hand.dismiss()
            hand.join(max(deadline, time.monotonic() + GRACE))


def _nothing() -> None:
    """Hurry a sink that never waits."""
