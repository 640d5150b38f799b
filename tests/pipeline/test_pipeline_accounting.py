"""Every prediction that is handed over is counted or is said to be dropped, exactly once."""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from otel_ml import buffer
from otel_ml import pipeline as module
from otel_ml.semconv import metrics as m
from otel_ml.testing import MemoryPipeline
from otel_ml.types import Captured

HANG = 20.0


def kill(pipeline: MemoryPipeline) -> None:
    """Raise in the worker's thread what its own code never would."""
    thread = pipeline._thread
    assert thread is not None
    assert thread.ident is not None
    done = ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)
    )
    assert done == 1


class Exploding:
    """An output whose conversion raises what ends a thread."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise self.error


class Blocking:
    """A model output whose conversion waits until it is let go."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.go = threading.Event()

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        self.reached.set()
        assert self.go.wait(HANG)
        return np.array([0.5])


def test_calls_of_every_size_are_counted(otel_ml_pipeline: Any, calls: Any, books: Any) -> None:
    for n in (1, 3, 0, 1000):
        otel_ml_pipeline.submit(calls.some(n) if n else calls.of(np.zeros((0, 2))))
    found = books(otel_ml_pipeline)
    assert (found.captured, found.counted, found.dropped) == (1004, 1004, {})
    sizes = otel_ml_pipeline.sink.samples(m.ML_INFERENCE_BATCH_SIZE)
    assert sum(sizes[0].value.counts) == 4
    assert sizes[0].value.sum == 1004


@pytest.mark.fault("A6")
def test_a_failed_call_is_one_prediction_with_its_error(
    otel_ml_pipeline: Any, calls: Any, books: Any
) -> None:
    otel_ml_pipeline.submit(calls.some(2))
    otel_ml_pipeline.submit(calls.of(np.zeros((7, 2)), error="ValueError"))
    found = books(otel_ml_pipeline)
    assert (found.captured, found.counted, found.dropped) == (3, 3, {})
    assert otel_ml_pipeline.sink.value(m.ML_PREDICTIONS, error_type="ValueError") == 1


def test_error_names_are_bounded(otel_ml_pipeline: Any, calls: Any, books: Any) -> None:
    for i in range(40):
        otel_ml_pipeline.submit(calls.of(None, error=f"Error{i}"))
    assert books(otel_ml_pipeline).counted == 40
    named = otel_ml_pipeline.sink.samples(m.ML_PREDICTIONS)
    assert len(named) <= 22
    assert otel_ml_pipeline.sink.value(m.ML_PREDICTIONS, error_type="_OTHER") == 20


@pytest.mark.fault("A3")
def test_a_full_queue_drops_rows_and_says_how_many(
    otel_ml_pipeline: Any, calls: Any, books: Any
) -> None:
    blocking = Blocking()
    otel_ml_pipeline.capacity = 10
    otel_ml_pipeline.submit(calls.of([[0.0, 0.0]], output=blocking, method="predict"))
    assert blocking.reached.wait(HANG)
    for _ in range(10):
        otel_ml_pipeline.submit(calls.some(2))
    for n in (1, 4, 30):
        otel_ml_pipeline.submit(calls.some(n))
    otel_ml_pipeline.submit(calls.of(np.zeros((5, 2)), error="ValueError"))
    blocking.go.set()
    found = books(otel_ml_pipeline)
    assert found.dropped == {"queue_full": 36}
    assert (found.counted, found.captured) == (21, 57)


@pytest.mark.fault("A9")
@pytest.mark.parametrize("capacity", [10_000, 50])
def test_concurrent_submitters_lose_nothing_uncounted(
    otel_ml_pipeline: Any, calls: Any, books: Any, capacity: int
) -> None:
    otel_ml_pipeline.capacity = capacity
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        start = threading.Barrier(8)

        def work() -> None:
            ready = [calls.some(3) for _ in range(400)]
            start.wait(HANG)
            for call in ready:
                otel_ml_pipeline.submit(call)
                otel_ml_pipeline.skip("closed", 2)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(HANG)
    finally:
        sys.setswitchinterval(interval)
    found = books(otel_ml_pipeline)
    assert found.dropped["closed"] == 2 * 8 * 400
    assert found.counted + found.dropped.get("queue_full", 0) == 3 * 8 * 400
    assert found.balanced


