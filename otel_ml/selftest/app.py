"""Requests in, answers of a small model out: the throw-away application, with otel-ml or without.

It is written the way a careful user would: the model answers, `otel_ml.observe` is told, and what
that raises would reach the client.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from otel_ml.selftest.odd import ODD, fingerprint, stalling
from otel_ml.types import FloatArray

__all__ = ["COLUMNS", "MODEL", "App", "Watch"]

COLUMNS: Final = 30
MODEL: Final = "selftest"
WORKER: Final = "otel-ml"
_SEED: Final = 20
_CHILD_LIMIT: Final = 20.0  # seconds; a guard against hanging
_TIMINGS: Final = 100_000

Watch = Callable[..., None]
Reply = Mapping[str, Any]


class App:
    """A model and the books an application could keep of its own.

    Parameters
    ----------
    watch
        `otel_ml.observe`, or something that does nothing.
    flush
        `otel_ml.flush`, or something that returns at once.
    estimator
        A model of a library that is instrumented, in the place of the built-in one.
    """

    def __init__(self, watch: Watch, flush: Callable[[float], bool], estimator: Any = None) -> None:
        self._watch = watch
        self._flush = flush
        self._estimator = estimator
        self._weights = np.random.default_rng(_SEED).normal(size=COLUMNS)
        self._books = threading.Lock()
        self._timings: deque[int] = deque(maxlen=_TIMINGS)
        self.given = 0
        self.errors: list[str] = []

    def predict(self, rows: list[list[float]]) -> list[float]:
        """Answer a request."""
        data = np.asarray(rows, dtype=np.float64)
        if self._estimator is not None:
            scores: FloatArray = self._estimator.predict_proba(data)[:, 1]
            self._note(len(data))
        else:
            scores = 1 / (1 + np.exp(-(data @ self._weights)))
            self._tell(len(data), model=MODEL, features=data, scores=scores)
        answer: list[float] = scores.tolist()
        data[:] = np.nan  # an application may use its buffers again at once
        scores[:] = np.nan
        return answer

    def state(self) -> Reply:
        """Return what this process holds, and its own books."""
        return {
            "given": self.given,
            "errors": self.errors[:5],
            "threads": sorted(thread.name for thread in threading.enumerate()),
            "files": _open_files(),
            "memory": _resident(),
        }

    def timings(self) -> Reply:
        """Return how long the calls of otel-ml took since the last time, in microseconds."""
        with self._books:
            taken = np.array(self._timings, dtype=np.float64) / 1e3
            self._timings.clear()
        if not len(taken):
            return {"n": 0, "p50_us": 0.0, "p99_us": 0.0, "max_us": 0.0}
        p50, p99, most = np.percentile(taken, (50, 99, 100)).tolist()
        return {"n": len(taken), "p50_us": p50, "p99_us": p99, "max_us": most}

    def flush(self, timeout: float) -> Reply:
        """Have everything counted and sent."""
        return {"done": self._flush(timeout)}

    def odd(self) -> Reply:
        """Hand over every odd input; return what each looks like afterwards."""
        seen = {}
        for name, make in ODD.items():
            arguments = {"model": "odd", **make()}
            self._tell(0, **arguments)
            seen[name] = fingerprint(arguments)
        return {"seen": seen, "calls": len(seen)}

    def poison(self) -> Reply:
        """Hand over what no OTLP message can hold: names and categories that are no Unicode."""
        for text in ("\ud800", "a\udfffb"):
            column = np.array([text], dtype=object)
            self._tell(1, model=f"poison{text}", features={text: column}, predictions=column)
        return {"calls": 2}

    def burst(self, calls: int, per_second: float) -> Reply:
        """Hand over predictions of one row each, at a pace."""
        data = np.random.default_rng(calls).normal(size=(1000, COLUMNS))
        began = time.monotonic()
        for number in range(calls):
            if number % 100 == 0 and per_second:
                late = began + number / per_second - time.monotonic()
                if late > 0:
                    time.sleep(late)
            row = data[number % 1000].reshape(1, -1)
            self._tell(1, model=MODEL, features=row, scores=np.array([0.5]))
        return {"given": calls, "seconds": time.monotonic() - began}

    def stall(self, calls: int, seconds: float) -> Reply:
        """Keep the worker busy with slow objects, and hand over more than the queue can hold."""
        go_on = threading.Event()
        for _ in range(3):
            slow = stalling(lambda: go_on.wait(seconds))
            self._tell(1, model=MODEL, features=slow, scores=np.array([0.5]))
        try:
            return self.burst(calls, 0.0)
        finally:
            go_on.set()

    def kill_worker(self) -> Reply:
        """Raise SystemExit in the worker thread, wherever it is."""
        found = [t.ident for t in threading.enumerate() if t.name == WORKER and t.ident]
        for ident in found:
            raised = ctypes.py_object(SystemExit)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), raised)
        return {"threads": len(found)}

    def fork(self, children: int) -> Reply:
        """Fork children that each make a prediction; say how they ended."""
        ended = {"well": 0, "badly": 0, "hung": 0}
        for _ in range(children):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of threads: that is the point
                child = os.fork()
            if child == 0:
                self._in_child()
            ended[_wait_for(child)] += 1
        self._note(ended["well"])
        return ended

    def _in_child(self) -> None:
        code = 1
        try:
            row = np.zeros((1, COLUMNS))
            self._watch(model=MODEL, features=row, scores=np.array([0.5]))
            code = 0 if self._flush(_CHILD_LIMIT / 2) else 2
        finally:
            os._exit(code)

    def _tell(self, rows: int, **arguments: Any) -> None:
        self._note(rows)
        began = time.perf_counter_ns()
        try:
            self._watch(**arguments)
        except BaseException as error:
            self.errors.append(f"{type(error).__name__}: {str(error)[:200]}")
            raise
        self._timings.append(time.perf_counter_ns() - began)

    def _note(self, rows: int) -> None:
        with self._books:
            self.given += rows


def _wait_for(child: int) -> str:
    deadline = time.monotonic() + _CHILD_LIMIT
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "badly" if status else "well"
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hung"


def _open_files() -> int | None:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return None


def _resident() -> int | None:
    if not sys.platform.startswith("linux"):
        return None
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE")
