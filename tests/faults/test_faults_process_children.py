"""Every way to have child processes: each counts what it predicted, and nothing of its parent's."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections import Counter

import pytest

from otel_ml.emit import Receiver
from tests.faults.jobs import CHILDREN, PARENT, TASKS
from tests.faults.processes import alone

SIGTERM = {"OTEL_ML_FLUSH_ON_SIGTERM": "true"}
SUM = PARENT + TASKS * (TASKS + 1) // 2
FEW = PARENT + CHILDREN * (CHILDREN + 1) // 2

# Job, environment, rows predicted altogether.
JOBS = {
    "fork": ({}, FEW),
    "process fork": ({}, FEW),
    "process spawn": ({}, FEW),
    "process forkserver": ({}, FEW),
    "pool fork": ({}, SUM),
    "pool spawn": ({}, SUM),
    "pool-left fork": (SIGTERM, SUM),  # SIGTERM is how such a pool ends
    "pool-left spawn": (SIGTERM, SUM),
    "executor fork": ({}, SUM),
    "executor spawn": ({}, SUM),
    "joblib loky": ({}, SUM),
    "joblib threading": ({}, SUM),
    "joblib multiprocessing": (SIGTERM, SUM),
    "loader": ({}, SUM),
    "torch": ({}, SUM),
    "subprocess": ({}, FEW),
}


def run(job: str, receiver: Receiver, **environ: str) -> Counter[int]:
    """Run a job that exports to a receiver; return the rows by process."""
    library = job.split(maxsplit=1)[0]
    if library in ("joblib", "torch") and importlib.util.find_spec(library) is None:
        pytest.skip(f"needs {library}")
    ended = alone(
        "tests.faults.jobs",
        *job.split(),
        module=True,
        timeout=180,
        environ={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, **environ},
    )
    assert (ended.code, ended.err) == (0, "")
    return Counter({int(pid): rows for pid, rows in json.loads(ended.out).items()})


def received(receiver: Receiver) -> dict[str, float]:
    """Return the predictions counted by each process, by its id."""
    series = receiver.series("ml.predictions")
    counted = {str(found["service.instance.id"]): value for found, value in series}
    assert len(counted) == len(series)
    return counted


@pytest.mark.fault("D1", "D2")
@pytest.mark.parametrize("job", JOBS)
def test_each_process_counts_its_own(job: str) -> None:
    if "fork" in job.split() and sys.platform == "win32":
        pytest.skip("needs fork")
    environ, rows = JOBS[job]
    with Receiver() as receiver:
        given = run(job, receiver, **environ)
        assert given.total() == rows
        counted = received(receiver)
        assert sorted(counted.values()) == sorted(map(float, given.values()))
        assert len(counted) == len(given)  # an id for each process
        captured = receiver.total("ml.monitoring.captured")
        assert captured == rows
        assert receiver.total("ml.monitoring.dropped") == 0


@pytest.mark.fault("D1", "D4")
def test_a_child_that_is_killed_leaves_the_others_alone() -> None:
    with Receiver() as receiver:
        given = run("killed", receiver)
        counted = sorted(received(receiver).values())
        assert counted == sorted(map(float, given.values()))
