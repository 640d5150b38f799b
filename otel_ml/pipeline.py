"""Captured calls in, telemetry out: the pipeline of this process and the functions on it."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Sequence
from typing import Any

from otel_ml import ending
from otel_ml.buffer import Pipeline
from otel_ml.snapshot import by_value, call_rows
from otel_ml.types import Captured, ModelKey

__all__ = ["Pipeline", "current", "flush", "observe", "record_labels", "shutdown", "skip", "submit"]


_current: Pipeline | None = None
_renewing = threading.Lock()


def _renew_lock() -> None:
    global _renewing
    _renewing = threading.Lock()  # another thread of the parent may have held it at the fork


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def current() -> Pipeline:
    """Return the pipeline of this process; a forked child gets its own, empty one."""
    global _current
    pipeline = _current
    if pipeline is not None and pipeline.pid == os.getpid():
        return pipeline
    with _renewing:
        if _current is None or _current.pid != os.getpid():
            _current = Pipeline()
            ending.at_exit(_current.shutdown)
            if _current.settings.capture.flush_on_sigterm:
                flush_on_signals()
        return _current


def flush_on_signals() -> bool:
    """Have SIGTERM and SIGHUP flush before they do what they do; see `ending.on_signals`."""
    return ending.on_signals(_end)


def _end(timeout: float) -> bool:
    pipeline = _current
    return pipeline is None or pipeline.shutdown(timeout)


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
    n = 1
    try:
        extra = {
            "scores": by_value(scores),
            "predictions": by_value(predictions),
            "ids": by_value(ids),
            "slices": by_value(slices),
            "event_times": by_value(event_times),
        }
        captured = Captured(
            ModelKey(model, None if version is None else str(version)),
            "observe",
            by_value(features),
            None,
            time.time_ns(),
            extra=extra,
        )
        n = call_rows(captured)
        if type(model) is not str or not model:
            pipeline.skip("invalid_input", n)
            return
        if duration is not None and 0 <= duration < math.inf:
            captured.duration_ns = int(duration * 1e9)
        pipeline.submit(captured)
    except KeyboardInterrupt:
        raise
    except BaseException:  # an object of the application may raise anything
        pipeline.skip("invalid_input", n)


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
    except KeyboardInterrupt:
        raise
    except BaseException:  # an object of the application may raise anything
        pipeline.skip("invalid_input")
