"""For tests of applications and of otel-ml itself: real pieces in, what was emitted out.

Nothing here needs pytest; the fixtures ``otel_ml_pipeline`` and ``otel_ml_receiver`` are in a
plugin of their own, which pytest finds by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from otel_ml.buffer import Pipeline
from otel_ml.emit.readings import matches
from otel_ml.emit.sink import ExportReport
from otel_ml.semconv.livecheck import check
from otel_ml.types import Event, FloatArray, MetricDef, Sample

__all__ = ["FakeModel", "ManualClock", "MemoryPipeline", "MemorySink", "assert_telemetry"]

_SIGNALS: Final = {
    "ExportMetricsServiceRequest": "metrics",
    "ExportLogsServiceRequest": "logs",
    "ExportTraceServiceRequest": "traces",
}


class ManualClock:
    """A clock that stands still until it is told to go on.

    Parameters
    ----------
    now
        Seconds since the Unix epoch.

    Examples
    --------
    >>> clock = ManualClock(100.0)
    >>> clock.advance(2.5)
    >>> clock.time()
    102.5
    """

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now
        self._monotonic = 0.0

    def time(self) -> float:
        """Return seconds since the Unix epoch."""
        return self._now

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes backwards."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass; a negative number turns back the wall clock alone."""
        self._now += seconds
        self._monotonic += max(seconds, 0.0)


class MemorySink:
    """A sink that keeps what it is given: the latest samples, and every event."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._samples: tuple[Sample, ...] = ()
        self._events: list[Event] = []
        self.exports = 0
        self.closed = False

    def export(
        self,
        samples: Sequence[Sample],
        events: Sequence[Event],
        *,
        start_ns: int,
        now_ns: int,
        timeout: float,
    ) -> ExportReport:
        """Keep samples and events."""
        with self._changed:
            self._samples = tuple(samples)
            self._events += events
            self.exports += 1
            self._changed.notify_all()
        return ExportReport(True, outcomes={"metrics": "success"})

    def shutdown(self, timeout: float) -> None:
        """Note that it was called."""
        self.closed = True

    def samples(self, metric: MetricDef | str | None = None, **attributes: Any) -> list[Sample]:
        """Return the latest samples of a metric, or all.

        Parameters
        ----------
        metric
            The metric or its name.
        attributes
            Attributes that must match, with ``_`` for ``.``: ``ml_model_name="churn"``.
        """
        name = metric.name if isinstance(metric, MetricDef) else metric
        with self._changed:
            return [
                sample
                for sample in self._samples
                if name in (None, sample.metric.name)
                and matches(dict(sample.attributes), attributes)
            ]

    def value(self, metric: MetricDef | str, **attributes: Any) -> float:
        """Return the sum of the latest values of the series that match.

        Of a histogram the observations are counted.

        Raises
        ------
        LookupError
            Where no series matches; names those of the metric.
        """
        found = self.samples(metric, **attributes)
        if not found:
            there = [dict(sample.attributes) for sample in self.samples(metric)]
            raise LookupError(f"no series of {metric} matches {attributes}; there are: {there}")
        return sum(
            float(sample.value)
            if isinstance(sample.value, (int, float))
            else float(sum(sample.value.counts))
            for sample in found
        )

    def events(self, name: str | None = None, **attributes: Any) -> list[Event]:
        """Return the events of a name, or all, in the order of arrival."""
        with self._changed:
            return [
                event
                for event in self._events
                if name in (None, event.name) and matches(dict(event.attributes), attributes)
            ]

    def wait(self, condition: Callable[[], object], timeout: float = 10.0) -> bool:
        """Wait until a condition on what was exported holds; return whether it does."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(condition()), timeout)


class MemoryPipeline(Pipeline):
    """A pipeline whose telemetry stays in `sink`.

    Parameters
    ----------
    environ
        Environment variables; none if left out.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self.sink = MemorySink()
        super().__init__(lambda: [self.sink], {} if environ is None else environ)


class FakeModel:
    """A binary classifier that needs no library: the logistic function of the sum of a row.

    Parameters
    ----------
    names
        Names of the features, for `feature_names_in_`; none if left out.

    Examples
    --------
    >>> FakeModel().predict([[-1.0, 0.5], [2.0, 1.0]]).tolist()
    ['no', 'yes']
    """

    def __init__(self, names: Sequence[str] | None = None) -> None:
        self.classes_: NDArray[np.str_] = np.array(["no", "yes"])
        if names is not None:
            self.feature_names_in_ = np.array(names, dtype=object)

    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Return the probability of each class, shape ``(n, 2)``."""
        yes = 1 / (1 + np.exp(-np.asarray(X, dtype=np.float64).sum(axis=1)))
        return np.stack([1 - yes, yes], axis=1)

    def predict(self, X: ArrayLike) -> NDArray[np.str_]:
        """Return the class of each row, shape ``(n,)``."""
        return np.asarray(np.where(self.predict_proba(X)[:, 1] >= 0.5, "yes", "no"))


def assert_telemetry(received: Any) -> None:
    """Assert that telemetry was received and is as the registry says.

    Parameters
    ----------
    received
        Something with ``metrics``, ``logs`` or ``traces`` (such as `otel_ml.emit.Receiver`), or
        decoded OTLP export requests of any signal.

    Raises
    ------
    AssertionError
        Where nothing of otel-ml was received; or listing each way in which it departs from the
        registry.
    """
    messages = _messages(received)
    assert any(_ours(message) for message in (*messages["metrics"], *messages["logs"])), (
        "no telemetry of otel-ml was received"
    )
    findings = check(messages["metrics"], messages["logs"], messages["traces"])
    if findings:
        listed = "\n".join(f"  {finding}" for finding in findings)
        raise AssertionError(f"telemetry departs from the registry:\n{listed}")


def _messages(received: Any) -> dict[str, list[Any]]:
    sorted_: dict[str, list[Any]] = {"metrics": [], "logs": [], "traces": []}
    if isinstance(received, Iterable):
        for message in received:
            sorted_[_SIGNALS[type(message).__name__]].append(message)
    else:
        for signal, held in sorted_.items():
            held.extend(getattr(received, signal, ()))
    return sorted_


def _ours(message: Any) -> bool:
    resources = getattr(message, "resource_metrics", None) or message.resource_logs
    return any(
        scope.scope.name.startswith("otel_ml")
        for resource in resources
        for scope in (
            resource.scope_metrics if hasattr(resource, "scope_metrics") else resource.scope_logs
        )
    )
