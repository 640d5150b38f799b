"""One session that repeats a rare value opens nothing; a defect of many sessions still does."""

from __future__ import annotations

import math

import numpy as np
import pytest

from otel_ml.monitors import Detector
from otel_ml.monitors.quality import data_quality
from otel_ml.profile import Reference
from otel_ml.types import FloatArray, Stream

_SHARED = 0.3  # of a session's rows repeat its value, column by column
_EVALUATIONS = 2000  # between false incidents: 100,000 rows


def _sessions(seed: int, n: int = 8000, columns: int = 6) -> dict[str, FloatArray]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 51, size=n // 5)
    session = np.repeat(np.arange(len(lengths)), lengths)[:n]
    values = rng.normal(size=(n, columns))
    shared = rng.normal(size=(len(lengths), columns))[session]
    values = np.where(rng.random(values.shape) < _SHARED, shared, values)
    values[rng.random(n) < 0.2, 0] = np.nan
    return {f"x{i}": values[:, i] for i in range(columns)}


def _reference(columns: dict[str, FloatArray], *, shuffled: bool = False) -> Reference:
    n = len(columns["x0"])
    order = np.random.default_rng(0).permutation(n) if shuffled else np.arange(n)
    return Reference.build({k: v[order] for k, v in columns.items()}, model_name="m")


def _evidence(reference: Reference, stream: Stream, hits: int, evaluations: int) -> float:
    """Return the evidence after so many evaluations of 50 rows with `hits` of the defect each."""
    index, width = reference.layout.index, reference.layout.width
    detector = Detector([stream], index, width)
    counts = np.zeros((len(reference.layout.sources), width), dtype=np.int64)
    assert stream.yes is not None
    usual = int(np.argmax(np.where(stream.yes, 0.0, stream.law)))
    source = index[stream.source]
    counts[source, int(np.flatnonzero(stream.yes)[-1])] = hits
    counts[source, usual] = 50 - hits
    for i in range(evaluations):
        detector.update(counts, 50 * i)
    return float(detector.evidence()[0])


@pytest.mark.parametrize("seed", range(4))
def test_a_session_that_repeats_a_rare_value_opens_nothing(seed: int) -> None:
    columns = _sessions(seed)
    reference = _reference(columns)
    assert 3 < np.median(list(reference.designs.values())) < 8
    longest = round(50 * _SHARED)
    for stream in data_quality(reference, 0.02):
        if stream.source == "x3" and stream.defect in {"out_of_range", "missing"}:
            assert _evidence(reference, stream, longest, 1) < math.log(_EVALUATIONS)
            # with nothing but the design effect it would
            assert stream.design > reference.design("x3") + 3
            # and one value in three, in one session after the other, is found
            assert _evidence(reference, stream, longest, 6) > math.log(_EVALUATIONS)


def test_common_defects_and_independent_rows_have_no_clusters() -> None:
    columns = _sessions(7)
    for stream in data_quality(_reference(columns), 0.02):
        if stream.source == "x0" and stream.defect == "missing":
            assert stream.design == _reference(columns).design("x0")
    shuffled = _reference(columns, shuffled=True)
    assert np.median(list(shuffled.designs.values())) == 1
    assert all(s.design == shuffled.design(s.source) for s in data_quality(shuffled, 0.02))
