"""Captured calls in, telemetry out: the pipeline of this process and the functions on it."""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401  see `_renew_lock`
import math
import os
import threading
from collections.abc import Sequence
from typing import Any, Final

from otel_ml import ending
from otel_ml.buffer import Call, Pipeline
from otel_ml.frame import INLINE
from otel_ml.snapshot import by_value, call_rows
from otel_ml.types import ModelKey

__all__ = ["Pipeline", "current", "flush", "observe", "record_labels", "shutdown", "skip", "submit"]


_MOST_KEYS: Final = 1000

_KEYS: dict[str, ModelKey] = {}  # of models named by hand
_current: Pipeline | None = None
_renewing = threading.Lock()


def _renew_lock() -> None:
    global _renewing
    _renewing = threading.Lock()  # another thread of the parent may have held it at the fork


# A fork waits until the worker has imported what it needs. A module with hooks of its own that
# comes meanwhile, as the one above would, hears of the end of a fork but not of its beginning:
# Python complains of that on the standard error.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def current() -> Pipeline:
    """Return the pipeline of this process; a forked child gets its own, empty one."""
    global _current
    pipeline = _current
    if pipeline is not None and pipeline.mark[0]:
        return pipeline
    with _renewing:
        if _current is None or not _current.mark[0]:
            _current = Pipeline()
            ending.at_exit(end)
            if _current.settings.capture.flush_on_sigterm:
                flush_on_signals()
        return _current


def flush_on_signals() -> bool:
    """Have SIGTERM and SIGHUP flush before they do what they do; see `ending.on_signals`."""
    return ending.on_signals(end)


def end(timeout: float = ending.FLUSH_SECONDS) -> bool:
    """Do what `shutdown` does, but nothing where this process has no pipeline yet."""
    pipeline = _current
    with ending.undisturbed():
        return pipeline is None or pipeline.shutdown(timeout)


def replace(pipeline: Pipeline | None) -> Pipeline | None:
    """Put a pipeline in the place of the current one and return that; for tests and hosts."""
    global _current
    before, _current = _current, pipeline
    return before


def submit(call: Call) -> None:
    """Take a captured call; never raises, never blocks."""
    pipeline = _current
    if pipeline is None or not pipeline.mark[0]:
        pipeline = current()
    pipeline.submit(call)


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
    with ending.undisturbed():
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
    pipeline = _current
    if pipeline is None or not pipeline.mark[0]:
        pipeline = current()
    try:
        key = _KEYS.get(model) if version is None and type(model) is str else None
        if key is None:
            key = _key(model, version)
        given = (
            by_value(scores),
            None if predictions is None else by_value(predictions),
            None if ids is None else by_value(ids),
            None if slices is None else by_value(slices),
            None if event_times is None else by_value(event_times),
        )
        ns = -1 if duration is None else _nanoseconds(duration)
        # in the order of `otel_ml.frame`
        if type(features) is list and len(features) == 1 and type(row := features[0]) is list:
            frame = [key, "observe", INLINE, given, ns, None, None, None, None, None, *row]
        else:
            kept = by_value(features)
            frame = [key, "observe", kept, given, ns, None, None, None, None, None]
        if key is None or ns is None:
            pipeline.skip("invalid_input", call_rows(frame))
        else:
            pipeline.submit(frame)
    except KeyboardInterrupt:
        raise
    except BaseException:  # an object of the application may raise anything
        pipeline.skip("invalid_input")


def _key(model: object, version: object) -> ModelKey | None:
    """Return the identity of a model that is named by hand; None where that is no name."""
    if type(model) is not str or not model:
        return None
    if version is None:
        if len(_KEYS) < _MOST_KEYS:
            return _KEYS.setdefault(model, ModelKey(model))
        return ModelKey(model)
    if type(version) is str:
        return ModelKey(model, version)
    # text of anything else might run its code
    return ModelKey(model, str(version) if type(version) in (int, float) else None)


def _nanoseconds(duration: object) -> int | None:
    """Return a duration in seconds as nanoseconds: -1 where it is none, None where no number."""
    if not isinstance(duration, (float, int)):  # asking anything else might run its code
        return None
    return int(duration * 1e9) if 0 <= duration < math.inf else -1


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
        if model is not None and type(model) is not str:
            pipeline.skip("invalid_input")
            return
        pipeline.add_labels(model, by_value(ids), by_value(labels))
    except KeyboardInterrupt:
        raise
    except BaseException:  # an object of the application may raise anything
        pipeline.skip("invalid_input")