def test_calls_outside_of_serving_are_no_part_of_the_sum(
    otel_ml_pipeline: Any, calls: Any, books: Any
) -> None:
    otel_ml_pipeline.skip("not_serving", 9)
    otel_ml_pipeline.submit(calls.some(1))
    found = books(otel_ml_pipeline)
    assert (found.captured, found.counted, found.dropped) == (1, 1, {"not_serving": 9})


def test_a_loss_is_told_even_if_nothing_is_ever_taken(otel_ml_pipeline: Any, books: Any) -> None:
    otel_ml_pipeline.skip("not_serving")
    assert otel_ml_pipeline._thread is None
    otel_ml_pipeline.skip("invalid_input", 3)
    found = books(otel_ml_pipeline)
    assert (found.captured, found.dropped) == (3, {"invalid_input": 3, "not_serving": 1})


def test_flush_exports_the_rest_although_an_export_is_due(
    otel_ml_pipeline: Any, calls: Any, books: Any
) -> None:
    """An export that is due in the middle of a long queue does not cut a flush short."""
    for _ in range(9000):
        otel_ml_pipeline.queue.append(calls.some(1))
    otel_ml_pipeline.submit(calls.some(1))
    assert books(otel_ml_pipeline).counted == 9001


def test_shutdown_counts_the_rest_and_a_later_call_starts_anew(
    otel_ml_pipeline: Any, calls: Any, books: Any
) -> None:
    for _ in range(9000):
        otel_ml_pipeline.queue.append(calls.some(1))
    otel_ml_pipeline.submit(calls.some(1))
    assert otel_ml_pipeline.shutdown(HANG)
    assert otel_ml_pipeline.sink.value(m.ML_PREDICTIONS) == 9001
    assert otel_ml_pipeline.sink.closed
    assert otel_ml_pipeline.shutdown()
    otel_ml_pipeline.submit(calls.some(4))
    assert books(otel_ml_pipeline).counted == 9005


def test_a_restart_waits_for_the_end_of_the_worker_before(
    otel_ml_pipeline: Any, calls: Any, books: Any
) -> None:
    blocking = Blocking()
    otel_ml_pipeline.submit(calls.of([[0.0, 0.0]], output=blocking, method="predict"))
    assert blocking.reached.wait(HANG)
    assert not otel_ml_pipeline.shutdown(0.01)
    before = otel_ml_pipeline._ending
    otel_ml_pipeline.submit(calls.some(5))
    assert otel_ml_pipeline._thread is not before
    assert len(otel_ml_pipeline.queue) == 1, "taken while another thread has the worker"
    blocking.go.set()
    found = books(otel_ml_pipeline)
    assert (found.counted, found.dropped) == (6, {})
    assert before is not None
    before.join(HANG)
    assert not before.is_alive()


def test_flush_starts_a_worker_where_something_waits_and_none_runs(
    otel_ml_pipeline: Any, calls: Any, books: Any
) -> None:
    assert otel_ml_pipeline.flush()
    assert otel_ml_pipeline._thread is None
    otel_ml_pipeline.queue.append(calls.some(3))
    assert books(otel_ml_pipeline).counted == 3


def test_flush_gives_up_in_time(otel_ml_pipeline: Any, calls: Any) -> None:
    blocking = Blocking()
    otel_ml_pipeline.submit(calls.of([[0.0, 0.0]], output=blocking, method="predict"))
    assert blocking.reached.wait(HANG)
    assert not otel_ml_pipeline.flush(0.05)
    blocking.go.set()


