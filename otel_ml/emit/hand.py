"""Work in, its result out in time or later: a thread whose owner waits no longer than it wants to.

A look-up of a name, or a library, may take its time whatever deadline it was given. Here that costs
the thread that asked, and never the one that has to go on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Final, Generic, TypeVar

__all__ = ["Hand", "Ticket", "finish"]

_log = logging.getLogger(__name__)
_STARTS_FAIL_WITH: Final = (RuntimeError, MemoryError)

Result = TypeVar("Result")
Work = Callable[[float], Result]


class Ticket(Generic[Result]):
    """One piece of work, and later its result.

    Parameters
    ----------
    work
        Called once, with its deadline.
    """

    def __init__(self, work: Work[Result]) -> None:
        self.taken = False
        self.result: Result | None = None
        self._work = work
        self._done = threading.Event()

    @property
    def done(self) -> bool:
        """Whether the work has ended."""
        return self._done.is_set()

    def run(self, deadline: float) -> None:
        """Do the work; what it raises is said in the log and leaves no result."""
        try:
            self.result = self._work(deadline)
        except BaseException:  # SystemExit of a credential provider must not end the thread
            _log.exception("export failed; this is a defect of otel-ml, or of a provider")
        finally:
            self._done.set()

    def wait(self, deadline: float) -> bool:
        """Wait until the work has ended, or until a time of the monotonic clock; tell which."""
        return self._done.wait(max(deadline - time.monotonic(), 0.0))


class Hand(Generic[Result]):
    """A daemon thread that does one piece of work after the other, started with the first.

    Parameters
    ----------
    name
        Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._tickets: SimpleQueue[tuple[Ticket[Result], float] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._last: Ticket[Result] | None = None

    @property
    def busy(self) -> bool:
        """Whether it has not come to the end of what it was given."""
        return self._last is not None and self._last.taken and not self._last.done

    def begin(self, work: Work[Result], deadline: float) -> Ticket[Result]:
        """Hand work over, to be done by a time of the monotonic clock.

        Returns
        -------
        Ticket
            It is ``taken`` unless no thread can be started, as at the exit of the interpreter or
            at a limit of the system: it is for the caller to run it then.
        """
        ticket = Ticket(work)
        if self._started():
            ticket.taken = True
            self._last = ticket
            self._tickets.put((ticket, deadline))
        return ticket

    def dismiss(self) -> None:
        """End the thread after what it was given; nothing may be begun after that."""
        if self._thread is not None:
            self._tickets.put(None)

    def join(self, deadline: float) -> None:
        """Wait until the thread has ended, or until a time of the monotonic clock."""
        if self._thread is not None:
            self._thread.join(max(deadline - time.monotonic(), 0.0))

    def _started(self) -> bool:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                thread.start()
            except _STARTS_FAIL_WITH:
                return False
            self._thread = thread
        return True

    def _run(self) -> None:
        while (given := self._tickets.get()) is not None:
            ticket, deadline = given
            ticket.run(deadline)
            del given, ticket


def finish(tickets: Sequence[Ticket[Result]], deadline: float) -> None:
    """Run what no thread took, each with its share of the time left, and wait for the others."""
    own = [ticket for ticket in tickets if not ticket.taken]
    for i, ticket in enumerate(own):
        now = time.monotonic()
        ticket.run(now + (deadline - now) / (len(own) - i))
    for ticket in tickets:
        ticket.wait(deadline)
