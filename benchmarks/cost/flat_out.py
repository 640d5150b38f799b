"""Run as a process: works as hard as the worker of a server does, from a line of input to the next.

The same class has the worker of this process do so.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final

from benchmarks.cost.predictions import Answers, Requests
from benchmarks.cost.serving import Server, counted, settled

__all__ = ["FlatOut", "Neighbour", "obey"]

ROOT: Final = Path(__file__).resolve().parents[2]
WAITING: Final = 4_500  # calls: of half of the queue and more the worker reads only some
PATIENCE: Final = 120.0


class FlatOut:
    """Predictions that keep the worker of this process busy."""

    def __init__(self) -> None:
        self._requests = Requests(WAITING * 4, 9)
        self._server = Server(Answers(WAITING, 9))
        self._loop = self._server.loops()["in a server span"][0]
        self._served = 0

    @property
    def busy(self) -> bool:
        """Whether the worker has predictions left."""
        return counted() < self._served

    def fill(self) -> None:
        """Make as many predictions as wait without being sampled, which wakes the worker."""
        with self._server.serving():
            self._loop(self._requests.take(WAITING))
        self._served += WAITING

    def rest(self) -> None:
        """Wait until the worker has nothing to do."""
        settled()


class Neighbour:
    """A process that can be told to do the same work; a context manager.

    Parameters
    ----------
    program
        Module that is run, of this folder.
    """

    def __init__(self, program: str) -> None:
        self._program = f"benchmarks.cost.{program}"

    def __enter__(self) -> Neighbour:
        self._process = subprocess.Popen(
            [sys.executable, "-m", self._program],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.__exit__(kind, error, trace)  # closes its pipes and waits

    def toggle(self) -> None:
        """Have it begin, or rest; return when it does."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self._answer()

    def _answer(self) -> None:
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError(f"the neighbour ended with {self._process.wait()}")


def obey(begin: Callable[[], object], rest: Callable[[], object]) -> None:
    """Do what a `Neighbour` is told: begin, or rest, by turns."""
    print("ready", flush=True)
    going = False
    for _ in sys.stdin:
        (rest if going else begin)()
        going = not going
        print("done", flush=True)


def _work(work: FlatOut, going: threading.Event) -> None:
    while True:
        going.wait()
        work.fill()
        while work.busy and going.is_set():
            time.sleep(0.001)


def main() -> None:
    work, going = FlatOut(), threading.Event()
    work.fill()
    work.rest()
    threading.Thread(target=_work, args=(work, going), daemon=True).start()

    def rest() -> None:
        going.clear()
        work.rest()

    obey(going.set, rest)


if __name__ == "__main__":
    main()
