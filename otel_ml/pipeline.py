"""Captured calls in, telemetry out: the embedded host of the engine.

The request path appends to a bounded deque and returns. Everything else happens in one daemon
thread per process, started by the first prediction, so that nothing exists before a fork and
nothing is inherited across one.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from otel_ml.config import active
from otel_ml.types import Captured, ModelKey

if TYPE_CHECKING:
    from otel_ml.emit import Sink
    from otel_ml.worker import Worker

__all__ = ["Pipeline", "current", "flush", "observe", "record_labels", "shutdown", "skip", "submit"]

_log = logging.getLogger("otel_ml")
_PAUSE: Final = 0.1  # seconds between two looks at the queue
_WAKE_AT: Final = 512  # calls in the queue at which the worker is woken early
_LABEL_LIMIT: Final = 1_000_000  # labels given by hand that wait for the worker

Labels = tuple[str | None, list[str], list[Any]]


class Pipeline:
    """Buffer and worker of one process.

    Parameters
    ----------
    make_sinks
        Returns the sinks; called by the worker when it starts. The environment decides if left
        out.
    environ
        Environment variables; those of the process if left out.
    """

    def __init__(
        self,
        make_sinks: Callable[[], Sequence[Sink]] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.pid = os.getpid()
        self.settings = active()
        self.environ = os.environ if environ is None else environ
        self.capacity = self.settings.capture.queue_size
        self.queue: deque[Captured] = deque()
        self.labels: deque[Labels] = deque()
        self.skipped: dict[str, int] = {}
        self.restarts = 0
        self._make_sinks = make_sinks
        self._worker: Worker | None = None
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = False
        self._flush_asked = 0
        self._flush_done = 0
        self._flushed = threading.Condition()

    def submit(self, captured: Captured) -> None:
        """Take a call; drop and count it when the queue is full."""
        queue = self.queue
        if len(queue) >= self.capacity:
            self.skip("queue_full", _rows(captured))
            return
        queue.append(captured)
        if self._thread is None:
            self.start()
        elif len(queue) == _WAKE_AT:
            self._wake.set()

    def skip(self, reason: str, n: int = 1) -> None:
        """Count predictions that were seen but not taken."""
        # two threads may race for one increment: the count is of losses, never of predictions kept
        self.skipped[reason] = self.skipped.get(reason, 0) + n

    def add_labels(self, model: str | None, ids: Sequence[str], labels: Sequence[Any]) -> None:
        """Take labels."""
        if len(self.labels) < _LABEL_LIMIT:
            self.labels.append((model, [str(i) for i in ids], list(labels)))
        if self._thread is None:
            self.start()

    def start(self) -> None:
        """Start the worker if it does not run."""
        with self._start_lock:
            if self._thread is not None or not self.settings.enabled:
                return
            self._stop = False
            self._thread = threading.Thread(target=self._run, name="otel-ml", daemon=True)
            self._thread.start()

    def flush(self, timeout: float = 3.0) -> bool:
        """Have everything taken so far counted and exported; tell whether it was in time."""
        thread = self._thread
        if thread is None or not thread.is_alive():
            return not self.queue
        with self._flushed:
            self._flush_asked += 1
            wanted = self._flush_asked
            self._wake.set()
            return self._flushed.wait_for(lambda: self._flush_done >= wanted, timeout)

    def shutdown(self, timeout: float = 3.0) -> bool:
        """Flush and end the worker; a later prediction starts it again, counts go on."""
        with self._start_lock:
            thread, self._thread = self._thread, None
            if thread is None or not thread.is_alive():
                return not self.queue
            self._stop = True
            self._wake.set()
        thread.join(timeout)
        return not thread.is_alive()

    def _run(self) -> None:
        while True:
            try:
                self._loop()
                return
            except BaseException:  # SystemExit or MemoryError of a user's object must not end it
                self.restarts += 1
                _log.exception("the monitoring worker failed and is started again")
                if self._stop or self.restarts > 100:
                    return
                time.sleep(min(0.1 * self.restarts, 5.0))

    def _loop(self) -> None:
        if self._worker is None:
            from otel_ml.worker import Worker

            self._worker = Worker(self.settings, self.environ, self._make_sinks)
        worker = self._worker
        worker.open()
        while True:
            self._wake.wait(_PAUSE)
            self._wake.clear()
            stopping, asked = self._stop, self._flush_asked
            worker.take(self.queue, self.labels)
            if stopping or asked > self._flush_done or worker.due():
                worker.export(
                    skipped=self.skipped,
                    queued=len(self.queue),
                    capacity=self.capacity,
                    restarts=self.restarts,
                )
            if asked > self._flush_done:
                with self._flushed:
                    self._flush_done = asked
                    self._flushed.notify_all()
            if stopping:
                worker.close()
                return


def _rows(captured: Captured) -> int:
    """Return the rows of a call without running any code of the user's objects."""
    output = captured.output
    if type(output) is list:
        return max(len(output), 1)
    shape = output.shape if type(output).__module__ == "numpy" else ()  # type: ignore[attr-defined]
    return int(shape[0]) if shape else 1


