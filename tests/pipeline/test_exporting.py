"""A receiver that is slow costs telemetry its time, and predictions nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from otel_ml.emit.sink import ExportReport
from otel_ml.exporting import Exporter
from otel_ml.testing import MemoryPipeline

HANG = 30.0


class SlowSink:
    """A sink whose receiver answers, from the second export on, when it is told to."""

    def __init__(self) -> None:
        self.begun = 0
        self.waiting, self.answer = threading.Event(), threading.Event()
        self.hurried = False

    def export(self, *_: Any, **__: Any) -> ExportReport:
        self.begun += 1
        if self.begun == 1:
            return ExportReport(True, {}, {"metrics": "success"})
        self.waiting.set()
        answered = self.answer.wait(HANG)
        return ExportReport(answered, {}, {"metrics": "success" if answered else "failure"})

    def hurry(self) -> None:
        self.hurried = True
        self.answer.set()

    def shutdown(self, timeout: float) -> None:
        self.answer.set()


@pytest.fixture
def slow() -> SlowSink:
    return SlowSink()


@pytest.fixture
def pipeline(slow: SlowSink) -> Iterator[MemoryPipeline]:
    pipeline = MemoryPipeline()
    pipeline._make_sinks = lambda: [slow]
    yield pipeline
    assert pipeline.shutdown(HANG)


def until(condition: Any) -> None:
    end = time.monotonic() + HANG
    while not condition():
        assert time.monotonic() < end, "it hangs"
        time.sleep(0.005)


def test_predictions_are_counted_while_an_export_waits(
    pipeline: MemoryPipeline, slow: SlowSink, calls: Any
) -> None:
    pipeline.capacity = 50
    pipeline.submit(calls.some(1))
    assert slow.waiting.wait(HANG)
    assert pipeline._worker is not None
    health = pipeline._worker.health
    for n in range(1, 11):  # ten times what the queue holds
        for _ in range(50):
            pipeline.submit(calls.some(1))
        pipeline._wake.ring()
        until(lambda n=n: health.counted == 1 + 50 * n)
    assert pipeline.skipped == {}
    assert slow.begun == 2, "one export at a time"
    assert health.exports == {("success", "metrics"): 1}
    slow.answer.set()
    until(lambda: health.exports[("success", "metrics")] >= 2)


def test_a_flush_waits_for_the_export_before_it_and_then_for_its_own(
    pipeline: MemoryPipeline, slow: SlowSink, calls: Any
) -> None:
    pipeline.submit(calls.some(1))
    assert slow.waiting.wait(HANG)
    done = threading.Event()

    def flush() -> None:
        assert pipeline.flush(HANG)
        done.set()

    thread = threading.Thread(target=flush, daemon=True)
    thread.start()
    assert not done.wait(0.2)
    slow.answer.set()
    assert done.wait(HANG)
    thread.join(HANG)
    assert slow.begun >= 3
    assert not slow.hurried


def test_the_end_hurries_what_is_under_way(
    pipeline: MemoryPipeline, slow: SlowSink, calls: Any
) -> None:
    pipeline.submit(calls.some(1))
    assert slow.waiting.wait(HANG)
    assert pipeline.shutdown(HANG)
    assert slow.hurried
    assert slow.begun == 3, "the last one is made all the same"


def test_exports_follow_each_other_and_their_reports_come_once() -> None:
    exporter, order = Exporter(lambda work: work()), []

    class Sink:
        def export(self, samples: Any, *_: Any, timeout: float, **__: Any) -> ExportReport:
            time.sleep(0.01)
            order.append((samples, timeout))
            return ExportReport(True)

        def shutdown(self, timeout: float) -> None:
            """Nothing is held."""

    sink: Any = Sink()
    now = time.monotonic()
    for i in range(3):
        exporter.begin([sink], [i], [], 0, i, now + HANG)  # type: ignore[list-item]  # looked at by nobody
    assert exporter.busy
    exporter.wait(now + HANG)
    assert [samples for (samples,), _ in order] == [0, 1, 2]
    assert all(0 < timeout <= HANG for _, timeout in order)
    assert [begun for _, begun in exporter.reports()] == [0, 1, 2]
    assert list(exporter.reports()) == []
    exporter.close(time.monotonic() + HANG)
    assert not [t for t in threading.enumerate() if t.name == "otel-ml-export"]
    exporter.begin([sink], [3], [], 0, 3, time.monotonic() + HANG)  # type: ignore[list-item]  # as above
    exporter.wait(time.monotonic() + HANG)
    assert [begun for _, begun in exporter.reports()] == [3]
    exporter.close(time.monotonic() + HANG)


def test_an_export_that_outlives_the_end_comes_before_those_that_follow(slow: SlowSink) -> None:
    exporter, order = Exporter(lambda work: work()), []

    class Later:
        def export(self, *_: Any, now_ns: int, **__: Any) -> ExportReport:
            order.append(now_ns)
            return ExportReport(True)

        def shutdown(self, timeout: float) -> None:
            """Nothing is held."""

    later: Any = Later()
    slow.begun = 1  # so that it waits
    exporter.begin([slow, later], [], [], 0, 1, time.monotonic() + HANG)
    assert slow.waiting.wait(HANG)
    exporter.close(time.monotonic())
    exporter.begin([later], [], [], 0, 2, time.monotonic() + HANG)
    assert order == []
    slow.answer.set()
    exporter.wait(time.monotonic() + HANG)
    assert order == [1, 2]
    exporter.close(time.monotonic() + HANG)


def test_without_a_thread_an_export_is_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    exporter, slow = Exporter(lambda work: work()), SlowSink()
    exporter.begin([slow], [], [], 0, 1, time.monotonic() + HANG)
    assert not exporter.busy
    assert [begun for _, begun in exporter.reports()] == [1]
