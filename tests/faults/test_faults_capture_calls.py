"""Arbitrary objects, objects whose code misbehaves, a full queue: the caller notices nothing."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import otel_ml
from otel_ml.notices import REMEDIES, Notices
from otel_ml.semconv import metrics as m
from tests.faults import odd
from tests.faults.fuzz import PLAIN, Fuzzer, Odd
from tests.faults.oracles import HANG, faulty, served

MOMENT = 1.0  # seconds: what a call may take while something else takes ten
ERRORS = (ValueError, RecursionError, MemoryError, SystemExit, GeneratorExit, KeyboardInterrupt)


# A1


@pytest.mark.fault("A1")
@settings(odd.MANY, max_examples=odd.MANY.max_examples // 5)
@given(st.integers(0, 2**32))
def test_arbitrary_objects_in_every_call(watched: None, seed: int) -> None:
    """Two hundred calls an example; fifty thousand and more are in `test_faults_fuzz`."""
    fuzzer = Fuzzer(seed)
    with faulty(given=None) as trial:
        fuzzer.pause = lambda: trial.pipeline.flush(HANG)
        trial.once, trial.kinds = False, 100
        fuzzer.run(200)
        trial.books()
        assert trial.sink.value(m.ML_PREDICTIONS, ml_model_name=PLAIN) == fuzzer.plain


@pytest.mark.fault("A1")
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"model": None}, "invalid_input"),
        ({"model": ""}, "invalid_input"),
        ({"model": 3, "scores": [0.5]}, "invalid_input"),
        ({"model": "m"}, "invalid_input"),
        ({"model": "m", "features": object()}, "invalid_input"),
        ({"model": "m", "features": [[1]], "scores": "text"}, "invalid_input"),
        ({"model": "m", "features": [[1]], "ids": 3}, "invalid_input"),
        ({"model": "m", "features": [[1]], "scores": [0.5, 0.5]}, "shape"),
        ({"model": "m", "features": [[1]], "predictions": [[[1]]]}, "output_shape"),
        ({"model": "m", "scores": [0.5], "event_times": [1.0, 2.0]}, "shape"),
    ],
)
def test_what_cannot_be_used_is_counted_with_its_reason_and_said_once(
    arguments: dict[str, Any], reason: str
) -> None:
    with faulty(loss=reason, given=None, said=rf"lost \({reason}") as trial:
        for _ in range(3):
            trial.call(otel_ml.observe, **arguments)


@pytest.mark.fault("A1")
def test_wrong_arity_is_the_callers_error_and_changes_nothing() -> None:
    """As of any function of Python: it cannot even begin."""
    with faulty():
        with pytest.raises(TypeError):
            otel_ml.observe("m", [[1]])  # type: ignore[call-arg]  # the fault
        with pytest.raises(TypeError):
            otel_ml.record_labels()  # type: ignore[call-arg]  # the fault


# A2


PLACES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "features": lambda o: {"features": o},
    "cell": lambda o: {"features": [[1.0, o]]},
    "column": lambda o: {"features": {"a": [o], "b": [1]}},
    "column itself": lambda o: {"features": {"a": o}},
    "scores": lambda o: {"scores": o},
    "a score": lambda o: {"scores": [o]},
    "predictions": lambda o: {"predictions": o},
    "a prediction": lambda o: {"predictions": [o]},
    "ids": lambda o: {"scores": [0.5], "ids": o},
    "an id": lambda o: {"scores": [0.5], "ids": [o]},
    "slices": lambda o: {"scores": [0.5], "slices": o},
    "a slice": lambda o: {"scores": [0.5], "slices": {"s": [o]}},
    "times": lambda o: {"scores": [0.5], "event_times": o},
    "duration": lambda o: {"scores": [0.5], "duration": o},
    "version": lambda o: {"scores": [0.5], "version": o},
    "model": lambda o: {"scores": [0.5], "model": o},
}


@pytest.mark.fault("A2")
@pytest.mark.parametrize("place", PLACES)
def test_an_object_whose_every_question_raises(place: str) -> None:
    with faulty(given=None) as trial:
        trial.kinds = 20
        for error in ERRORS:
            trial.call(otel_ml.observe, **{"model": "m", **PLACES[place](odd.Hostile(error))})
        trial.call(otel_ml.observe, **{"model": "m", **PLACES[place](odd.Recursive())})
        books = trial.books()
        assert books.captured == 2 + len(ERRORS) + 1, "each call is one prediction"


@pytest.mark.fault("A2")
@pytest.mark.parametrize("place", PLACES)
def test_no_question_is_asked_while_the_request_waits(place: str) -> None:
    """An object that takes its time takes the worker's: the call returns before it answers."""
    held = odd.Held()
    with faulty(given=None, longest=MOMENT) as trial:
        trial.kinds = 20
        timer = threading.Timer(2 * MOMENT, held.go.set)
        timer.start()
        trial.call(otel_ml.observe, **{"model": "m", **PLACES[place](held)})
        assert trial.slowest < MOMENT
        held.go.set()
        timer.cancel()
        timer.join()


