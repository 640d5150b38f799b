"""A fault is let loose inside a block; what must hold after any fault is checked at its end.

O1 outputs are those of the uninstrumented run (`same`). O2 nothing is raised into the application,
O3 no call takes long (`Trial.call`). O4 the books balance, O5 memory is bounded, O6 the loss is
said once and counted with its reason, O7 the next prediction is counted as ever, O8 nothing is left
behind (`faulty`). What may hang runs in a process of its own: `tests.faults.processes.alone`.
"""

from __future__ import annotations

import gc
import logging
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from opentelemetry import trace

import otel_ml
from otel_ml import config
from otel_ml import pipeline as current
from otel_ml.engine import Engine
from otel_ml.semconv import metrics as m
from otel_ml.testing import MemoryPipeline
from otel_ml.types import Batch

__all__ = ["HANG", "Books", "Messages", "Trial", "faulty", "rss", "same", "served"]

HANG: Final = 30.0  # seconds; a guard against hanging, not a measure
LONGEST: Final = 5.0  # seconds one call may take on a machine that is busy with other things
GROWTH: Final = 64 << 20  # bytes: the bound of the resident set


# O1


def same(found: Any, expected: Any) -> bool:
    """Say whether two outputs are identical: type, dtype, shape, layout and every bit."""
    if found is expected:
        return True
    if type(found) is not type(expected):
        return False
    if isinstance(expected, np.ma.MaskedArray):
        return same(found.data, expected.data) and same(
            np.ma.getmaskarray(found), np.ma.getmaskarray(expected)
        )
    if isinstance(expected, np.ndarray):
        if (found.dtype, found.shape, found.strides) != (
            expected.dtype,
            expected.shape,
            expected.strides,
        ):
            return False
        if expected.dtype.hasobject:
            return all(map(same, found.ravel().tolist(), expected.ravel().tolist()))
        return bool(found.tobytes() == expected.tobytes())
    if isinstance(expected, (float, complex, np.generic)):
        return np.asarray(found).tobytes() == np.asarray(expected).tobytes()
    if isinstance(expected, (list, tuple)):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(same(found[k], expected[k]) for k in expected)
    if hasattr(expected, "toarray") and hasattr(expected, "nnz"):
        return same(found.toarray(), expected.toarray())
    if hasattr(expected, "equals"):  # tables and series
        return bool(found.equals(expected))
    return bool(found == expected)


# O4


@dataclass(frozen=True)
class Books:
    """What the telemetry says became of the predictions, once everything is exported."""

    captured: float
    counted: float
    dropped: Mapping[str, float]
    sampled: float = 0.0

    @classmethod
    def of(cls, pipeline: MemoryPipeline) -> Books:
        """Export everything and read the books."""
        assert pipeline.flush(HANG), "a flush hangs"
        sink = pipeline.sink

        def total(metric: Any) -> float:
            return sum(
                float(s.value) for s in sink.samples(metric) if not hasattr(s.value, "counts")
            )

        sampled = getattr(m, "ML_MONITORING_SAMPLED", None)
        if total(m.ML_MONITORING_QUEUE_SIZE):  # of a handler of messages that predicts, say
            assert pipeline.flush(HANG), "a flush hangs"
        assert total(m.ML_MONITORING_QUEUE_SIZE) == 0, "a flush leaves something behind"
        return cls(
            total(m.ML_MONITORING_CAPTURED),
            total(m.ML_PREDICTIONS),
            {
                str(s.attributes["ml.drop.reason"]): float(s.value)
                for s in sink.samples(m.ML_MONITORING_DROPPED)
                if s.value and isinstance(s.value, (int, float))
            },
            0.0 if sampled is None else total(sampled),
        )

    @property
    def lost(self) -> float:
        """Predictions that were dropped, by whatever reason."""
        return sum(n for reason, n in self.dropped.items() if reason != "not_serving")

    def balance(self, given: int | None = None) -> None:
        """Assert that all was counted or dropped, and is what was given where that is known."""
        assert self.captured == self.counted + self.lost, self
        assert self.sampled <= self.counted, self
        if given is not None:
            assert self.captured == given, f"{given} were given: {self}"


# O5


def rss() -> int:
    """Return the resident set of this process in bytes."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


# O6


class Messages(logging.Handler):
    """Keeps what otel-ml logs."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.records: list[logging.LogRecord] = []
        self._more = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._more:
            self.records.append(record)
            self._more.notify_all()

    def wait(self, pattern: str) -> bool:
        """Wait until a message matches; the worker looks at losses once a second."""
        with self._more:
            return self._more.wait_for(lambda: self.matching(pattern), HANG) != []

    def matching(self, pattern: str) -> list[str]:
        """Return the messages in which a pattern is found."""
        texts = [record.getMessage() for record in self.records]
        return [text for text in texts if re.search(pattern, text)]

    def repeated(self) -> dict[str, int]:
        """Return the messages that were logged more than once, and how often."""
        counts = Counter(record.getMessage() for record in self.records)
        return {text: n for text, n in counts.items() if n > 1}


# O8


