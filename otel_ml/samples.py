"""The state of a model's engine in, samples under their registered names out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Final

import numpy as np

from otel_ml.engine import Engine
from otel_ml.monitors import asked
from otel_ml.profile import (
    PREDICTION,
    SCORE,
    CategoryCells,
    NumericCells,
    Profile,
    Reference,
    is_derived,
)
from otel_ml.profile.cells import MISSING
from otel_ml.samples_events import identity, incident_event, reference_event
from otel_ml.samples_health import Health, process_samples
from otel_ml.samples_labels import label_samples
from otel_ml.semconv import attributes as a
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
from otel_ml.turns import give_way
from otel_ml.types import AttributeValue, Buckets, FloatArray, IntArray, ModelKey, Sample

__all__ = ["Health", "incident_event", "model_samples", "process_samples", "reference_event"]

_LN10: Final = math.log(10)
_FLOOR: Final = -3.0  # evidence below one thousandth of a false incident says nothing
_DRIFT_ROWS: Final = 1000  # rows that the classical statistics are computed over
_MIN_DRIFT_ROWS: Final = 200
_MONITORS: Final = (
    a.MlMonitorName.INPUT_DRIFT,
    a.MlMonitorName.JOINT_DRIFT,
    a.MlMonitorName.DATA_QUALITY,
    a.MlMonitorName.SCHEMA,
    a.MlMonitorName.DUPLICATES,
    a.MlMonitorName.SCORE_DRIFT,
    a.MlMonitorName.PREDICTION_DRIFT,
    a.MlMonitorName.CALIBRATION,
    a.MlMonitorName.PERFORMANCE,
    a.MlMonitorName.CLIENT_DRIFT,
    a.MlMonitorName.VOLUME,
    a.MlMonitorName.LATENCY,
    a.MlMonitorName.ERRORS,
)
Attributes = Mapping[str, AttributeValue]


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
    parts = [_calls(base, tally), _learning(base, engine)]
    if engine.state is not None:
        parts += [
            _features(base, engine.state, engine.state.reference),
            _drift(base, engine.state, engine.state.reference),
            _evidence(base, engine, engine.state),
            label_samples(base, engine.state, min_group),
        ]
    parts.append(_incidents(base, engine.state, seen))
    out = []
    for sample in chain.from_iterable(parts):
        out.append(sample)
        give_way()
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
        if is_derived(cells.name):
            continue
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
        if is_derived(cells.name):
            continue
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


def _incidents(
    base: Attributes, state: State | None, seen: set[tuple[Any, ...]]
) -> Iterator[Sample]:
    def named(key: tuple[str, str, str, bool]) -> dict[str, AttributeValue]:
        cause, target, severity, paged = key
        return {
            **base,
            a.ML_INCIDENT_CAUSE: cause,
            a.ML_INCIDENT_TARGET: target,
            a.ML_INCIDENT_SEVERITY: severity,
            a.ML_INCIDENT_PAGED: paged,
        }

    # a new reference that is being learned ends what was open against the old one
    found = () if state is None else state.incidents.open
    active = Counter((i.cause, i.culprit.target, i.severity, i.paged) for i in found)
    seen.update(active)
    for key in seen:
        yield Sample(m.ML_INCIDENT_ACTIVE, named(key), active[key])
    totals = {} if state is None else state.incidents.opened_total
    for total_key, count in totals.items():
        yield Sample(m.ML_INCIDENTS, named(total_key), count)
