"""Captured calls in, a worker fed with them out: the bounded buffer and the one thread behind it.

The request path appends to a bounded deque and returns. Everything else happens in one daemon
thread, started by the first prediction, so that nothing exists before a fork and nothing is
inherited across one.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from otel_ml.bell import Bell
from otel_ml.config import active
from otel_ml.ending import seconds
from otel_ml.frame import Frame
from otel_ml.inbox import Inbox
from otel_ml.losses import Losses
from otel_ml.notices import LABELS
from otel_ml.process import mark
from otel_ml.snapshot import call_rows, is_large, rows
from otel_ml.types import Captured

if TYPE_CHECKING:
    from otel_ml.emit import Sink
    from otel_ml.worker import Worker

__all__ = ["Pipeline"]

_log = logging.getLogger("otel_ml")
_PAUSE: Final = 1.0  # seconds between two looks at the queue: what a look costs is shared by many
_SOONEST: Final = 0.1  # seconds between two exports
_WAKE_AT: Final = 4  # part of the queue that is taken when the worker is woken early
_LABEL_LIMIT: Final = 1_000_000  # labels given by hand that wait for the worker
_LAST_TRIES: Final = 3  # of a worker that fails while it is being ended
_LONGEST_REST: Final = 30.0  # seconds a failing worker rests before it is started again
_FORK_PATIENCE: Final = 5.0  # seconds a fork waits for the worker to be done importing

Call = Frame | Captured
Labels = tuple[str | None, Any, Any]

_importing = threading.RLock()
_importing_held = False


def _before_fork() -> None:
    # a module another thread is half-way through importing stays half-imported in the child
    global _importing_held
    _importing_held = _importing.acquire(timeout=_FORK_PATIENCE)


def _after_fork_in_parent() -> None:
    if _importing_held:
        _importing.release()


def _after_fork_in_child() -> None:
    global _importing
    _importing = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )


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
        self.mark = mark()
        self.settings = active()
        self.enabled = self.settings.enabled
        self.environ = os.environ if environ is None else environ
        self.capacity = self.settings.capture.queue_size
        self.queue: deque[Call] = deque()
        self._wake_at = max(self.capacity // _WAKE_AT, 1)
        self.labels: deque[Labels] = deque()
        self.restarts = 0
        # opened here and not by the worker: a label that follows the first prediction is not missed
        self.inbox = None if self.settings.state_dir is None else Inbox(self.settings.state_dir)
        self.labels_lost = 0
        self._labels_waiting = 0
        self._losses = Losses()
        self._make_sinks = make_sinks
        self._worker: Worker | None = None
        self._thread: threading.Thread | None = None
        self._ending: threading.Thread | None = None
        self._start_lock = threading.RLock()  # a signal may interrupt its holder, and flush
        self._wake = Bell()
        self._stop = threading.Event()
        self._deadline = 0.0  # of the end, once it is asked for
        self._flush_asked = 0
        self._flush_done = 0
        self._flushed = threading.Condition()

    @property
    def skipped(self) -> dict[str, int]:
        """Predictions that were seen but not taken, by reason."""
        return self._losses.totals()

    def _lost(self) -> dict[str, int]:
        return {**self.skipped, LABELS: self.labels_lost}

    def submit(self, call: Call) -> None:
        """Take a call; drop and count it when the queue is full."""
        queue = self.queue
        if len(queue) >= self.capacity or not self.enabled:
            if self.enabled:
                self.skip("queue_full", call_rows(call))
                self._look_after()
            return
        queue.append(call)
        if self._thread is None:
            self.start()
        elif len(queue) == self._wake_at:
            self._look_after()
        elif not self._wake.hinted and is_large(call):
            self._wake.hinted = True

    def _look_after(self) -> None:
        """Wake the worker; start another one where it has died, as of a lack of memory."""
        thread = self._thread
        if thread is not None and thread.is_alive():
            self._wake.ring()
        else:
            self.start()

    def skip(self, reason: str, n: int = 1) -> None:
        """Count predictions that were seen but not taken."""
        self._losses.add(reason, n)
        if self._thread is None and reason != "not_serving":
            self.start()  # a loss is told even if nothing else is ever taken

    def add_labels(self, model: str | None, ids: Sequence[Any], labels: Sequence[Any]) -> None:
        """Take labels; lose them, and say so once, when too many wait for the worker.

        Parameters
        ----------
        model
            Name of the model, or None.
        ids, labels
            As they were given; what the application's objects have to say is the worker's to ask.
        """
        if not self.settings.enabled:
            return
        if not self.labels:
            self._labels_waiting = 0
        count = rows(ids) or 1
        if self._labels_waiting and self._labels_waiting + count > _LABEL_LIMIT:
            self.labels_lost += count
            return
        self._labels_waiting += count
        self.labels.append((model, ids, labels))
        if self._thread is None:
            self.start()

    def start(self) -> None:
        """Start the worker if it does not run."""
        with self._start_lock:
            running = self._thread is not None and self._thread.is_alive()
            if running or not self.settings.enabled:
                return
            stop = threading.Event()
            thread = threading.Thread(
                target=self._run, args=(stop, self._ending), name="otel-ml", daemon=True
            )
            self._stop, self._thread = stop, thread
            try:
                thread.start()
            except Exception:
                # no thread can be had, or the interpreter is ending: the next call tries again
                self._thread = None

    def flush(self, timeout: float = 3.0) -> bool:
        """Have everything taken so far counted and exported; tell whether it was in time."""
        if not self._idle():
            self._look_after()
        with self._start_lock:  # by which it has been started
            thread = self._thread
        if not self.mark[0] or thread is None or not thread.is_alive():
            return self._idle()
        with self._flushed:
            self._flush_asked += 1
            wanted = self._flush_asked
            self._wake.ring()
            return self._flushed.wait_for(lambda: self._flush_done >= wanted, seconds(timeout))

    def shutdown(self, timeout: float = 3.0) -> bool:
        """Flush and end the worker; a later prediction starts it again, counts go on."""
        if not self.mark[0]:
            return True  # of the parent process: its lock and its thread mean nothing here
        timeout = seconds(timeout)
        with self._start_lock:
            thread, self._thread = self._thread, None
            if thread is not None and thread.is_alive():
                self._ending = thread
                self._deadline = time.monotonic() + timeout
                self._stop.set()
                self._wake.ring()
            else:
                thread = self._ending  # another shutdown may still be exporting
                if thread is None or not thread.is_alive():
                    return self._idle()
        thread.join(timeout)
        return not thread.is_alive()

    def _idle(self) -> bool:
        return not self.mark[0] or not (self.queue or self.labels)

    def _run(self, stop: threading.Event, before: threading.Thread | None) -> None:
        try:
            if before is not None:
                before.join()  # it may still be exporting: a worker has one thread at a time
            self._keep_going(stop)
        finally:
            if self._thread is threading.current_thread():
                self._thread = None  # killed for good: the next prediction starts another one

    def _keep_going(self, stop: threading.Event) -> None:
        last_tries = _LAST_TRIES
        while True:
            try:
                self._loop(stop)
                return
            except BaseException:  # SystemExit or MemoryError of a user's object must not end it
                self.restarts += 1
                _log.exception(
                    "the monitoring worker failed and is started again: predictions go on, what it "
                    "had in hand is lost and counted; please report this with the traceback"
                )
                if stop.is_set():
                    last_tries -= 1
                    if not last_tries:
                        return
                stop.wait(min(0.1 * self.restarts, _LONGEST_REST))

    def _loop(self, stop: threading.Event) -> None:
        with _importing:
            worker = self._opened()
        importing: AbstractContextManager[Any] = _importing  # whatever the first round needs, too
        while True:
            self._wake.wait(worker.rest(_SOONEST, _PAUSE))
            stopping, asked = stop.is_set(), self._flush_asked
            wanted = stopping or asked > self._flush_done
            with importing:
                worker.take(self.queue, self.labels, self.capacity, self._lost, everything=wanted)
                exporting = wanted or worker.due()
                if exporting:
                    worker.export(
                        deadline=self._deadline if stopping else None,
                        skipped=self.skipped,
                        queued=len(self.queue),
                        capacity=self.capacity,
                        restarts=self.restarts,
                        # the first one imports what the others need
                        wait=wanted or importing is _importing,
                    )
            if exporting:
                importing = nullcontext()
            if asked > self._flush_done:
                with self._flushed:
                    self._flush_done = asked
                    self._flushed.notify_all()
            if stopping:
                worker.close(self._deadline)
                return

    def _opened(self) -> Worker:
        if self._worker is None:
            from otel_ml.worker import Worker

            self._worker = Worker(self.settings, self.environ, self._make_sinks, self.inbox)
        self._worker.open()
        return self._worker