def _open_files() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
        except OSError:  # the descriptor of the listing itself
            continue
    return found


# all together


@dataclass
class Trial:
    """A pipeline under a fault.

    `given` is what the test handed over, in predictions; None where that cannot be said. `once`:
    no message may be repeated; `kinds`: how many messages there may be.
    """

    pipeline: MemoryPipeline
    messages: Messages
    given: int | None = 0
    longest: float = LONGEST
    slowest: float = 0.0
    calls: int = 0
    restarts: int | None = None
    once: bool = True
    kinds: int = 6

    @property
    def sink(self) -> Any:
        return self.pipeline.sink

    def gave(self, n: int) -> None:
        """Note that so many predictions were handed over."""
        assert self.given is not None
        self.given += n

    def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call something of otel-ml, or watched by it: whatever is raised fails the test."""
        began = time.perf_counter()
        try:
            return function(*args, **kwargs)
        except BaseException as error:  # O2: not even what would end the process
            raise AssertionError(f"raised into the application: {error!r}") from error
        finally:
            self.calls += 1
            self.slowest = max(self.slowest, time.perf_counter() - began)

    def observe(self, n: int = 1, **given: Any) -> None:
        """Report `n` predictions by hand."""
        given.setdefault("model", "m")
        self.call(otel_ml.observe, **given)
        if self.given is not None:
            self.given += n

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the worker busy inside of the block, so that what is handed over there waits."""
        reached, go = threading.Event(), threading.Event()
        observe = Engine.observe

        def holding(engine: Engine, batch: Batch) -> None:
            reached.set()
            assert go.wait(HANG)
            observe(engine, batch)

        self.books()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Engine, "observe", holding)
            self.observe(model="held", scores=[0.5])
            assert reached.wait(HANG)
            try:
                yield
            finally:
                go.set()

    def books(self) -> Books:
        """Export everything and read the books."""
        return Books.of(self.pipeline)


@contextmanager
def faulty(
    *,
    loss: str | None = None,
    rows: int | None = None,
    said: str | None = None,
    settings: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    longest: float = LONGEST,
    growth: int = GROWTH,
    given: int | None = 0,
    restarts: int | None = 0,
) -> Iterator[Trial]:
    """Run a fault, then check what must hold after any.

    Parameters
    ----------
    loss, rows
        Drop reason that must be counted, and for how many predictions. None: nothing may be lost,
        unless `given` is None, too.
    said
        Pattern of the one message that tells of it.
    settings, environ
        Of the pipeline.
    longest, growth
        Guards of the time of a call in seconds and of the growth of the resident set in bytes.
    given
        None where the test cannot say how many predictions it hands over.
    restarts
        Restarts of the worker the fault must cause; None: any.
    """
    messages = Messages()
    logger = logging.getLogger("otel_ml")
    config.reset()
    if settings:
        config.configure(settings)
    threads, files, memory = set(threading.enumerate()), _open_files(), rss()
    logger.addHandler(messages)
    pipeline = MemoryPipeline(environ)
    before = current.replace(pipeline)
    trial = Trial(pipeline, messages, given, longest, restarts=restarts)
    try:
        _normal(trial)
        yield trial
        assert trial.slowest <= trial.longest, f"a call took {trial.slowest:.3f} s"  # O3
        books = trial.books()
        books.balance(trial.given)  # O4
        if loss is not None:  # O6
            assert set(books.dropped) - {"not_serving"} == {loss}, books
            assert rows is None or books.dropped[loss] == rows, books
        elif given is not None:
            assert books.lost == 0, books
        if said is not None:
            assert messages.wait(said), messages.matching("")
            assert len(messages.matching(said)) == 1, messages.matching("")
        assert not (trial.once and messages.repeated()), messages.repeated()
        assert len(messages.records) <= trial.kinds, messages.matching("")
        if trial.restarts is not None:
            assert pipeline.restarts == trial.restarts
        _normal(trial)  # O7
        after = trial.books()
        assert after.counted == books.counted + 2, (books, after)
        assert after.dropped == books.dropped
        assert pipeline.sink.value(m.ML_PREDICTIONS, ml_model_name="normal") == 4
    finally:
        logger.removeHandler(messages)
        current.replace(before)
        ended = pipeline.shutdown(HANG)
        config.reset()
    assert ended, "shutdown hangs"  # O8
    # one that has ended may be listed for a moment yet
    left = {thread for thread in threading.enumerate() if thread.is_alive()} - threads
    assert not left, left
    assert _open_files() <= files, _open_files() - files
    grown = rss() - memory
    assert grown <= growth, f"{grown / 2**20:.1f} MiB more than before"  # O5


def _normal(trial: Trial) -> None:
    otel_ml.observe(model="normal", features={"x": [1.0, 2.0]}, scores=[0.25, 0.75])
    if trial.given is not None:
        trial.gave(2)


@contextmanager
def served() -> Iterator[None]:
    """Serve a request as far as OpenTelemetry shows it: the span of a server is current."""
    place = trace.SpanContext(0x5EED, 0xF00D, is_remote=False)
    with trace.use_span(trace.NonRecordingSpan(place)):
        yield