@pytest.mark.fault("A2")
@pytest.mark.parametrize("given_", ["ids", "labels", "an id", "a label"])
def test_labels_are_asked_by_the_worker(given_: str) -> None:
    held = odd.Held()
    call: dict[str, Any] = {"ids": ["a"], "labels": [1]}
    name = given_.rsplit(maxsplit=1)[-1].rstrip("s") + "s"
    call[name] = held if given_ == name else [held]
    with faulty(given=None, longest=MOMENT) as trial:
        timer = threading.Timer(2 * MOMENT, held.go.set)
        timer.start()
        trial.call(otel_ml.record_labels, **call)
        assert trial.slowest < MOMENT
        held.go.set()
        timer.cancel()
        timer.join()


@pytest.mark.fault("A2")
@pytest.mark.parametrize("method", ["predict", "predict_proba", "decision_function"])
def test_a_models_own_objects_are_not_touched(watched: None, method: str) -> None:
    """Neither input nor output is asked anything while the application waits."""
    held = odd.Held()
    model = Odd(held)
    with faulty(given=None, longest=MOMENT) as trial:
        timer = threading.Timer(2 * MOMENT, held.go.set)
        timer.start()
        with served():
            assert trial.call(getattr(model, method), held) is held
        assert trial.slowest < MOMENT
        held.go.set()
        timer.cancel()
        timer.join()


@pytest.mark.fault("A2")
def test_an_object_that_takes_ten_seconds_holds_up_nobody() -> None:
    """It has its time; what came after it is counted and exported while it is still at it."""
    held = odd.Held()
    with faulty(loss="invalid_input", rows=1, longest=MOMENT) as trial:
        trial.observe(scores=held)
        assert held.reached.wait(HANG)
        for _ in range(100):
            trial.observe(features=[[1.0]], scores=[0.5])
        assert trial.books().counted >= 100
        assert not held.go.is_set()
        held.go.set()


# A3


@pytest.mark.fault("A3")
def test_a_full_queue_drops_counts_and_says_so() -> None:
    with (
        faulty(
            loss="queue_full",
            rows=90,
            said=r"predictions are lost \(queue_full, .* raise capture.queue_size",
            settings={"capture": {"queue_size": 10}},
            longest=MOMENT,
        ) as trial,
        trial.held(),
    ):
        for _ in range(10):
            trial.observe(features=[[1.0]])
        for _ in range(30):
            trial.observe(3, features=[[1.0], [2.0], [3.0]])


@pytest.mark.fault("A3")
def test_a_call_on_a_full_queue_is_as_fast_as_any() -> None:
    """Fifty microseconds are the bound; ten times that is the guard on a machine that is busy."""
    settings = {"capture": {"queue_size": 4}}
    with faulty(loss="queue_full", settings=settings, longest=MOMENT) as trial, trial.held():
        for _ in range(4):
            trial.observe(features=[[1.0]])
        taken = []
        for _ in range(2000):
            began = time.perf_counter()
            trial.observe(features=[[1.0]])
            taken.append(time.perf_counter() - began)
        assert sorted(taken)[len(taken) // 2] < 500e-6


@pytest.mark.fault("A3")
def test_a_loss_is_said_when_it_begins_and_when_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    notices = Notices()
    with caplog.at_level(logging.INFO, "otel_ml"):
        for second in range(60):
            notices.look({"queue_full": min(second, 20) * 7}, float(second))
        first, last = caplog.messages
        assert "predictions are lost (queue_full, 7 so far)" in first
        assert REMEDIES["queue_full"] in first
        assert "no more predictions are lost (queue_full); 140 were" in last
        caplog.clear()
        for second in range(60, 60 + 900):
            notices.look({"queue_full": 140 + second}, float(second))
        assert len(caplog.messages) == 3, "one every five minutes while it goes on"
