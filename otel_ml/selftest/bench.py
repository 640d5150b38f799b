"""A folder in, the two applications and the collector with what must hold after any fault out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from otel_ml.selftest.collector import Collector
from otel_ml.selftest.load import Load
from otel_ml.selftest.process import Application, environment
from otel_ml.selftest.server import LEDGER, LOG
from otel_ml.selftest.trial import Trial, warnings_in

__all__ = ["Bench", "Scene"]

# Guards against hanging, in seconds; recovery is bounded by the longest back-off twice over.
RECOVERY, SETTLE, SAID = 30.0, 5.0, 15.0
_WARM_UP: Final = 300  # requests; enough for a reference, so that events are sent as well
_OURS: Final = frozenset({LOG, LEDGER, "output.txt"})
_LOOK: Final = 0.05


@dataclass
class Scene:
    """What is done during a fault.

    Parameters
    ----------
    bench, trial
        Where, and what it is noted in.
    load
        Requests to both applications.
    pairs
        Further replies that must be equal: without and with otel-ml.
    calls
        Calls whose number of predictions nobody can tell.
    """

    bench: Bench
    trial: Trial
    load: Load
    logged: int
    pairs: list[tuple[Any, Any]] = field(default_factory=list)
    calls: int = 0

    def ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Have something done in both applications; return what the watched one replies."""
        self.bench.plain.ask(operation, **arguments)
        return self.bench.watched.ask(operation, **arguments)

    def until_warned(self, requests: int = 40) -> None:
        """Send requests until a warning is logged, or the guard ends the wait."""
        until = time.monotonic() + SAID
        self.load.send(requests)
        while not self._warned() and time.monotonic() < until:
            self.load.send(4)
            time.sleep(_LOOK)

    def _warned(self) -> bool:
        return bool(warnings_in(self.bench.watched.messages()[self.logged :]))


class Bench:
    """The two applications and the collector; a context manager that leaves nothing behind.

    Parameters
    ----------
    folder
        For what the applications write.
    quick
        Whether to spend little time.
    estimator
        Whether the applications serve a model of scikit-learn.
    """

    def __init__(self, folder: Path, quick: bool, *, estimator: bool = False) -> None:
        self.folder = folder
        self.quick = quick
        self.collector = Collector()
        self._estimator = estimator
        self._all: list[Application] = []
        self._plain: Application | None = None
        self._watched: Application | None = None

    @property
    def plain(self) -> Application:
        """The application without otel-ml."""
        if self._plain is None:
            self._plain = self.start()
        return self._plain

    @property
    def watched(self) -> Application:
        """The application with otel-ml; another one, warmed up, where the last one broke."""
        if self._watched is None:
            self._watched = self.start(self.collector)
            plain = self.plain  # the two start side by side
            Load(plain, self._watched).send(_WARM_UP)
            self.settle(self._watched, self.collector)
        return self._watched

    def start(self, collector: Collector | None = None, **variables: str) -> Application:
        """Start one more application, watched if there is a collector; killed at the end."""
        watched = collector is not None
        name = f"{len(self._all):02}-{'with' if watched else 'without'}"
        environ = environment(None if collector is None else collector.endpoint, **variables)
        if self._estimator:
            environ["OTEL_ML_CAPTURE_OFFLINE"] = "true"
        started = Application(
            self.folder / name, watched=watched, environ=environ, estimator=self._estimator
        )
        self._all.append(started)
        return started

    def another(self, name: str, *, estimator: bool = False) -> Bench:
        """Return a bench of its own, for what would disturb this one."""
        return Bench(self.folder / name, self.quick, estimator=estimator)

    def broken(self) -> None:
        """Give both applications up: the next fault gets others."""
        for application in (self._plain, self._watched):
            if application is not None:
                application.kill()
        self._plain = self._watched = None

    @contextmanager
    def scene(self, trial: Trial, said: str | None = None) -> Iterator[Scene]:
        """Let a fault loose inside a block, then check what must hold after any.

        Parameters
        ----------
        trial
            Takes the checks.
        said
            What a warning must match; None where none is due.
        """
        watched = self.watched
        self.settle(watched, self.collector)
        before, totals = self._rested(watched, None), self.collector.totals()
        printed = len(watched.output())
        watched.ask("timings")
        there = _files(watched.folder)
        load = Load(self.plain, watched)
        scene = Scene(self, trial, load, len(watched.messages()))
        yield scene
        ended = time.monotonic()
        load.send(20)  # as ever
        given = watched.ask("state")["given"] - before["given"]
        wanted = given + scene.calls
        came = self.collector.wait(lambda t: t.since(totals).captured >= wanted, RECOVERY)
        trial.recovery = time.monotonic() - ended
        self.settle(watched, self.collector)
        after = self._rested(watched, before)
        trial.same(load, scene.pairs)
        trial.quiet([*after["errors"], *load.failed], watched.output()[printed:])
        trial.calls(watched.ask("timings"))
        trial.books(self.collector.totals().since(totals), given, scene.calls)
        said_later = f"all counts arrived after {trial.recovery:.1f} s"
        not_in_time = f"counts are missing {RECOVERY:.0f} s after the fault"
        trial.check("recovery", came, said_later if came else not_in_time)
        trial.grown(before["memory"], after["memory"])
        trial.told(watched.messages()[scene.logged :], said)
        trial.left(before, after, sorted(_files(watched.folder) - there - _OURS))
        if trial.verdict == "FAIL":
            self.broken()

    def settle(self, application: Application, collector: Collector) -> None:
        """Have everything counted, and wait until one more export has arrived."""
        number = collector.requests
        application.ask("flush", timeout=SETTLE)
        collector.wait_request(number + 1, SETTLE)

    def _rested(self, application: Application, before: dict[str, Any] | None) -> dict[str, Any]:
        """Return the state of an application once what a load opened is closed."""
        state = application.ask("state")
        until = time.monotonic() + SETTLE
        known = state if before is None else before
        while time.monotonic() < until:
            time.sleep(_LOOK)
            last, state = state, application.ask("state")
            if before is None and last["threads"] == state["threads"]:
                break
            threads = len(state["threads"]) <= len(known["threads"])
            if before is not None and threads and (state["files"] or 0) <= (known["files"] or 0):
                break
        return state

    def __enter__(self) -> Bench:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for application in self._all:
            application.kill()
        self.collector.close()


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
