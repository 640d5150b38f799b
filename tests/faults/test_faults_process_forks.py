"""Forks while threads predict and flush: no child hangs, and each counts what is its own.

`FAULTS_FORKS` is how many there are; 100 without it.
"""

from __future__ import annotations

import json
import os
import threading
from typing import Any

import pytest

from otel_ml.emit import Receiver
from otel_ml.emit.readings import find_series
from tests.faults.processes import alone

FORKS = int(os.environ.get("FAULTS_FORKS", "100"))
HANG = 60  # seconds until a child is killed and counted as hung
PER_CHILD = 20

SCRIPT = f"""
import json, os, signal, sys, threading, time, traceback
import otel_ml
from otel_ml import pipeline

sys.setswitchinterval(1e-5)  # the locks are held wherever the fork hits
stop = threading.Event()
sent = [0] * 4

def predict(rows):
    otel_ml.observe(model="m", features={{"x": [0.5] * rows}}, scores=[0.5] * rows)

def load(i):
    while not stop.is_set():
        for _ in range(20):
            predict(2)
            sent[i] += 2
        if not otel_ml.flush(30):
            os.write(2, b"a flush of the parent took too long\\n")
        time.sleep(0.001)

def child():
    for _ in range(10):
        predict(2)
    if not otel_ml.flush(30):
        os._exit(2)
    if not otel_ml.shutdown(30):
        os._exit(3)
    os._exit(0)

def forked():
    pid = os.fork()
    if pid == 0:
        signal.alarm({HANG})  # kills: it has no handler
        try:
            child()
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    return os.waitpid(pid, 0)[1]

predict(1)
threads = [threading.Thread(target=load, args=(i,), daemon=True) for i in range(4)]
for thread in threads:
    thread.start()
how = [forked() for _ in range(int(sys.argv[1]))]
stop.set()
for thread in threads:
    thread.join(60)
finished = otel_ml.shutdown(60)
print(json.dumps({{
    "hung": sum(os.WIFSIGNALED(s) and os.WTERMSIG(s) == signal.SIGALRM for s in how),
    "failed": sum(s != 0 for s in how),
    "sent": sum(sent) + 1,
    "alive": sum(thread.is_alive() for thread in threads),
    "finished": finished,
}}))
"""


@pytest.mark.fault("D1", "A9")
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_no_child_hangs() -> None:
    counted: dict[str, float] = {}
    held = threading.Lock()

    def note(request: Any) -> None:
        with held:
            for found, value in find_series([request], "ml.predictions"):
                instance = str(found["service.instance.id"])
                counted[instance] = max(value, counted.get(instance, 0.0))

    with Receiver(keep=1, on_metrics=note) as receiver:
        done = alone(
            SCRIPT,
            str(FORKS),
            timeout=120 + 10 * FORKS,
            environ={
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
                "OTEL_METRIC_EXPORT_INTERVAL": "50",
            },
        )
    assert (done.code, done.err) == (0, "")
    told = json.loads(done.out)
    print(f"{FORKS} forks in {done.seconds:.0f} s: {told}")
    sent = told.pop("sent")
    assert told == {"hung": 0, "failed": 0, "alive": 0, "finished": True}
    assert sorted(counted.values()) == sorted([float(PER_CHILD)] * FORKS + [float(sent)])
