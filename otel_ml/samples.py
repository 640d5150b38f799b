"""The state of engines and worker in, samples and events under their registered names out."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from otel_ml.engine import Engine
from otel_ml.incidents import Change
from otel_ml.monitors import asked
from otel_ml.profile import PREDICTION, SCORE, CategoryCells, NumericCells, Profile, Reference
from otel_ml.profile.cells import MISSING
from otel_ml.samples_labels import label_samples
from otel_ml.semconv import attributes as a
from otel_ml.semconv import events as e
from otel_ml.semconv import metrics as m
from otel_ml.state import State
from otel_ml.stats.distance import (
    chi_square,
    hellinger,
    jensen_shannon,
    ks_binned,
    psi,
    total_variation,
    wasserstein_binned,
)
from otel_ml.tally import Tally
from otel_ml.types import AttributeValue, Buckets, Event, FloatArray, IntArray, ModelKey, Sample

__all__ = ["Health", "incident_event", "model_samples", "process_samples", "reference_event"]

_LN10: Final = math.log(10)
_FLOOR: Final = -3.0  # evidence below one thousandth of a false incident says nothing
_DRIFT_ROWS: Final = 1000  # rows that the classical statistics are computed over
_MIN_DRIFT_ROWS: Final = 200
_EVALUATION_BOUNDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
_MONITORS: Final = {
    "input_drift": "inputs",
    "data_quality": "quality",
    "prediction_drift": "outputs",
    "score_drift": "outputs",
    "performance": "performance",
    "latency": "latency",
    "errors": "latency",
}
Attributes = Mapping[str, AttributeValue]


@dataclass
class Health:
    """What the worker knows about itself.

    Parameters
    ----------
    counted
        Predictions counted since the start of the process.
    skipped, dropped
        Predictions not taken, by reason: on the request path, and in the worker.
    exports
        Exports by outcome and signal.
    """

    counted: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    exports: Counter[tuple[str, str]] = field(default_factory=Counter)
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

    def exported(self, outcomes: Mapping[str, str], ok: bool, now_ns: int) -> None:
        """Take the report of an export."""
        for signal, outcome in outcomes.items():
            self.exports[(outcome, signal)] += 1
        if ok:
            self.last_success_ns = now_ns

    def evaluations(self) -> Buckets:
        """Return the histogram of evaluation times."""
        while self.evaluation:
            value = self.evaluation.popleft()
            self._evaluations[int(np.searchsorted(_EVALUATION_BOUNDS, value))] += 1
            self._evaluation_sum += value
        return Buckets(_EVALUATION_BOUNDS, tuple(self._evaluations.tolist()), self._evaluation_sum)


def identity(key: ModelKey) -> dict[str, AttributeValue]:
    """Return the attributes that name a model."""
    known: dict[str, AttributeValue] = {a.ML_MODEL_NAME: key.name}
    if key.version is not None:
        known[a.ML_MODEL_VERSION] = key.version
    return known


def model_samples(
    key: ModelKey, engine: Engine, tally: Tally, seen: set[tuple[Any, ...]], min_group: int
) -> list[Sample]:
    """Return the current value of every series of one model.

    Parameters
    ----------
    key
        Its name and version.
    engine, tally
        Its state.
    seen
        Incident attribute sets sent before: they are sent as zero once they are over.
    min_group
        Groups with fewer labels are left out.
    """
    base = identity(key)
    out = list(_calls(base, tally))
    out += _learning(base, engine)
    if engine.state is not None:
        out += _features(base, engine.state, engine.state.reference)
        out += _drift(base, engine.state, engine.state.reference)
        out += _evidence(base, engine, engine.state)
        out += _incidents(base, engine.state, seen)
        out += label_samples(base, engine.state, min_group)
    return out


def _calls(base: Attributes, tally: Tally) -> Iterator[Sample]:
    yield Sample(m.ML_PREDICTIONS, base, tally.predictions)
    for name, count in tally.errors.items():
        yield Sample(m.ML_PREDICTIONS, {**base, a.ERROR_TYPE: name}, count)
    for metric, histogram in (
        (m.ML_INFERENCE_DURATION, tally.durations),
        (m.ML_INFERENCE_BATCH_SIZE, tally.sizes),
        (m.ML_PREDICTION_SCORE, tally.scores),
        (m.ML_PREDICTION_CONFIDENCE, tally.confidences),
    ):
        if histogram.counts.any():
            yield Sample(metric, base, histogram.buckets())


def _learning(base: Attributes, engine: Engine) -> Iterator[Sample]:
    learner = engine.learner
    state = a.MlReferenceState.LEARNING if learner is not None else a.MlReferenceState.FROZEN
    value = 1.0 if learner is None else learner.progress
    yield Sample(m.ML_REFERENCE_LEARNING_RATIO, {**base, a.ML_REFERENCE_STATE: state}, value)
    if learner is None and engine.reference is not None and engine.reference.source == "traffic":
        # the series of the learning time ends at one instead of staying where it was
        learned = {**base, a.ML_REFERENCE_STATE: a.MlReferenceState.LEARNING}
        yield Sample(m.ML_REFERENCE_LEARNING_RATIO, learned, 1.0)
    if learner is not None:
        for monitor in _MONITORS:
            yield _status(base, monitor, a.MlMonitorState.LEARNING, 1)


def _features(base: Attributes, state: State, reference: Reference) -> Iterator[Sample]:
    for cells in reference.layout.sources:
        counts = state.total.of(cells.name)
        expected = reference.profile.of(cells.name)
        if cells.name == PREDICTION:
            if isinstance(cells, CategoryCells):
                for label, count in zip(cells.labels, counts.tolist(), strict=True):
                    if count or label in cells.categories:
                        yield Sample(
                            m.ML_PREDICTION_CLASSES, {**base, a.ML_PREDICTION_CLASS: label}, count
                        )
            continue
        if cells.name == SCORE:
            continue
        known = {**base, a.ML_FEATURE_NAME: cells.name, a.ML_REFERENCE_ID: reference.id}
        shown = range(cells.size)
        if isinstance(cells, NumericCells):
            yield Sample(m.ML_FEATURE_VALUE, known, _buckets(cells, counts))
            yield Sample(m.ML_REFERENCE_VALUE, known, _buckets(cells, expected))
            shown = range(cells.valid, cells.size)
            for label, i in (("below_range", 0), ("above_range", cells.valid - 1)):
                named = {**known, a.ML_FEATURE_CELL: label}
                yield Sample(m.ML_FEATURE_CELLS, named, int(counts[i]))
                yield Sample(m.ML_REFERENCE_CELLS, named, int(expected[i]))
        for i in shown:
            label = cells.labels[i]
            if i < cells.valid - 1 or counts[i] or expected[i] or label == MISSING:
                named = {**known, a.ML_FEATURE_CELL: label}
                yield Sample(m.ML_FEATURE_CELLS, named, int(counts[i]))
                yield Sample(m.ML_REFERENCE_CELLS, named, int(expected[i]))


def _buckets(cells: NumericCells, counts: IntArray) -> Buckets:
    return Buckets(cells.bounds, tuple(counts[: cells.valid].tolist()))


def _drift(base: Attributes, state: State, reference: Reference) -> Iterator[Sample]:
    recent: Profile = state.windows.recent(_DRIFT_ROWS)
    for cells in reference.layout.sources:
        where = asked(cells, reference.profile.of(cells.name))
        p = reference.profile.of(cells.name)[where].astype(np.float64)
        q = recent.of(cells.name)[where].astype(np.float64)
        if p.sum() == 0 or q.sum() < _MIN_DRIFT_ROWS:
            continue
        values: dict[str, FloatArray] = {
            a.MlStatistic.PSI: psi(p, q),
            a.MlStatistic.JENSEN_SHANNON: jensen_shannon(p, q),
            a.MlStatistic.HELLINGER: hellinger(p, q),
            a.MlStatistic.TOTAL_VARIATION: total_variation(p, q),
            a.MlStatistic.CHI_SQUARE: chi_square(p, q).statistic,
        }
        if isinstance(cells, NumericCells):
            values[a.MlStatistic.KS] = ks_binned(p, q)
            inner = np.array(cells.bounds)
            middles = np.concatenate([inner[:1], (inner[1:] + inner[:-1]) / 2, inner[-1:]])
            values[a.MlStatistic.WASSERSTEIN] = wasserstein_binned(p, q, middles)
        for statistic, value in values.items():
            if np.isfinite(value):
                yield Sample(
                    m.ML_DRIFT_SCORE,
                    {**base, a.ML_FEATURE_NAME: cells.name, a.ML_STATISTIC: statistic},
                    float(value),
                )


def _evidence(base: Attributes, engine: Engine, state: State) -> Iterator[Sample]:
    detector = state.detector
    weighted = (detector.evidence() + detector.log_weights) / _LN10
    strongest: dict[tuple[str, str], float] = {}
    for stream, value in zip(detector.streams, weighted.tolist(), strict=True):
        name = (stream.monitor, stream.target)
        strongest[name] = max(strongest.get(name, _FLOOR), value)
    for (monitor, target), value in strongest.items():
        yield Sample(
            m.ML_MONITOR_EVIDENCE,
            {**base, a.ML_MONITOR_NAME: monitor, a.ML_MONITOR_TARGET: target},
            float(value),
        )
    yield Sample(m.ML_MODEL_EVIDENCE, base, float(max(engine.evidence_log10, _FLOOR)))
    yield Sample(m.ML_MODEL_EVIDENCE_THRESHOLD, base, engine.threshold_log10)
    watched = {stream.monitor for stream in detector.streams}
    alarmed = {member.monitor for i in engine.incidents for member in i.members}
    for monitor in _MONITORS:
        now = a.MlMonitorState.OK
        if monitor in alarmed:
            now = a.MlMonitorState.ALARM
        elif monitor not in watched:
            now = a.MlMonitorState.INSUFFICIENT_DATA
        for each in (
            a.MlMonitorState.OK,
            a.MlMonitorState.ALARM,
            a.MlMonitorState.LEARNING,
            a.MlMonitorState.INSUFFICIENT_DATA,
        ):
            yield _status(base, monitor, each, int(each == now))


def _status(base: Attributes, monitor: str, state: str, value: int) -> Sample:
    named = {**base, a.ML_MONITOR_NAME: monitor, a.ML_MONITOR_STATE: state}
    return Sample(m.ML_MONITOR_STATUS, named, value)


def _incidents(base: Attributes, state: State, seen: set[tuple[Any, ...]]) -> Iterator[Sample]:
    def named(key: tuple[str, str, str, bool]) -> dict[str, AttributeValue]:
        cause, target, severity, paged = key
        return {
            **base,
            a.ML_INCIDENT_CAUSE: cause,
            a.ML_INCIDENT_TARGET: target,
            a.ML_INCIDENT_SEVERITY: severity,
            a.ML_INCIDENT_PAGED: paged,
        }

    active = Counter((i.cause, i.culprit.target, i.severity, i.paged) for i in state.incidents.open)
    seen.update(active)
    for key in seen:
        yield Sample(m.ML_INCIDENT_ACTIVE, named(key), active[key])
    for total_key, count in state.incidents.opened_total.items():
        yield Sample(m.ML_INCIDENTS, named(total_key), count)


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
    yield Sample(m.ML_MONITORING_QUEUE_SIZE, {}, health.queued)
    yield Sample(m.ML_MONITORING_QUEUE_CAPACITY, {}, health.capacity)
    yield Sample(m.ML_MONITORING_EVALUATION_DURATION, {}, health.evaluations())
    for (outcome, signal), count in health.exports.items():
        named = {a.ML_EXPORT_OUTCOME: outcome, a.ML_EXPORT_SIGNAL: signal}
        yield Sample(m.ML_MONITORING_EXPORTS, named, count)
    yield Sample(m.ML_MONITORING_WORKER_RESTARTS, {}, health.restarts)
    if health.last_success_ns:
        age = max(now_ns - health.last_success_ns, 0) / 1e9
        yield Sample(m.ML_MONITORING_EXPORT_AGE, {}, age)


def incident_event(key: ModelKey, change: Change) -> Event:
    """Return the event of a step in the life of an incident."""
    incident = change.incident
    cause = incident.causes[0] if incident.causes else None
    lower, upper = incident.change_row_interval
    named: dict[str, Any] = {
        **identity(key),
        a.ML_INCIDENT_ID: incident.id,
        a.ML_INCIDENT_STATE: change.state,
        a.ML_INCIDENT_SEVERITY: incident.severity,
        a.ML_INCIDENT_PAGED: incident.paged,
        a.ML_INCIDENT_CAUSE: incident.cause,
        a.ML_INCIDENT_MONITOR: incident.culprit.monitor,
        a.ML_INCIDENT_TARGET: incident.culprit.target,
        a.ML_INCIDENT_MEMBERS: [f"{i.monitor}:{i.target}" for i in incident.members],
        a.ML_INCIDENT_EVIDENCE: float(incident.evidence_log10),
        a.ML_INCIDENT_OPENED_ROW: incident.opened_row,
        a.ML_INCIDENT_CHANGE_ROW: incident.change_row,
        a.ML_INCIDENT_CHANGE_ROW_LOWER: lower,
        a.ML_INCIDENT_CHANGE_ROW_UPPER: upper,
        a.ML_INCIDENT_EFFECT: incident.culprit.text,
        a.ML_INCIDENT_HARM: incident.harm.text,
        a.ML_INCIDENT_CAUSES: [f"{c.id}:{c.score:.2f}" for c in incident.causes],
    }
    if cause is not None:
        named |= {
            a.ML_INCIDENT_NEXT_STEP: cause.next_step,
            a.ML_INCIDENT_RUNBOOK: cause.runbook,
            a.ML_INCIDENT_EVIDENCE_FOR: list(cause.supporting),
            a.ML_INCIDENT_EVIDENCE_AGAINST: list(cause.contradicting),
        }
    severity = "info" if change.state == "closed" else incident.severity
    body = f"Incident {change.state}: {cause.title if cause else 'unknown cause'}. "
    return Event(
        e.ML_INCIDENT, named, int(change.at * 1e9), severity, body + incident.culprit.text + "."
    )


def reference_event(key: ModelKey, engine: Engine, now_ns: int) -> Event:
    """Return the event that says what a model is compared with from now on."""
    reference = engine.reference
    named: dict[str, Any] = {**identity(key), a.ML_REFERENCE_STATE: a.MlReferenceState.LEARNING}
    if reference is not None:
        named[a.ML_REFERENCE_STATE] = a.MlReferenceState.FROZEN
        named[a.ML_REFERENCE_ID] = reference.id
        body = f"Traffic of {key.name} is compared with reference {reference.id}."
    else:
        body = f"The first traffic of {key.name} becomes its reference."
    return Event(e.ML_REFERENCE, named, now_ns, "info", body)
