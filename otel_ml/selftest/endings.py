"""The ways in which a server ends, rows of the same table: what arrives, and how long it takes."""

from __future__ import annotations

import contextlib
import http.client
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from otel_ml.selftest.app import COLUMNS
from otel_ml.selftest.bench import RECOVERY, Bench
from otel_ml.selftest.collector import Collector, Mode
from otel_ml.selftest.faults import fault
from otel_ml.selftest.process import INTERVAL, Application, post
from otel_ml.selftest.trial import Trial

__all__ = ["Traffic"]

BUDGET: Final = 3.0  # seconds otel-ml may take at exit
SLACK: Final = 1.5  # seconds: what a busy machine may add
PATIENCE: Final = 20.0  # seconds until an exit is called hung
LOAD: Final = 1.0  # seconds of requests before the end


class Traffic:
    """Requests from a thread, each over a connection of its own, until the application is gone.

    Parameters
    ----------
    application
        Who is asked.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._port = application.port
        self._end = threading.Event()
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run, name="selftest-traffic", daemon=True)
        self.answered: list[float] = []

    def before(self, when: float) -> int:
        """Return how many requests were answered before a time of the monotonic clock."""
        return sum(at < when for at in self.answered)

    def run(self, seconds: float) -> None:
        """Go on for a while; what comes after it is still sent."""
        self._enough.wait(seconds)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        rows = np.random.default_rng(8).normal(size=(1, COLUMNS)).tolist()
        while not self._end.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
            with contextlib.closing(connection):
                try:
                    code, _ = post(connection, "/predict", {"rows": rows})
                except (OSError, http.client.HTTPException):
                    self._enough.set()  # it is ending: that is the fault
                    return
            if code == 200:
                self.answered.append(time.monotonic())


@contextmanager
def _ending(bench: Bench, **variables: str) -> Iterator[tuple[Application, Collector]]:
    with Collector() as collector:
        application = bench.start(collector, **variables)
        try:
            yield application, collector
        finally:
            application.kill()


def _no_signals() -> str:
    return "" if sys.platform != "win32" else "Windows ends processes without a signal"


@fault(
    "sigterm",
    "SIGTERM while requests are served",
    "Every prediction that was made has arrived, and the process ends within the budget.",
    needs=_no_signals,
)
def sigterm(bench: Bench, trial: Trial) -> None:
    """End a server at work as an orchestrator does."""
    with _ending(bench) as (application, collector), Traffic(application) as traffic:
        traffic.run(LOAD)
        took = _terminate(application, trial)
        given = application.ledger()
        trial.quiet([], application.output())
        if given is None:
            trial.check("exact counts", False, "the application did not come to its own end")
            return
        trial.books(collector.totals(), given)
        _in_budget(trial, took)


def _gone(mode: Mode) -> Any:
    def run(bench: Bench, trial: Trial) -> None:
        with _ending(bench) as (application, collector), Traffic(application) as traffic:
            with collector.being(mode):
                traffic.run(LOAD)
                took = _terminate(application, trial)
            trial.quiet([], application.output())
            _in_budget(trial, took)

    return run


for _mode, _how, _quick in (
    ("refused", "refuses connections", False),
    ("black_hole", "never answers", True),
    ("dripping", "answers a byte at a time", False),
):
    fault(
        f"exit_{_mode}",
        f"exit while the collector {_how}",
        f"The process ends at most {BUDGET:g} s later than it would.",
        quick=_quick,
        needs=_no_signals,
    )(_gone(_mode))  # type: ignore[arg-type]  # the literals above


@fault(
    "sigkill",
    "SIGKILL while requests are served",
    "What is lost is what was made since the last export, and nothing else; it is stated.",
    needs=_no_signals,
)
def sigkill(bench: Bench, trial: Trial) -> None:
    """Kill a server at work, and start it again."""
    with _ending(bench) as (application, collector):
        with Traffic(application) as traffic:
            traffic.run(LOAD * 2)
            killed = time.monotonic()
            application.send(signal.SIGKILL)
            application.ended(PATIENCE)
        arrived = collector.totals().captured
        made = len(traffic.answered)
        # an export takes its time, and the one under way may be lost as well
        due = traffic.before(killed - 2 * INTERVAL - SLACK)
        lost = max(made - arrived, 0)
        since = killed - traffic.answered[arrived] if 0 <= arrived < made else 0.0
        said = f"{lost} of {made} predictions lost: those of the last {since:.1f} s"
        trial.check("bounded loss", due <= arrived, said)
        again = bench.start(collector)
        with Traffic(again) as traffic:
            traffic.run(LOAD / 2)
        bench.settle(again, collector)
        given = again.ask("state")["given"]
        came = collector.wait(lambda t: t.captured >= arrived + given, RECOVERY)
        counted = collector.totals().captured - arrived
        exact = came and counted == given
        trial.check("starts afresh", exact, f"{given} made after the restart, {counted} counted")


@fault(
    "sigkill_spool",
    "SIGKILL while the collector is gone, with the spool on",
    "Everything that was flushed arrives when the server is started again, once.",
    quick=False,
    needs=_no_signals,
)
def sigkill_spool(bench: Bench, trial: Trial) -> None:
    """Flush into nothing but the spool, kill the server, and start another in its place."""
    spool = {"OTEL_ML_SPOOL_DIR": str(bench.folder / "spool")}
    with _ending(bench, **spool) as (application, collector):
        with collector.being("refused"):
            with Traffic(application) as traffic:
                traffic.run(LOAD)
            given = application.ask("state")["given"]
            application.ask("flush", timeout=BUDGET)
            application.send(signal.SIGKILL)
            trial.check("killed", application.ended(PATIENCE), f"{given} predictions, none sent")
        before = collector.totals().captured
        again = bench.start(collector, **spool)
        with Traffic(again) as traffic:
            traffic.run(LOAD / 2)
        bench.settle(again, collector)
        more = again.ask("state")["given"]
        collector.wait(lambda t: t.captured >= given + more, RECOVERY)
        bench.settle(again, collector)
        trial.quiet(again.ask("state")["errors"], again.output())
        trial.check("nothing sent before", before == 0, f"{before} arrived while it was gone")
        trial.books(collector.totals(), given + more)
        processes = collector.totals().processes
        trial.check("as what it was", processes == 2, f"sent under {processes} identities")


def _terminate(application: Application, trial: Trial) -> float:
    began = time.monotonic()
    application.send(signal.SIGTERM)
    ended = application.ended(PATIENCE)
    code = application.process.returncode
    said = f"exit code {code}" if ended else f"still there after {PATIENCE:.0f} s"
    trial.check("ends by itself", ended and code == 0, said)
    return time.monotonic() - began


def _in_budget(trial: Trial, took: float) -> None:
    said = f"{took:.1f} s from the signal to the end; at most {BUDGET:g} s and {SLACK:g} s of slack"
    trial.check("exit in time", took <= BUDGET + SLACK, said)
