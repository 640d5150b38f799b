"""What the worker knows about itself in, the series by which monitoring watches itself out."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from otel_ml.semconv import attributes as a
from otel_ml.semconv import metrics as m
from otel_ml.types import Buckets, IntArray, Sample

__all__ = ["Health", "process_samples"]

_EVALUATION_BOUNDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)


class Report(Protocol):
    """What became of an export."""

    @property
    def ok(self) -> bool:
        """Whether everything arrived."""
        ...

    @property
    def dropped(self) -> Mapping[str, int]:
        """What is lost for good, by reason."""
        ...

    @property
    def outcomes(self) -> Mapping[str, str]:
        """Outcome by signal."""
        ...


@dataclass
class Health:
    """What the worker knows about itself.

    Parameters
    ----------
    counted
        Predictions counted since the start of the process.
    skipped, dropped
        Predictions not taken, by reason: on the request path, and in the worker.
    sampled
        Predictions that were counted without their values, because more came than can be read.
    invalid
        Predictions whose score is no probability: it was left out.
    unreadable
        Predictions whose inputs or outputs were left out, by reason.
    exports
        Exports by outcome and signal.
    lost
        Points and events that are lost for good, by reason.
    """

    counted: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    sampled: int = 0
    invalid: int = 0
    unreadable: Counter[str] = field(default_factory=Counter)
    exports: Counter[tuple[str, str]] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    queued: int = 0
    capacity: int = 0
    restarts: int = 0
    last_success_ns: int = 0
    evaluation: deque[float] = field(default_factory=lambda: deque(maxlen=10_000))
    _evaluations: IntArray = field(
        default_factory=lambda: np.zeros(len(_EVALUATION_BOUNDS) + 1, dtype=np.int64)
    )
    _evaluation_sum: float = 0.0

    def drop(self, reason: str, n: int = 1) -> None:
        """Count predictions the worker could not use."""
        self.dropped[reason] += n

    def exported(self, report: Report, now_ns: int) -> None:
        """Take the report of an export."""
        for signal, outcome in report.outcomes.items():
            self.exports[(outcome, signal)] += 1
        self.lost.update(report.dropped)
        if report.ok:
            self.last_success_ns = now_ns

    def evaluations(self) -> Buckets:
        """Return the histogram of evaluation times."""
        while self.evaluation:
            value = self.evaluation.popleft()
            self._evaluations[int(np.searchsorted(_EVALUATION_BOUNDS, value))] += 1
            self._evaluation_sum += value
        return Buckets(_EVALUATION_BOUNDS, tuple(self._evaluations.tolist()), self._evaluation_sum)


def process_samples(health: Health, now_ns: int) -> Iterator[Sample]:
    """Yield the series by which monitoring watches itself.

    Parameters
    ----------
    health
        What the worker knows about itself.
    now_ns
        Nanoseconds since the Unix epoch.
    """
    losses = Counter(health.dropped)
    losses.update(health.skipped)
    # what was seen outside of serving was never taken: it is no part of what must add up
    lost = sum(count for reason, count in losses.items() if reason != a.MlDropReason.NOT_SERVING)
    yield Sample(m.ML_MONITORING_CAPTURED, {}, health.counted + lost)
    for reason, count in losses.items():
        yield Sample(m.ML_MONITORING_DROPPED, {a.ML_DROP_REASON: reason}, count)
    if not losses:
        # a rate needs a series to begin at zero
        named = {a.ML_DROP_REASON: a.MlDropReason.QUEUE_FULL}
        yield Sample(m.ML_MONITORING_DROPPED, named, 0)
    yield Sample(m.ML_MONITORING_SAMPLED, {}, health.sampled)
    yield Sample(m.ML_MONITORING_INVALID, {}, health.invalid)
    for reason, count in (health.unreadable or {a.MlDropReason.OUTPUT_SHAPE: 0}).items():
        yield Sample(m.ML_MONITORING_UNREADABLE, {a.ML_DROP_REASON: reason}, count)
    yield Sample(m.ML_MONITORING_QUEUE_SIZE, {}, health.queued)
    yield Sample(m.ML_MONITORING_QUEUE_CAPACITY, {}, health.capacity)
    yield Sample(m.ML_MONITORING_EVALUATION_DURATION, {}, health.evaluations())
    for (outcome, signal), count in health.exports.items():
        named = {a.ML_EXPORT_OUTCOME: outcome, a.ML_EXPORT_SIGNAL: signal}
        yield Sample(m.ML_MONITORING_EXPORTS, named, count)
    for reason, count in health.lost.items():
        yield Sample(m.ML_MONITORING_EXPORT_DROPPED, {a.ML_DROP_REASON: reason}, count)
    yield Sample(m.ML_MONITORING_WORKER_RESTARTS, {}, health.restarts)
    if health.last_success_ns:
        age = max(now_ns - health.last_success_ns, 0) / 1e9
        yield Sample(m.ML_MONITORING_EXPORT_AGE, {}, age)
