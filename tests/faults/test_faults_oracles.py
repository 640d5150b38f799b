"""Each oracle fails when what it watches for happens."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import otel_ml
from otel_ml.semconv import metrics as m
from tests.faults.oracles import HANG, Trial, faulty, same
from tests.faults.processes import alone

FLOAT32 = np.ones(2, dtype=np.float32)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (np.array([0.0]), np.array([-0.0])),
        (FLOAT32, FLOAT32.astype(np.float64)),
        (FLOAT32, FLOAT32.astype(">f4")),
        (np.zeros((2, 2)), np.zeros((2, 2), order="F")),
        (np.zeros((2, 1)), np.zeros(2)),
        ([1], (1,)),
        ([1, 2], [1]),
        (1, True),
        (1.0, 1),
        (0.0, -0.0),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (np.float64(1.0), 1.0),
        (np.array([1], dtype=object), np.array([1.0], dtype=object)),
        (np.ma.masked_equal([1, 2], 1), np.ma.masked_equal([1, 2], 2)),
    ],
)
def test_what_differs_is_not_the_same(found: Any, expected: Any) -> None:
    assert not same(found, expected)
    assert same(found, found)
    assert same(expected, expected)


@pytest.mark.parametrize("value", [np.array([np.nan, -0.0]), float("nan"), [np.nan, {"a": 1j}]])
def test_nan_is_itself(value: Any) -> None:
    again = value.copy() if hasattr(value, "copy") else value * 1.0
    assert same(again, value)


def raising(trial: Trial) -> None:
    def work() -> None:
        raise SystemExit

    trial.call(work)


def slow(trial: Trial) -> None:
    trial.longest = 0.001
    trial.call(time.sleep, 0.01)


def unaccounted(trial: Trial) -> None:
    trial.gave(1)


def silently_lost(trial: Trial) -> None:
    trial.pipeline.skip("closed")
    trial.gave(1)


def talkative(trial: Trial) -> None:
    for _ in range(2):
        logging.getLogger("otel_ml").warning("again")


def dead(trial: Trial) -> None:
    trial.pipeline.capacity = 0


def threads(trial: Trial) -> None:
    threading.Thread(target=time.sleep, args=(0.5,), daemon=True).start()


def grown(trial: Trial) -> None:
    HELD.append(np.ones(16 << 20))


HELD: list[Any] = []


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (raising, "raised into the application"),
        (slow, "a call took"),
        (unaccounted, "3 were given"),
        (silently_lost, "closed"),
        (talkative, "again"),
        (dead, "queue_full"),
        (threads, "Thread"),
        (grown, "MiB more than before"),
    ],
)
def test_an_oracle_notices(fault: Callable[[Trial], None], found: str) -> None:
    with pytest.raises(AssertionError, match=found), faulty() as trial:
        fault(trial)
    HELD.clear()


def test_a_fault_that_harms_nobody_passes() -> None:
    with faulty() as trial:
        trial.observe(3, features=np.zeros((3, 2)))
    assert trial.sink.value(m.ML_PREDICTIONS, ml_model_name="m") == 3
    with faulty(loss="invalid_input", rows=1, given=None) as trial:
        trial.call(otel_ml.observe, model=None)


def test_a_process_that_hangs_is_killed() -> None:
    with pytest.raises(AssertionError, match="hangs"):
        alone("import time; print('there', flush=True); time.sleep(600)", timeout=1.0)
    done = alone("import sys; print(sys.argv[1]); sys.exit(3)", "here", timeout=HANG)
    assert (done.code, done.out, done.err) == (3, "here\n", "")
