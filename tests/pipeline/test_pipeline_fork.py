"""A forked child has a pipeline of its own: empty, working, and free of the parent's locks."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

ROOT = Path(__file__).parents[2]

HEAD = """
import json, os, signal, sys, threading, time, traceback
import numpy as np, numpy.random  # now: a module half-imported at a fork hangs its child
from otel_ml import pipeline
from otel_ml.testing import FakeModel, MemoryPipeline
from otel_ml.types import Captured

def call(rows, seed=0):
    model = FakeModel()
    x = np.random.default_rng(seed).normal(size=(rows, 2))
    return Captured(model, "predict_proba", x, model.predict_proba(x), time.time_ns())

def books(running):
    from otel_ml.semconv import metrics as m
    assert running.flush(30), "not flushed"
    value = running.sink.value
    return int(value(m.ML_MONITORING_CAPTURED)), int(value(m.ML_PREDICTIONS))

def in_child(work):
    # what a child says comes through a pipe; one that hangs is killed, and that is a failure
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        try:
            os.write(w, json.dumps(work()).encode())
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.close(w)
    with os.fdopen(r, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, status
    return json.loads(said)
"""


def run(code: str, **environ: str) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", HEAD + textwrap.dedent(code)],
        cwd=ROOT,
        env={**clean, "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none", **environ},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_child_begins_empty_and_counts_for_itself() -> None:
    run(
        """
        parent = MemoryPipeline()
        pipeline.replace(parent)
        pipeline.submit(call(7))
        assert books(parent) == (7, 7)
        parent.queue.append(call(100))  # not taken yet when the child comes to be
        pipeline.skip("shape", 5)

        def work():
            mine = pipeline.current()
            assert mine is not parent and mine.mark[0] == 1
            assert not mine.queue and not mine.skipped and mine._thread is None
            assert parent.flush(1) and parent.shutdown(1)  # as `atexit` calls them: nothing happens
            running = MemoryPipeline()
            pipeline.replace(running)
            pipeline.submit(call(3))
            return books(running)

        assert in_child(work) == [3, 3]
        pipeline.submit(call(1))
        assert books(parent) == (113, 108)
        """
    )


def test_twenty_forks_under_load_and_none_hangs() -> None:
    """Threads that submit, skip and flush all the while, and locks held wherever the fork hits."""
    run(
        """
        sys.setswitchinterval(1e-5)
        parent = MemoryPipeline()
        pipeline.replace(parent)
        stop = threading.Event()
        sent = [0] * 4

        def load(i):
            ready = call(2, i)
            while not stop.is_set():
                pipeline.submit(ready)
                pipeline.skip("closed")
                sent[i] += 3
                if sent[i] % 300 == 0:
                    pipeline.flush(30)

        threads = [threading.Thread(target=load, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()

        def work():
            running = MemoryPipeline()
            before = pipeline.replace(None)
            assert pipeline.current() is not before
            pipeline.replace(running)
            for _ in range(10):
                pipeline.submit(call(2))
            found = books(running)
            assert pipeline.shutdown(30)
            return found

        for _ in range(20):
            assert in_child(work) == [20, 20]
        stop.set()
        for thread in threads:
            thread.join(60)
        captured, counted = books(parent)
        assert captured == sum(sent), (captured, sum(sent))
        assert counted + sum(parent.skipped.values()) == captured
        """
    )


def test_a_fork_while_the_worker_imports_leaves_a_child_that_works() -> None:
    """The first prediction makes the worker import; a child forked then must not inherit halves."""
    run(
        """
        import importlib
        assert "otel_ml.worker" not in sys.modules
        children = 0

        def work():
            pipeline.submit(call(2))
            assert pipeline.flush(30)
            mine = pipeline.current()
            assert mine.restarts == 0
            return mine._worker.health.counted

        pipeline.submit(call(1))
        while children < 3:
            assert in_child(work) == 2
            children += 1
            time.sleep(0.02)
        assert pipeline.flush(30)
        """,
        OTEL_METRICS_EXPORTER="otlp",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
        OTEL_EXPORTER_OTLP_TIMEOUT="1",
    )


def test_a_child_that_exits_normally_sends_what_is_its_own_and_only_that() -> None:
    said = run(
        """
        from otel_ml.emit import Receiver
        receiver = Receiver()
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = receiver.endpoint
        del os.environ["OTEL_METRICS_EXPORTER"], os.environ["OTEL_LOGS_EXPORTER"]
        pipeline.submit(call(5))
        assert pipeline.flush(30)
        pids = []
        for rows in (1, 2, 3):
            pid = os.fork()
            if pid == 0:
                signal.alarm(60)
                pipeline.submit(call(rows))
                sys.exit(0)  # by way of `atexit`
            pids.append(pid)
        for pid in pids:
            assert os.waitpid(pid, 0)[1] == 0
        assert pipeline.shutdown(30)
        series = receiver.series("ml.predictions")
        print(sorted(int(value) for _, value in series))
        print(len({found["service.instance.id"] for found, _ in series}))
        receiver.close()
        """
    )
    assert said.split("\n")[:2] == ["[1, 2, 3, 5]", "4"]