@pytest.mark.fault("A4")
@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), MemoryError(), RecursionError(), OSError("x")]
)
def test_whatever_an_object_raises_costs_only_its_own_features(
    otel_ml_pipeline: Any, calls: Any, books: Any, error: BaseException
) -> None:
    otel_ml_pipeline.submit(calls.some(3))
    features = type("Frame", (), {"__array__": Exploding(error).__array__})()
    otel_ml_pipeline.submit(calls.of(features, output=np.array([[0.4, 0.6]])))
    otel_ml_pipeline.submit(calls.some(4))
    found = books(otel_ml_pipeline)
    assert found.counted + sum(found.dropped.values()) == 8
    assert found.counted >= 7
    assert otel_ml_pipeline.restarts == 0


@pytest.mark.fault("A4")
def test_a_call_that_ends_threads_is_dropped_alone(
    otel_ml_pipeline: Any, calls: Any, books: Any
) -> None:
    for i in range(10):
        otel_ml_pipeline.submit(calls.some(1, i))
        output = Exploding(SystemExit(1))
        otel_ml_pipeline.submit(calls.of(np.zeros((2, 2)), output=output, method="predict"))
    found = books(otel_ml_pipeline)
    assert (found.counted, found.dropped, found.captured) == (10, {"invalid_input": 20}, 30)


@pytest.mark.fault("A4")
def test_a_killed_worker_is_started_again(otel_ml_pipeline: Any, calls: Any, books: Any) -> None:
    otel_ml_pipeline.submit(calls.some(5))
    assert books(otel_ml_pipeline).counted == 5
    for i in range(3):
        before = otel_ml_pipeline.restarts
        while otel_ml_pipeline.restarts == before:
            kill(otel_ml_pipeline)  # where it hits a guarded piece of work, it ends only that
            deadline = time.monotonic() + 0.5
            while otel_ml_pipeline.restarts == before and time.monotonic() < deadline:
                time.sleep(0.01)
        otel_ml_pipeline.submit(calls.some(5))
        found = books(otel_ml_pipeline)
        assert (found.counted, found.dropped) == (10 + 5 * i, {})
    assert otel_ml_pipeline.sink.value(m.ML_MONITORING_WORKER_RESTARTS) >= 3


