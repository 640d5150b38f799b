"""Clocks that jump, and a processor that cannot be had: nothing is lost, alarmed or restarted."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from otel_ml import Engine, Reference
from otel_ml.testing import ManualClock
from tests.faults.oracles import Trial, faulty
from tests.faults.processes import alone

HOUR, DAY, YEAR = 3600.0, 86400.0, 365 * 86400.0
BEFORE, AFTER = 2000, 4000  # rows

JUMPS = {
    "an hour back": -HOUR,
    "an hour on": HOUR,  # as summer time, if somebody keeps it in the machine's clock
    "a year on": YEAR,
    "a year back": -YEAR,
    "to 1970": -1_700_000_000.0,
}


def observe(trial: Trial, n: int) -> None:
    trial.observe(n, features={"x": [0.5] * n}, scores=[0.5] * n)


@pytest.mark.fault("D12")
@pytest.mark.parametrize("jump", JUMPS)
def test_the_wall_clock_jumps_under_the_worker(jump: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports go on by the monotonic clock; every prediction is counted; nothing is said."""
    now, now_ns, by = time.time, time.time_ns, JUMPS[jump]
    with faulty() as trial:
        observe(trial, 50)
        assert trial.pipeline.flush(30)
        exports = trial.sink.exports
        monkeypatch.setattr(time, "time", lambda: now() + by)
        monkeypatch.setattr(time, "time_ns", lambda: now_ns() + int(by * 1e9))
        observe(trial, 50)
        assert trial.sink.wait(lambda: trial.sink.exports > exports + 2, 30)
        assert not trial.sink.events("ml.incident")
        monkeypatch.undo()
        observe(trial, 50)


@contextmanager
def zone(name: str) -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = name
    time.tzset()
    try:
        yield
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()


@pytest.mark.fault("D12")
@pytest.mark.skipif(not hasattr(time, "tzset"), reason="needs time.tzset")
def test_the_time_zone_changes() -> None:
    with faulty() as trial:
        for name in ("UTC", "Pacific/Kiritimati", "Europe/Berlin"):
            with zone(name):
                observe(trial, 20)
                assert trial.pipeline.flush(30)


@pytest.mark.fault("D12")
def test_the_machine_was_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight hours pass between two instructions, on both clocks."""
    clocks = time.time, time.time_ns, time.monotonic
    with faulty() as trial:
        observe(trial, 50)
        assert trial.pipeline.flush(30)
        monkeypatch.setattr(time, "time", lambda: clocks[0]() + 8 * HOUR)
        monkeypatch.setattr(time, "time_ns", lambda: clocks[1]() + int(8 * HOUR * 1e9))
        monkeypatch.setattr(time, "monotonic", lambda: clocks[2]() + 8 * HOUR)
        observe(trial, 50)
        assert trial.pipeline.flush(30)
        monkeypatch.undo()


def engine() -> tuple[Engine, ManualClock, Callable[[int], dict[str, np.ndarray]]]:
    rng = np.random.default_rng(12)

    def rows(n: int) -> dict[str, np.ndarray]:
        return {"x": rng.normal(size=n), "y": rng.uniform(size=n)}

    clock = ManualClock()
    return Engine(Reference.build(rows(3000), model_name="m"), clock=clock), clock, rows


@pytest.mark.fault("D12")
@pytest.mark.parametrize("jump", JUMPS)
def test_the_engine_goes_on_watching(jump: str) -> None:
    """No alarm by the jump itself; a change of the data after it is found, and dated."""
    running, clock, rows = engine()
    for seconds in (0.0, JUMPS[jump]):
        clock.advance(seconds)
        for _ in range(BEFORE // 50):
            clock.advance(1.0)
            running.observe(rows(50))
            assert running.evaluate() == []
    changes = []
    for _ in range(AFTER // 50):
        clock.advance(1.0)
        running.observe({**rows(50), "x": rows(50)["x"] + 2.0})
        changes += running.evaluate()
    opened = [change.incident for change in changes if change.state == "opened"]
    assert [incident.culprit.target for incident in opened] == ["x"]


@pytest.mark.fault("D12")
@pytest.mark.parametrize("times", [YEAR * 1000, YEAR, -YEAR, np.nan, np.inf, -np.inf, 1e300])
def test_event_times_that_cannot_be(times: float) -> None:
    """They belong to no window and date nothing; the rows are counted and watched all the same."""
    running, clock, rows = engine()
    for _ in range(BEFORE // 50):
        clock.advance(1.0)
        told = np.full(50, clock.time())
        told[::2] += times
        running.observe(rows(50), event_times=told)
        assert running.evaluate() == []
    changes = []
    for _ in range(AFTER // 50):
        clock.advance(1.0)
        told = np.full(50, clock.time() + times)
        running.observe({**rows(50), "x": rows(50)["x"] + 2.0}, event_times=told)
        changes += running.evaluate()
    opened = [change.incident for change in changes if change.state == "opened"]
    assert [incident.culprit.target for incident in opened] == ["x"]
    for incident in opened:
        assert incident.opened_at <= clock.time() + DAY


@pytest.mark.fault("D13")
def test_an_extension_holds_the_gil_for_five_seconds() -> None:
    """Nothing runs meanwhile, and nothing is taken for dead afterwards."""
    sleep = ctypes.PyDLL(None).sleep  # a PyDLL does not release the lock
    with faulty(longest=30.0) as trial:
        observe(trial, 50)
        sleep(5)
        observe(trial, 50)
        assert trial.pipeline.flush(30)
        assert len([t for t in threading.enumerate() if t.name == "otel-ml"]) == 1


@pytest.mark.fault("D13")
def test_next_to_no_processor_time() -> None:
    """One core shared with four that want it more, and two threads inside that spin."""
    script = """
import os, sys, threading
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import otel_ml
from otel_ml import pipeline
from otel_ml.semconv import metrics as m
from otel_ml.testing import MemoryPipeline
running = MemoryPipeline()
pipeline.replace(running)
os.nice(5)
stop = threading.Event()
def spin():
    while not stop.is_set(): pass
for _ in range(2): threading.Thread(target=spin, daemon=True).start()
for _ in range(200):
    otel_ml.observe(model="m", features={"x": [0.5, 1.5]}, scores=[0.5, 0.5])
assert running.flush(250)
stop.set()
assert running.sink.value(m.ML_PREDICTIONS) == 400
assert running.restarts == 0
print(sum(thread.name == "otel-ml" for thread in threading.enumerate()))
"""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("needs sched_setaffinity")
    spinning = (
        "import os\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nwhile True: pass"
    )
    others = [subprocess.Popen([sys.executable, "-c", spinning]) for _ in range(4)]
    try:
        done = alone(script, timeout=400)
    finally:
        for other in others:
            other.kill()
            other.wait()
    assert (done.code, done.out, done.err) == (0, "1\n", "")
