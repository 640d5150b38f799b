"""Encoded items of one signal in, what became of each out.

A lane is the way of one signal to one destination: it connects, retries within one deadline,
divides what is too large, isolates an item that the receiver refuses, waits as long as the receiver
asks it to, and says in the log when delivery stops and resumes.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Literal, Protocol, TypeAlias, TypeVar

from otel_ml.emit.destination import Destination
from otel_ml.emit.remedies import remedy
from otel_ml.emit.transport import Answer, Client, Request, connect

__all__ = ["Delivery", "Lane", "Patience", "Sized"]

_MAX_REQUESTS: Final = 64
_REMIND_SECONDS: Final = 300.0
_log = logging.getLogger(__name__)


class Sized(Protocol):
    """An item: a message, or what stands for one."""

    def ByteSize(self) -> int:
        """Return the bytes of the encoded item."""
        ...


Item = TypeVar("Item", bound=Sized)
Outcome: TypeAlias = Literal["success", "partial", "failure"]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a lane waits, and how much it sends at once.

    Parameters
    ----------
    backoff
        Seconds before each further attempt within one delivery.
    jitter
        Share by which every wait varies, so that many processes do not come back at once.
    longest_wait
        Seconds that are waited at most when a receiver asks for more.
    request_bytes
        Largest request. The default is what a gRPC receiver takes when nobody configured it.
    """

    backoff: tuple[float, ...] = (0.1, 0.5, 1.0)
    jitter: float = 0.2
    longest_wait: float = 300.0
    request_bytes: int = 4 * 1024 * 1024 - 64 * 1024


@dataclass(frozen=True, slots=True)
class Delivery(Generic[Item]):
    """What became of the items of one call.

    Parameters
    ----------
    outcome
        ``success``, ``partial`` or ``failure``.
    rejected
        Points or records that accepted requests lost.
    refused
        Items the receiver does not take, however often they are sent.
    oversize
        Items that are larger than a request may be.
    kept
        Items that were not delivered and may be sent again.
    """

    outcome: Outcome
    rejected: int = 0
    refused: tuple[Item, ...] = ()
    oversize: tuple[Item, ...] = ()
    kept: tuple[Item, ...] = ()


