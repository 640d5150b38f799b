"""What one signal to one destination has to do with its thread, and with what is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from otel_ml.emit.destination import Destination
from otel_ml.emit.hand import Hand, Ticket
from otel_ml.emit.lane import Lane, Sized
from otel_ml.emit.silence import uninstrumented
from otel_ml.emit.transport import preload

__all__ = ["Outlet"]

# Answers are read at a deadline; the one that waits for the answer wants to hear of it by its own.
_MARGIN: Final = 0.05

Item = TypeVar("Item", bound=Sized)


class Outlet(Generic[Item]):
    """One signal to one destination: samples or events in, what became of them out.

    An outlet has a thread of its own, so signals go at the same time, and none of them makes its
    owner wait longer than it wants to.

    Parameters
    ----------
    destination
        Where and how to send.
    """

    _lane: Lane[Item]

    def __init__(self, destination: Destination) -> None:
        self.signal = destination.signal
        self._hand: Hand[str] = Hand(f"otel-ml-{destination.signal}")
        self._lost: dict[str, int] = {}
        self._lock = threading.Lock()
        preload(destination)

    @property
    def busy(self) -> bool:
        """Whether an earlier delivery is still under way."""
        return self._hand.busy

    def lose(self, reason: str, number: int) -> None:
        """Count what is lost for good."""
        if number > 0:
            with self._lock:
                self._lost[reason] = self._lost.get(reason, 0) + number

    def losses(self) -> dict[str, int]:
        """Return what was lost since the last call, by reason."""
        with self._lock:
            lost, self._lost = self._lost, {}
            return lost

    def hurry(self) -> None:
        """Have a delivery under way wait for nothing any more."""
        self._lane.hurry()

    def close(self, deadline: float) -> Ticket[str]:
        """Send what is still kept once more, and then close the connection."""
        ticket = self._hand.begin(self._close, deadline)
        self._hand.dismiss()
        return ticket

    def _begin(self, work: Callable[[float], str], deadline: float, timeout: float) -> Ticket[str]:
        def quietly(until: float) -> str:
            # Here, since it holds for the thread that asks for it.
            with uninstrumented():
                return work(until)

        return self._hand.begin(quietly, deadline - _MARGIN * timeout)

    def _close(self, deadline: float) -> str:
        try:
            with uninstrumented():
                return self._last(deadline)
        finally:
            self._lane.close()

    def _last(self, deadline: float) -> str:
        return "success"