_current: Pipeline | None = None
_renewing = threading.Lock()


def current() -> Pipeline:
    """Return the pipeline of this process; a forked child gets its own, empty one."""
    global _current, _renewing
    pipeline = _current
    if pipeline is not None and pipeline.pid == os.getpid():
        return pipeline
    if pipeline is not None:
        _renewing = threading.Lock()  # the parent may have held it at the fork
    with _renewing:
        if _current is None or _current.pid != os.getpid():
            _current = Pipeline()
            atexit.register(_current.shutdown)
        return _current


def replace(pipeline: Pipeline | None) -> Pipeline | None:
    """Put a pipeline in the place of the current one and return that; for tests and hosts."""
    global _current
    before, _current = _current, pipeline
    return before


def submit(captured: Captured) -> None:
    """Take a captured call; never raises, never blocks."""
    current().submit(captured)


def skip(reason: str, n: int = 1) -> None:
    """Count predictions that were seen but not taken."""
    current().skip(reason, n)


def flush(timeout: float = 3.0) -> bool:
    """Have everything captured so far counted and exported.

    Parameters
    ----------
    timeout
        Seconds to wait.

    Returns
    -------
    bool
        Whether it was done in time.
    """
    return current().flush(timeout)


def shutdown(timeout: float = 3.0) -> bool:
    """Flush and end the worker of this process; the next prediction starts it again.

    Parameters
    ----------
    timeout
        Seconds to wait.

    Returns
    -------
    bool
        Whether it was done in time.
    """
    return current().shutdown(timeout)


def observe(
    *,
    model: str,
    features: Any = None,
    scores: Any = None,
    predictions: Any = None,
    ids: Sequence[str] | None = None,
    slices: Any = None,
    event_times: Any = None,
    duration: float | None = None,
    version: str | None = None,
) -> None:
    """Report predictions by hand, where nothing can be instrumented.

    Never raises and never blocks: input that cannot be used is counted as dropped.

    Parameters
    ----------
    model
        Name of the model.
    features
        Columns by name, a DataFrame, or a 2-D array in the order of the reference.
    scores
        Probability of the positive class, shape ``(n,)``, or of each class, shape ``(n, K)``.
    predictions
        Predicted classes or values, shape ``(n,)``.
    ids
        One id per row, under which its label may come later.
    slices
        Columns by name by which performance and fairness are watched, if they are no features.
    event_times
        Seconds since the Unix epoch, shape ``(n,)``; now if left out.
    duration
        Seconds the call took.
    version
        Version of the model.
    """
    pipeline = current()
    try:
        from otel_ml.snapshot import by_value

        extra = {
            "scores": by_value(scores),
            "predictions": by_value(predictions),
            "ids": by_value(ids),
            "slices": by_value(slices),
            "event_times": by_value(event_times),
        }
        pipeline.submit(
            Captured(
                ModelKey(model, version),
                "observe",
                by_value(features),
                None,
                time.time_ns(),
                -1 if duration is None else int(duration * 1e9),
                extra=extra,
            )
        )
    except Exception:
        pipeline.skip("invalid_input")


def record_labels(*, ids: Sequence[str], labels: Sequence[Any], model: str | None = None) -> None:
    """Report true labels of earlier predictions, with any delay.

    Never raises and never blocks: input that cannot be used is counted as dropped.

    Parameters
    ----------
    ids
        Prediction ids, as returned in ``x-prediction-id`` or given to `observe`.
    labels
        True classes or values, one per id.
    model
        Name of the model; if left out, the one that holds the id.
    """
    pipeline = current()
    try:
        if len(ids) != len(labels):
            pipeline.skip("shape")
            return
        pipeline.add_labels(model, ids, labels)
    except Exception:
        pipeline.skip("invalid_input")
