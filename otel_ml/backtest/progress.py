"""Rows done and rows in all in, a bar on a terminal or a plain line now and then out."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from typing import Final, TextIO

__all__ = ["ProgressBar"]

BAR: Final = 28
LIVE_SECONDS: Final = 0.1
PLAIN_SECONDS: Final = 5.0


class ProgressBar:
    """Says how far a run is.

    Parameters
    ----------
    out
        Where to; a bar is drawn on terminals only.
    environ
        ``NO_COLOR`` and ``TERM`` are looked at.
    clock
        Seconds on a clock that never goes backwards.
    """

    def __init__(
        self,
        out: TextIO,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._out = out
        self._live = out.isatty() and environ.get("TERM") != "dumb"
        self._clock = clock
        self._first: tuple[int, float] | None = None
        self._last = 0.0
        self._shown = False

    def __call__(self, done: int, rows: int, incidents: int) -> None:
        """Show rows done, rows in all and open incidents, where it is time to."""
        now = self._clock()
        if self._first is None:  # reading the reference is no part of the pace
            self._first, self._last = (done, now), now
        begun, started = self._first
        if now - self._last < (LIVE_SECONDS if self._live else PLAIN_SECONDS) and done < rows:
            return
        if not self._live and done >= rows and now - started < PLAIN_SECONDS:
            return  # too short to speak of
        self._last = now
        pace = (done - begun) / max(now - started, 1e-9)
        said = f"{done:,} of {rows:,} rows"
        said += f"  {pace:,.0f} rows/s" if pace > 0 else ""
        if done < rows and pace > 0:
            said += f"  {(rows - done) / pace:,.0f} s left"
        said += f"  {incidents} open" if incidents else ""
        if not self._live:
            self._out.write(f"{said}\n")
        else:
            filled = round(BAR * min(done / max(rows, 1), 1.0))
            room = max(shutil.get_terminal_size().columns - BAR - 2, 0)
            self._out.write(f"\r\x1b[2K{'━' * filled}{'─' * (BAR - filled)} {said[:room]}")
            self._shown = True
        self._out.flush()

    def close(self) -> None:
        """Remove the bar."""
        if self._shown:
            self._out.write("\r\x1b[2K")
            self._out.flush()
            self._shown = False
