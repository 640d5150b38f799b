"""The faults that a running server survives: a table of name, promise and what is done."""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from otel_ml.selftest.bench import Bench, Scene
from otel_ml.selftest.collector import Mode
from otel_ml.selftest.trial import Trial

__all__ = ["FAULTS", "Fault", "fault"]

Run = Callable[[Bench, Trial], None]

UNREACHABLE: Final = r"127\.0\.0\.1:\d+"  # the message names where it sends to
SURPLUS: Final = 30_000  # calls; three times what the queue holds
QUICK_CALLS, CALLS, PER_SECOND = 20_000, 300_000, 10_000.0


@dataclass(frozen=True)
class Fault:
    """One row of the battery.

    Parameters
    ----------
    id
        For ``--only``.
    title
        What is done, for people.
    promise
        What must hold on top of what must hold after any fault.
    run
        Does it and checks it.
    quick
        Whether it is part of ``--quick``.
    needs
        Returns why it cannot run here, or "".
    """

    id: str
    title: str
    promise: str
    run: Run
    quick: bool
    needs: Callable[[], str]


FAULTS: Final[dict[str, Fault]] = {}


def fault(
    id: str, title: str, promise: str, *, quick: bool = True, needs: Callable[[], str] = str
) -> Callable[[Run], Run]:
    """Put a function into the table, at its end."""

    def register(run: Run) -> Run:
        FAULTS[id] = Fault(id, title, promise, run, quick, needs)
        return run

    return register


def _no_fork() -> str:
    return "" if hasattr(os, "fork") else f"{sys.platform} has no fork"


def _no_async_exception() -> str:
    name = sys.implementation.name
    return "" if name == "cpython" else f"{name} cannot raise in another thread"


def _no_sklearn() -> str:
    found = importlib.util.find_spec("sklearn")
    return "" if found else "scikit-learn is not installed: pip install 'otel-ml[demo]'"


@fault("baseline", "no fault at all", "The same answers, exact counts, nothing logged.")
def baseline(bench: Bench, trial: Trial) -> None:
    """Send requests."""
    with bench.scene(trial) as scene:
        scene.load.send(200 if bench.quick else 1000)


def _collector(mode: Mode) -> Run:
    def run(bench: Bench, trial: Trial) -> None:
        with bench.scene(trial, UNREACHABLE) as scene, bench.collector.being(mode):
            scene.until_warned()

    return run


for _mode, _title, _quick in (
    ("refused", "collector refuses connections", True),
    ("black_hole", "collector takes requests and never answers", True),
    ("dripping", "collector answers a byte at a time", False),
    ("html", "a login page answers in place of the collector", False),
    ("unavailable", "collector is busy: 503 with Retry-After", False),
    ("rejecting", "collector rejects a part of every export", False),
):
    fault(
        f"collector_{_mode}",
        _title,
        "Requests go on unhindered, a warning names the endpoint, and once it is well again every "
        "count is there.",
        quick=_quick,
    )(_collector(_mode))  # type: ignore[arg-type]  # the literals above


@fault(
    "odd_inputs",
    "None, NaN, hostile objects, ragged rows, huge numbers, 10 MB strings",
    "Nothing is raised, no argument is changed, each call is counted, what follows is unharmed.",
)
def odd_inputs(bench: Bench, trial: Trial) -> None:
    """Hand over every odd input, then predictions as ever."""
    with bench.scene(trial) as scene:
        plain, watched = bench.plain.ask("odd"), bench.watched.ask("odd")
        scene.pairs = [(plain["seen"][name], watched["seen"][name]) for name in plain["seen"]]
        scene.calls = watched["calls"]
        scene.load.send(50)


@fault(
    "queue_full",
    "more predictions than the queue can hold",
    "The surplus is dropped at once, counted as queue_full and said with its remedy.",
)
def queue_full(bench: Bench, trial: Trial) -> None:
    """Keep the worker busy and hand over more than the queue holds."""
    with bench.scene(trial, "queue") as scene:
        scene.ask("stall", calls=SURPLUS, seconds=2.0)
        scene.load.send(50)
    dropped = (trial.accounting or {}).get("dropped", {}).get("queue_full", 0)
    trial.check("surplus dropped", dropped > 0, f"{dropped} as queue_full")


@fault(
    "worker_killed",
    "SystemExit raised in the worker thread",
    "It is started again, said so, and later predictions are counted.",
    needs=_no_async_exception,
)
def worker_killed(bench: Bench, trial: Trial) -> None:
    """Kill the worker while it waits, and go on."""
    with bench.scene(trial, "worker") as scene:
        scene.load.send(20)
        bench.settle(bench.watched, bench.collector)
        before = bench.collector.totals().restarts
        killed = bench.watched.ask("kill_worker")["threads"]
        scene.load.send(50, seconds=0.3)
    restarts = bench.collector.totals().restarts - before
    said = f"{killed} thread killed, {restarts} restart reported"
    trial.check("started again", killed > 0 and restarts > 0, said)


@fault(
    "memory",
    "thousands of predictions while the collector is gone",
    "Memory stays within 64 MiB, and every count arrives afterwards.",
)
def memory(bench: Bench, trial: Trial) -> None:
    """Hand over predictions at a steady pace with nobody to send them to."""
    with bench.scene(trial, UNREACHABLE) as scene, bench.collector.being("refused"):
        bench.watched.ask(
            "burst", calls=QUICK_CALLS if bench.quick else CALLS, per_second=PER_SECOND
        )
        scene.until_warned()


@fault(
    "fork",
    "fork while requests are served",
    "No child hangs, each has an identity of its own and sends its own predictions only.",
    needs=_no_fork,
)
def fork(bench: Bench, trial: Trial) -> None:
    """Fork from a server at work; each child makes a prediction."""
    children = 4 if bench.quick else 20
    processes = bench.collector.totals().processes
    with bench.scene(trial) as scene:
        served = threading.Thread(target=_serve, args=(scene,), name="selftest-load")
        processes = bench.collector.totals().processes
        served.start()
        ended = scene.ask("fork", children=children)
        served.join()
    own = bench.collector.totals().processes - processes
    well = ended == {"well": children, "badly": 0, "hung": 0}
    said = ", ".join(f"{n} ended {how}" for how, n in ended.items())
    trial.check("children", well, said)
    trial.check("identities", own == children, f"{own} of {children} children have their own")


def _serve(scene: Scene) -> None:
    scene.load.send(50, seconds=0.5)


@fault(
    "poison",
    "a value that cannot be encoded among good ones",
    "It loses itself alone: every other count arrives.",
    quick=False,
)
def poison(bench: Bench, trial: Trial) -> None:
    """Serve a model whose very name and categories cannot be written as UTF-8."""
    with bench.scene(trial) as scene:
        scene.ask("poison")
        scene.load.send(50)


@fault(
    "estimator",
    "an instrumented scikit-learn model, collector gone for a while",
    "The model answers as it does without instrumentation, and every row is counted.",
    quick=False,
    needs=_no_sklearn,
)
def estimator(bench: Bench, trial: Trial) -> None:
    """Serve a trained model with its class instrumented."""
    with (
        bench.another("estimator", estimator=True) as other,
        other.scene(trial, UNREACHABLE) as scene,
    ):
        scene.load.send(100)
        with other.collector.being("refused"):
            scene.until_warned()
        scene.load.send(100)
