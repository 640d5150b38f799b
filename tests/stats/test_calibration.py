from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics as sk
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from otel_ml.errors import DataError
from otel_ml.stats.calibration import (
    ScoreCounts,
    auc,
    auc_binned,
    brier,
    brier_binned,
    calibration_error,
    log_loss,
    log_loss_binned,
    score_counts,
)

EDGES = np.linspace(0, 1, 11)[1:-1]

_score = st.floats(0, 1) | st.sampled_from([0.0, 0.5, 1.0])
_rows = st.lists(st.tuples(_score, st.booleans()), min_size=1, max_size=60)


def _split(rows: list[tuple[float, bool]]) -> tuple[Any, Any]:
    return np.array([s for s, _ in rows], float), np.array([y for _, y in rows], bool)


@settings(max_examples=150)
@given(_rows)
def test_raw_forms_against_sklearn(rows: list[tuple[float, bool]]) -> None:
    scores, labels = _split(rows)
    assert brier(scores, labels) == pytest.approx(sk.mean_squared_error(labels, scores), abs=1e-12)
    assert log_loss(scores, labels) == pytest.approx(
        float(sk.log_loss(labels, scores, labels=[False, True])), rel=1e-9
    )
    if 0 < labels.sum() < len(labels):
        assert auc(scores, labels) == pytest.approx(float(sk.roc_auc_score(labels, scores)))
        u = scipy.stats.mannwhitneyu(scores[labels], scores[~labels]).statistic
        assert auc(scores, labels) == pytest.approx(u / (labels.sum() * (~labels).sum()))
    else:
        assert math.isnan(auc(scores, labels))


@settings(max_examples=150)
@given(_rows)
def test_calibration_error_against_a_slow_reference(rows: list[tuple[float, bool]]) -> None:
    scores, labels = _split(rows)
    total = 0.0
    for low, high in zip([-1, *EDGES], [*EDGES, 1], strict=True):
        held = (scores > low) & (scores <= high)
        if held.any():
            gap = abs(labels[held].mean() - scores[held].mean())
            total += held.mean() * gap
    found = float(calibration_error(score_counts(scores, labels, EDGES)))
    assert found == pytest.approx(total, abs=1e-12)
    assert 0 <= found <= 1


@pytest.mark.fault("B16")
@settings(max_examples=150)
@given(_rows, st.randoms())
def test_counts_merge_and_do_not_depend_on_the_order(
    rows: list[tuple[float, bool]], random: Any
) -> None:
    whole = score_counts(*_split(rows), EDGES)
    shuffled = list(rows)
    random.shuffle(shuffled)
    half = len(rows) // 2
    first = score_counts(*_split(shuffled[:half]), EDGES)
    second = score_counts(*_split(shuffled[half:]), EDGES)
    merged = ScoreCounts(*(a + b for a, b in zip(first, second, strict=True)))
    np.testing.assert_array_equal(merged.totals, whole.totals)
    np.testing.assert_array_equal(merged.positives, whole.positives)
    np.testing.assert_allclose(merged.sums, whole.sums, rtol=1e-12)
    for measure in (calibration_error, brier_binned, log_loss_binned):
        assert float(measure(merged)) == pytest.approx(float(measure(whole)), rel=1e-6, abs=1e-12)


@settings(max_examples=150)
@given(_rows)
def test_binned_forms_are_as_near_as_they_say(rows: list[tuple[float, bool]]) -> None:
    scores, labels = _split(rows)
    counts = score_counts(scores, labels, EDGES)
    width = 0.1
    gap = abs(float(brier_binned(counts)) - brier(scores, labels))
    assert gap <= width / 2 + width**2 / 4 + 1e-12
    negatives = counts.totals - counts.positives
    assume(0 < labels.sum() < len(labels))
    tied = (counts.positives * negatives).sum() / (counts.positives.sum() * negatives.sum())
    gap = abs(float(auc_binned(counts.positives, negatives)) - auc(scores, labels))
    assert gap <= tied / 2 + 1e-12