@pytest.mark.fault("A4")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_that_is_killed_for_good_is_replaced_by_the_next_call(
    otel_ml_pipeline: Any, calls: Any, books: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    otel_ml_pipeline.submit(calls.some(1))
    assert books(otel_ml_pipeline).counted == 1
    thread = otel_ml_pipeline._thread
    assert thread is not None

    def dies(*_: Any, **__: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(buffer._log, "exception", dies)
        patch.setattr(otel_ml_pipeline._worker, "take", dies)
        thread.join(HANG)
    assert not thread.is_alive()
    otel_ml_pipeline.submit(calls.some(4))
    assert books(otel_ml_pipeline).counted == 5


def test_what_a_killed_worker_had_in_hand_is_counted_as_lost(
    otel_ml_pipeline: Any, calls: Any, books: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between taking calls from the queue and counting them."""
    otel_ml_pipeline.submit(calls.some(1))
    assert books(otel_ml_pipeline).counted == 1
    worker = otel_ml_pipeline._worker
    feed = worker.feeder._feed

    def dies(taken: Any) -> None:
        monkeypatch.setattr(worker.feeder, "_feed", feed)
        feed(taken[:1])
        raise SystemExit

    monkeypatch.setattr(worker.feeder, "_feed", dies)
    with otel_ml_pipeline._start_lock:
        otel_ml_pipeline.queue.extend([calls.some(2), calls.some(3), calls.some(4)])
    found = books(otel_ml_pipeline)
    assert (found.counted, found.dropped) == (3, {"invalid_input": 7})
    assert otel_ml_pipeline.restarts == 1


def test_a_worker_that_fails_while_it_ends_still_sends_the_rest(
    otel_ml_pipeline: Any, calls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    otel_ml_pipeline.submit(calls.some(1))
    assert otel_ml_pipeline.flush(HANG)
    worker = otel_ml_pipeline._worker
    take = worker.take

    def dies_once(*args: Any, **kwargs: Any) -> None:
        if otel_ml_pipeline._stop.is_set():
            monkeypatch.setattr(worker, "take", take)
            raise SystemExit
        take(*args, **kwargs)

    monkeypatch.setattr(worker, "take", dies_once)
    assert otel_ml_pipeline.shutdown(HANG)
    assert otel_ml_pipeline.restarts == 1
    assert otel_ml_pipeline.sink.closed


class BadSink:
    def __init__(self) -> None:
        self.calls = 0

    def export(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        raise SystemExit("a sink must not raise")

    def shutdown(self, timeout: float) -> None:
        raise RuntimeError("nor here")


def test_a_sink_that_raises_does_not_keep_others_from_exporting(calls: Any, books: Any) -> None:
    pipeline = MemoryPipeline()
    bad = BadSink()
    pipeline._make_sinks = lambda: [bad, pipeline.sink]
    pipeline.submit(calls.some(2))
    assert books(pipeline).counted == 2
    assert bad.calls
    assert pipeline.shutdown(HANG)
    assert pipeline.restarts == 0
    assert pipeline.sink.closed


def test_sinks_that_cannot_be_made_are_said_and_predictions_still_counted(
    calls: Any, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = MemoryPipeline()

    def fail() -> Any:
        raise RuntimeError("no sink for you")

    pipeline._make_sinks = fail
    pipeline.submit(calls.some(2))
    assert pipeline.flush(HANG)
    assert pipeline._worker is not None
    assert pipeline._worker.health.counted == 2
    assert "no sink for you" in caplog.text
    assert pipeline.restarts == 0
    assert pipeline.shutdown(HANG)


def test_a_thread_that_cannot_be_started_is_tried_again(
    otel_ml_pipeline: Any, calls: Any, books: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        otel_ml_pipeline.submit(calls.some(2))
        assert not otel_ml_pipeline.flush()
    otel_ml_pipeline.submit(calls.some(1))
    assert books(otel_ml_pipeline).counted == 3


@pytest.fixture
def switched_off(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryPipeline]:
    from otel_ml import config

    monkeypatch.setenv("OTEL_ML_ENABLED", "false")
    config.reset()
    yield MemoryPipeline()
    config.reset()


def test_switched_off_nothing_is_kept_and_nothing_runs(
    switched_off: MemoryPipeline, calls: Any
) -> None:
    for _ in range(10):
        switched_off.submit(calls.some(1))
        switched_off.add_labels(None, ["a"], [1])
    assert not switched_off.queue
    assert not switched_off.labels
    assert switched_off._thread is None
    assert switched_off.flush()
    assert switched_off.shutdown()


def test_there_is_one_thread_and_it_is_a_daemon(otel_ml_pipeline: Any, calls: Any) -> None:
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait(HANG)
        otel_ml_pipeline.submit(calls.some(1))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG)
    ours = [t for t in threading.enumerate() if t.name == "otel-ml"]
    assert otel_ml_pipeline._thread in ours
    assert all(t.daemon for t in ours)
    assert len([t for t in ours if t is not otel_ml_pipeline._thread]) == 0


def test_the_functions_of_the_module_use_the_current_pipeline(
    otel_ml_pipeline: Any, calls: Any
) -> None:
    current: Any = module.current()
    assert current is otel_ml_pipeline
    module.submit(calls.some(3))
    module.skip("shape", 2)
    assert module.flush(HANG)
    assert otel_ml_pipeline.sink.value(m.ML_PREDICTIONS) == 3
    assert otel_ml_pipeline.sink.value(m.ML_MONITORING_DROPPED, ml_drop_reason="shape") == 2
    assert module.shutdown(HANG)


def test_memory_stays_bounded_when_nobody_takes(otel_ml_pipeline: Any, calls: Any) -> None:
    blocking = Blocking()
    otel_ml_pipeline.capacity = 100
    otel_ml_pipeline.submit(calls.of([[0.0, 0.0]], output=blocking, method="predict"))
    assert blocking.reached.wait(HANG)
    call = Captured(calls.model, "predict", None, [1], 0)
    for _ in range(5000):
        otel_ml_pipeline.submit(call)
    assert len(otel_ml_pipeline.queue) == 100
    assert len(otel_ml_pipeline._losses._entries) < 512
    assert otel_ml_pipeline.skipped == {"queue_full": 4900}
    blocking.go.set()
