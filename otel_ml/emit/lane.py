"""Encoded items of one signal in, what became of each out.

A lane is the way of one signal to one destination: it connects, retries within one deadline,
isolates an item that the receiver refuses, and says in the log when delivery stops and resumes.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeAlias, TypeVar

from otel_ml.emit.destination import Destination
from otel_ml.emit.transport import Answer, Client, Request, connect

__all__ = ["Delivery", "Lane"]

_BACKOFF_SECONDS: Final = (0.1, 0.5, 1.0)
_JITTER: Final = 0.2
_MAX_REQUESTS: Final = 64
_REMIND_SECONDS: Final = 300.0
_log = logging.getLogger(__name__)

Item = TypeVar("Item")
Outcome: TypeAlias = Literal["success", "partial", "failure"]


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
    kept
        Items that were not delivered and may be sent again.
    """

    outcome: Outcome
    rejected: int
    refused: tuple[Item, ...]
    kept: tuple[Item, ...]


class Lane(Generic[Item]):
    """The way of one signal to its destination, in one process.

    Parameters
    ----------
    destination
        Where and how to send.
    wrap
        Makes a request of items.
    closing
        Set when the sink shuts down: no waiting from then on.
    """

    def __init__(
        self,
        destination: Destination,
        wrap: Callable[[Sequence[Item]], Request],
        closing: threading.Event,
    ) -> None:
        self._destination = destination
        self._wrap = wrap
        self._closing = closing
        self._client: Client | None = None
        self._said_at: float | None = None
        self._failing = False

    def deliver(self, items: Sequence[Item], deadline: float) -> Delivery[Item]:
        """Send the items before `deadline`, a time of the monotonic clock.

        A refused request is halved until the item at fault is alone, so it loses only itself.
        """
        waiting = [tuple(items)]
        refused: list[Item] = []
        kept: list[Item] = []
        rejected = accepted = requests = 0
        answer = Answer("accepted")
        while waiting:
            part = waiting.pop()
            if requests == _MAX_REQUESTS or answer.status in ("retry", "failed"):
                kept.extend(part)
                continue
            answer = self._send(self._wrap(part), deadline)
            requests += 1
            if answer.status == "accepted":
                accepted += 1
                rejected += answer.rejected
                self._note_partial(answer)
            elif answer.status == "refused" and len(part) > 1:
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]
            elif answer.status == "refused":
                refused.extend(part)
                self._note(f"refused: {answer.message}")
            else:
                kept.extend(part)
                self._note(answer.message)
        whole = not (refused or kept or rejected)
        if whole:
            self._note_delivered()
        outcome: Outcome = "success" if whole else "partial" if accepted else "failure"
        return Delivery(outcome, rejected, tuple(refused), tuple(kept))

    def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _send(self, request: Request, deadline: float) -> Answer:
        answer = Answer("retry", message="no time was left to send")
        for backoff in (*_BACKOFF_SECONDS, None):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return answer
            try:
                if self._client is None:
                    self._client = connect(self._destination)
                answer = self._client.send(request, min(remaining, self._destination.timeout))
            except Exception as error:  # Files, entry points and libraries that are not ours.
                return Answer("failed", message=f"{type(error).__name__}: {error}")
            if answer.status != "retry" or backoff is None:
                return answer
            wait = answer.retry_after
            if wait is None:
                wait = backoff * random.uniform(1 - _JITTER, 1 + _JITTER)
            if wait >= deadline - time.monotonic() or self._closing.wait(wait):
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
            "%s to %s (%s): %s; check the OTEL_EXPORTER_OTLP_* variables and the receiver",
            self._destination.signal,
            self._destination.shown,
            self._destination.protocol,
            what,
        )

    def _note_delivered(self) -> None:
        if self._failing:
            self._failing = False
            _log.info("%s arrive at %s again", self._destination.signal, self._destination.shown)