@settings(max_examples=100)
@given(st.lists(st.tuples(st.sampled_from([0.05, 0.31, 0.5, 0.99]), st.booleans()), min_size=1))
def test_binned_forms_are_exact_when_every_bin_is_one_value(rows: list[tuple[float, bool]]) -> None:
    scores, labels = _split(rows)
    counts = score_counts(scores, labels, EDGES)
    assert float(brier_binned(counts)) == pytest.approx(brier(scores, labels), abs=1e-12)
    assert float(log_loss_binned(counts)) == pytest.approx(log_loss(scores, labels), rel=1e-9)
    np.testing.assert_allclose(
        auc_binned(counts.positives, counts.totals - counts.positives), auc(scores, labels)
    )


def test_calibration_when_nothing_is_wrong_is_as_the_notes_say() -> None:
    rng = np.random.default_rng(5)
    found = []
    for _ in range(300):
        scores = rng.uniform(0.49, 0.51, 1000)
        labels = rng.random(1000) < scores
        edges = np.linspace(0.49, 0.51, 11)[1:-1]
        found.append(float(calibration_error(score_counts(scores, labels, edges))))
    assert np.mean(found) == pytest.approx(0.04, rel=0.05)


def test_a_score_at_an_edge_belongs_below_it() -> None:
    assert score_counts([0.5], [1], [0.5]).totals.tolist() == [1, 0]
    assert score_counts([0.0, 1.0], [1, 0], [0.5]).totals.tolist() == [1, 1]


def test_streams_at_once_are_each_stream_alone() -> None:
    rng = np.random.default_rng(6)
    parts = [score_counts(s := rng.random(50), rng.random(50) < s, EDGES) for _ in range(3)]
    stacked = ScoreCounts(*(np.stack(arrays) for arrays in zip(*parts, strict=True)))
    for measure in (calibration_error, brier_binned, log_loss_binned):
        np.testing.assert_allclose(measure(stacked), [float(measure(part)) for part in parts])
    negatives = stacked.totals - stacked.positives
    np.testing.assert_allclose(
        auc_binned(stacked.positives, negatives),
        [float(auc_binned(p.positives, p.totals - p.positives)) for p in parts],
    )


@pytest.mark.fault("B14")
def test_no_rows_give_no_number() -> None:
    empty = score_counts([], [], EDGES)
    for measure in (calibration_error, brier_binned, log_loss_binned):
        assert math.isnan(float(measure(empty)))
    assert np.isnan(empty.means).all()
    for raw in (brier, log_loss, auc):
        assert math.isnan(raw([], []))
    assert math.isnan(float(auc_binned([0, 0], [1, 2])))
    assert math.isnan(float(auc_binned(np.empty(0), np.empty(0))))


@pytest.mark.fault("B12")
def test_certain_and_wrong_stays_finite() -> None:
    assert math.isfinite(log_loss([1.0, 0.0], [0, 1]))
    assert math.isfinite(float(log_loss_binned(score_counts([1.0, 0.0], [0, 1], EDGES))))


@pytest.mark.fault("B17")
def test_sums_over_many_rows_are_exact_enough() -> None:
    rng = np.random.default_rng(3)
    scores = rng.random(300_000, dtype=np.float32)
    labels = rng.random(300_000) < 0.3
    exact = math.fsum((float(s) - float(y)) ** 2 for s, y in zip(scores, labels, strict=True))
    assert brier(scores, labels) == pytest.approx(exact / len(scores), rel=1e-9)
    counts = score_counts(scores, labels, EDGES)
    assert counts.sums.sum() == pytest.approx(math.fsum(scores.tolist()), rel=1e-9)


@pytest.mark.fault("B12")
@pytest.mark.parametrize("measure", [brier, log_loss, auc, lambda s, y: score_counts(s, y, EDGES)])
def test_bad_rows_are_refused(measure: Any) -> None:
    for scores, labels, message in (
        ([0.1, 0.2], [1], "do not match"),
        ([[0.1]], [[1]], "do not match"),
        ([1.5], [1], "a score is not between 0 and 1"),
        ([math.nan], [1], "a score is not between 0 and 1"),
        ([0.5], [2], "a label is neither 0 nor 1"),
        ([0.5], [math.nan], "a label is neither 0 nor 1"),
    ):
        with pytest.raises(DataError, match=message):
            measure(scores, labels)


def test_bad_counts_are_refused() -> None:
    with pytest.raises(DataError, match="not of the same bins"):
        auc_binned([1, 2], [1])
    with pytest.raises(DataError, match="negative or not finite"):
        auc_binned([1, -2], [1, 1])
