"""Long work in, a moment for other threads every now and then out.

Python's lock goes from thread to thread where its holder has kept it for five milliseconds. Work
on small arrays lets go of it many times in between, for an instant each, and has it back before
whoever waits has woken up: a request then waits until all that work is done, maybe a second.
"""

from __future__ import annotations

import time
from typing import Final

__all__ = ["give_way"]

_TURN: Final = 0.00005  # seconds of work before others get their turn

_since = 0.0


def give_way() -> None:
    """Let other threads run where this one has worked for a twentieth of a millisecond.

    Notes
    -----
    To be called by whatever works long, the more often the better: it takes 0.1 µs.
    """
    global _since
    now = time.perf_counter()
    if now - _since >= _TURN:
        time.sleep(0)  # whoever waits has been told by now, and gets it
        _since = time.perf_counter()