class Lane(Generic[Item]):
    """The way of one signal to its destination, in one process; used by one thread at a time.

    Parameters
    ----------
    destination
        Where and how to send.
    wrap
        Makes a request of items.
    halves
        Divides an item in two, or returns None where that cannot be done; None: nothing can.
    patience
        How long it waits, and how much it sends at once.
    """

    def __init__(
        self,
        destination: Destination,
        wrap: Callable[[Sequence[Item]], Request],
        halves: Callable[[Item], tuple[Item, Item] | None] | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._destination = destination
        self._wrap = wrap
        self._halves = halves
        self._patience = patience or Patience()
        self._hurried = threading.Event()
        self._not_before = 0.0
        self._client: Client | None = None
        self._said_at: float | None = None
        self._failing = False

    def deliver(
        self, items: Sequence[Item], deadline: float, *, last: bool = False
    ) -> Delivery[Item]:
        """Send the items before `deadline`, a time of the monotonic clock.

        A refused request is halved until the item, or the part of one, at fault is alone, so it
        loses only itself.

        Parameters
        ----------
        items
            What to send.
        deadline
            When to be done.
        last
            There is no other chance: one attempt is made though the receiver asked to wait.
        """
        self._hurried.clear()
        if not last and not self._allowed(deadline):
            return Delivery("failure", kept=tuple(items))
        waiting = [tuple(items)]
        refused: list[Item] = []
        oversize: list[Item] = []
        kept: list[Item] = []
        rejected = accepted = requests = 0
        answer = Answer("accepted")
        while waiting:
            part = waiting.pop()
            if requests == _MAX_REQUESTS or answer.status in ("retry", "failed", "declined"):
                kept.extend(part)
                continue
            too_large = sum(item.ByteSize() for item in part) > self._patience.request_bytes
            if not too_large:
                answer = self._send(self._wrap(part), deadline)
                requests += 1
            if too_large or answer.status in ("refused", "too_large"):
                divided = self._divided(part)
                if divided is not None:
                    waiting += divided
                elif too_large or answer.status == "too_large":
                    oversize.extend(part)
                    self._note("one item is larger than a request may be, and is lost")
                else:
                    refused.extend(part)
                    self._note(f"refused: {answer.message}")
            elif answer.status == "accepted":
                accepted += 1
                rejected += answer.rejected
                self._note_partial(answer)
            elif answer.status == "declined":
                refused.extend(part)
                self._note(f"declined: {answer.message}")
            else:
                kept.extend(part)
                self._note(answer.message)
        whole = not (refused or oversize or kept or rejected)
        if whole:
            self._note_delivered()
        if answer.status in ("retry", "failed"):
            # Names, certificates and tokens are looked at again with the next connection.
            self.close()
        outcome: Outcome = "success" if whole else "partial" if accepted else "failure"
        return Delivery(outcome, rejected, tuple(refused), tuple(oversize), tuple(kept))

    def hurry(self) -> None:
        """Have a delivery under way, in another thread, wait for nothing any more."""
        self._hurried.set()

    def close(self) -> None:
        """Close the connection; the next delivery opens another."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _allowed(self, deadline: float) -> bool:
        """Wait until the receiver wants to be asked again, unless that is after the deadline."""
        now = time.monotonic()
        if self._not_before <= now:
            return True
        if self._not_before >= deadline:
            return False
        return not self._hurried.wait(self._not_before - now)

    def _divided(self, part: tuple[Item, ...]) -> list[tuple[Item, ...]] | None:
        """Return the two halves of a part, the first one last, or None where it has none."""
        if len(part) > 1:
            middle = len(part) // 2
            return [part[middle:], part[:middle]]
        halves = None if self._halves is None else self._halves(part[0])
        return None if halves is None else [(halves[1],), (halves[0],)]

    def _send(self, request: Request, deadline: float) -> Answer:
        answer = Answer("retry", message="no time was left to send")
        for backoff in (*self._patience.backoff, None):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return answer
            try:
                if self._client is None:
                    self._client = connect(self._destination)
                answer = self._client.send(request, min(remaining, self._destination.timeout))
            except Exception as error:  # Files, entry points and libraries that are not ours.
                return Answer("failed", message=f"{type(error).__name__}: {error}")
            if answer.status != "retry":
                return answer
            wait = backoff or 0.0
            if answer.retry_after is not None:
                wait = max(wait, min(answer.retry_after, self._patience.longest_wait))
            # Later, never earlier, than the receiver asked for.
            wait *= 1 + random.uniform(0.0, self._patience.jitter)
            if answer.retry_after is not None:
                self._not_before = time.monotonic() + wait
            if backoff is None or wait >= deadline - time.monotonic() or self._hurried.wait(wait):
                return answer
        return answer

    def _note_partial(self, answer: Answer) -> None:
        if answer.rejected:
            self._note(f"{answer.rejected} rejected: {answer.message or 'no reason was given'}")
        elif answer.message:
            self._note(f"accepted with a warning: {answer.message}", failing=False)

    def _note(self, what: str, *, failing: bool = True) -> None:
        now = time.monotonic()
        if failing and not self._failing:
            self._failing = True
            self._said_at = None
        if self._said_at is not None and now - self._said_at < _REMIND_SECONDS:
            return
        self._said_at = now
        _log.warning(
            "%s to %s (%s): %s; %s",
            self._destination.signal,
            self._destination.shown,
            self._destination.protocol,
            # A receiver's words: they must not look like lines of this log.
            "".join(c if c.isprintable() else " " for c in what),
            remedy(what),
        )

    def _note_delivered(self) -> None:
        if self._failing:
            self._failing = False
            _log.info("%s arrive at %s again", self._destination.signal, self._destination.shown)
