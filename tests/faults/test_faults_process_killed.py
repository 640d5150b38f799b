"""SIGKILL, and ends as abrupt: what is lost is less than one interval of exports, as is said.

`FAULTS_KILLS` is how many processes are killed; 4 without it.
"""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from otel_ml.emit import Receiver
from tests.faults.processes import running

KILLS = int(os.environ.get("FAULTS_KILLS", "4"))
HANG = 60.0  # seconds; a guard, not a measure
INTERVAL = 0.5
SLACK = 2.5  # seconds a busy machine may add to an interval
RATE = 200

SCRIPT = f"""
import time
import otel_ml
count = 0
while True:
    otel_ml.observe(model="m", features={{"x": [0.5]}}, scores=[0.5])
    count += 1
    print(count, flush=True)
    time.sleep({1 / RATE})
"""


@pytest.mark.fault("D4")
@pytest.mark.slow
def test_less_than_an_interval_is_lost() -> None:
    rng = random.Random(4)
    for _ in range(KILLS):
        with Receiver() as receiver:
            environ = {
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
                "OTEL_METRIC_EXPORT_INTERVAL": str(int(INTERVAL * 1000)),
            }
            with running(SCRIPT, environ=environ) as process:
                assert process.stdout is not None
                ends = time.monotonic() + 2 * (INTERVAL + SLACK) + rng.random() * INTERVAL
                when: list[float] = []  # of each prediction, as it was told
                while time.monotonic() < ends:
                    assert int(process.stdout.readline()) == len(when) + 1
                    when.append(time.monotonic())
                process.send_signal(signal.SIGKILL)
                assert process.wait(HANG) == -signal.SIGKILL
            counted = receiver.total("ml.predictions")
            before = sum(at < when[-1] - INTERVAL - SLACK for at in when)
            assert counted >= before > 0, (counted, before, len(when))


@pytest.mark.fault("D4")
def test_what_was_flushed_is_there() -> None:
    script = SCRIPT.replace(
        "    time.sleep", "    if count == 50: otel_ml.flush(60)\n    time.sleep"
    )
    with Receiver() as receiver:
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_METRIC_EXPORT_INTERVAL": "600000",
        }
        with running(script, environ=environ) as process:
            assert process.stdout is not None
            while int(process.stdout.readline()) < 51:  # the flush has returned
                pass
            process.send_signal(signal.SIGKILL)
            assert process.wait(HANG) == -signal.SIGKILL
        assert receiver.total("ml.predictions") == 50
