"""Labels that stop meaning what they did are found; scores that only move are not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2

from otel_ml.monitors.calibration import calibration, calibration_bets
from otel_ml.monitors.detector import Detector
from otel_ml.monitors.performance import label_sources, performance
from otel_ml.profile import Reference
from otel_ml.profile.outcomes import GroupLayout
from otel_ml.profile.tables import LabelledRows, LabelTable, label_tables
from otel_ml.types import FloatArray, IntArray, Stream, Task

_BUDGET_ROWS = 10_000
_STEP = 50
_LAYOUT = GroupLayout(("0", "1"), ())


def _sigmoid(logit: FloatArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-logit)))


def _rows(
    score: FloatArray, actual: IntArray | None = None, truth: FloatArray | None = None
) -> LabelledRows:
    none = np.full(len(score), -1, dtype=np.int16)
    return LabelledRows(
        none,
        none if actual is None else actual.astype(np.int16),
        score,
        np.full(len(score), np.nan) if truth is None else truth,
        (),
    )


def _binary(
    rng: np.random.Generator,
    n: int,
    mean: float = 0.0,
    sd: float = 1.5,
    change: Callable[[FloatArray], FloatArray] = lambda rate: rate,
) -> LabelledRows:
    """Scores of a model that is not calibrated, which its reference knows."""
    logit = rng.normal(mean, sd, n)
    rate = change(_sigmoid(1.3 * logit - 0.3))
    return _rows(_sigmoid(logit), (rng.random(n) < rate).astype(np.int64))


def _regression(
    rng: np.random.Generator, n: int, bias: float = 0.0, scale: float = 1.0, wild: float = 0.0
) -> LabelledRows:
    predicted = rng.normal(10, 3, n)
    error = scale * rng.standard_t(5, n) + bias
    error = np.where(rng.random(n) < wild, 8 * error, error)
    return _rows(predicted, truth=predicted + error)


def _reference(task: Task, rows: LabelledRows) -> Reference:
    """A reference of which only the labels matter."""
    made = Reference.build({"x": np.arange(60.0)}, model_name="m")
    return replace(made, task=task, group_layout=_LAYOUT, tables=label_tables(task, _LAYOUT, rows))


def _alarms(reference: Reference, streams: list[Stream], rows: LabelledRows) -> list[int]:
    """Rows at which the streams cross the budget; each time they are re-armed."""
    at = {name: i for i, name in enumerate(label_sources(reference))}
    detector = Detector(streams, at, 24)
    n = len(rows.score)
    counts = np.zeros((n // _STEP, len(at), 24), dtype=np.int64)
    step = np.arange(n) // _STEP
    for table in reference.tables:
        codes = table.codes(rows)
        np.add.at(counts[:, at[f"{table.name}:overall"]], (step, codes), 1)
    out = []
    for i, counted in enumerate(counts):
        detector.update(counted, i * _STEP)
        if detector.total(detector.shares()) > math.log(_BUDGET_ROWS / _STEP):
            out.append((i + 1) * _STEP)
            detector.reset(range(len(streams)), i)
    return out


@pytest.mark.parametrize("rows", [300, 2000])
@pytest.mark.parametrize("prevalence", [0.5, 0.03])
def test_a_bet_on_calibration_gains_nothing_in_any_bin_under_the_null(
    rows: int, prevalence: float
) -> None:
    rng = np.random.default_rng(rows)
    held = rng.multinomial(rows, np.full(8, 1 / 8))
    rate = np.clip(prevalence * np.linspace(0.2, 1.8, 8), 0.001, 0.999)
    yes = rng.binomial(held, rate)
    counts = np.stack([held - yes, yes], axis=1)
    law, bets, weights = calibration_bets(counts, 0.02, 1.0)
    assert len(bets.scores) > 3
    assert weights.sum() == pytest.approx(1.0)
    pairs = law.reshape(-1, 2)
    null = pairs / pairs.sum(axis=1, keepdims=True)
    scores = bets.scores.reshape(len(bets.scores), -1, 2)
    ends = null * np.exp(bets.ends.reshape(scores.shape))
    np.testing.assert_allclose(ends.sum(axis=2), 1.0)
    # one at the end of the null and no more at the reference itself, bin by bin
    np.testing.assert_allclose((ends * np.exp(scores)).sum(axis=2), 1.0)
    assert ((null * np.exp(scores)).sum(axis=2) <= 1 + 1e-9).all()
    # the normaliser of the detector is therefore nothing, whatever the law of the scores
    stream = Stream(
        "calibration", "performance", "calibration", "c", "labels", law, *bets, weights,
        tuple(map(str, range(16))),
    )  # fmt: skip
    np.testing.assert_allclose(stream.logs, bets.scores, atol=1e-9)


@pytest.mark.parametrize("reference_rows", [500, 5000])
def test_scores_that_move_and_keep_their_meaning_are_no_evidence(reference_rows: int) -> None:
    found = rows = 0
    for seed in range(8):
        for mean, sd in ((0.0, 1.5), (1.0, 1.5), (-1.0, 1.5), (0.0, 2.2), (2.0, 1.0)):
            rng = np.random.default_rng([seed, reference_rows])
            reference = _reference("binary", _binary(rng, reference_rows))
            traffic = _binary(rng, 10_000, mean, sd)
            found += len(_alarms(reference, list(calibration(reference, 0.02)), traffic))
            rows += len(traffic.score)
    assert rows == 400_000
    assert chi2.ppf(0.95, 2 * (found + 1)) / 2 <= rows / _BUDGET_ROWS


def test_unchanged_errors_of_a_regression_are_no_evidence() -> None:
    found = rows = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        reference = _reference("regression", _regression(rng, 600 if seed % 2 else 5000))
        streams = [*performance(reference, 0.02), *calibration(reference, 0.02)]
        assert {s.key for s in streams} == {"performance:performance", "calibration:calibration"}
        found += len(_alarms(reference, streams, _regression(rng, 10_000)))
        rows += 10_000
    assert chi2.ppf(0.95, 2 * (found + 1)) / 2 <= rows / _BUDGET_ROWS


@pytest.mark.parametrize(
    ("change", "within"),
    [
        (lambda rate: rate + 0.2 * (1 - 2 * rate), 1500),
        (lambda rate: 1 - rate, 100),
        (lambda rate: _sigmoid(np.log(rate / (1 - rate)) + 1), 1200),
        (lambda rate: _sigmoid(0.4 * np.log(rate / (1 - rate))), 1200),
        (lambda rate: np.where(rate > 0.7, rate - 0.3, rate), 1500),
    ],
    ids=["one in five labels flipped", "reversed", "more positives", "flatter", "high scores only"],
)
def test_a_score_that_lost_its_meaning_is_found(
    change: Callable[[FloatArray], FloatArray], within: int
) -> None:
    for seed in range(5):
        rng = np.random.default_rng([seed, 3])
        reference = _reference("binary", _binary(rng, 5000))
        traffic = _binary(rng, within, change=change)
        assert _alarms(reference, list(calibration(reference, 0.02)), traffic)


@pytest.mark.parametrize(
    ("change", "monitor"),
    [
        ({"scale": 1.5}, "performance"),
        ({"wild": 0.15}, "performance"),
        ({"bias": 1}, "calibration"),
    ],
    ids=["errors half as large again", "some predictions far off", "predictions too low"],
)
def test_a_regression_that_got_worse_is_found(change: dict[str, float], monitor: str) -> None:
    for seed in range(5):
        rng = np.random.default_rng([seed, 4])
        reference = _reference("regression", _regression(rng, 3000))
        streams = [*performance(reference, 0.02), *calibration(reference, 0.02)]
        chosen = [s for s in streams if s.monitor == monitor]
        assert _alarms(reference, chosen, _regression(rng, 1000, **change))


def test_a_regression_that_got_better_is_no_incident() -> None:
    rng = np.random.default_rng(5)
    reference = _reference("regression", _regression(rng, 3000))
    streams = list(performance(reference, 0.02))
    assert not _alarms(reference, streams, _regression(rng, 10_000, scale=0.5))


def test_small_groups_share_little_and_tiny_ones_are_not_asked() -> None:
    rng = np.random.default_rng(6)
    n = 8000
    score = rng.random(n)
    made = Reference.build(
        {"g": rng.choice(["a", "b", "c"], n, p=[0.6, 0.37, 0.03])},
        scores=score,
        labels=(rng.random(n) < score).astype(int),
        sensitive=["g"],
        model_name="m",
    )
    layout = made.label_layout
    codes = layout.groups[0].codes(rng.choice(["a", "b", "c"], n, p=[0.6, 0.37, 0.03]))
    rows = _rows(score, (rng.random(n) < score).astype(np.int64))._replace(groups=(codes,))
    reference = replace(made, tables=label_tables("binary", layout, rows))
    streams = {s.target: s for s in calibration(reference, 0.02)}
    assert set(streams) == {"calibration", "g=a", "g=b"}
    assert streams["g=a"].share + streams["g=b"].share == pytest.approx(0.5)
    assert {s.source for s in streams.values()} <= set(label_sources(reference))
    sizes = label_sources(reference)
    assert all(len(s.law) == sizes[s.source] for s in performance(reference, 0.02))


def test_several_classes_are_judged_by_whether_the_top_one_is_right() -> None:
    layout = GroupLayout(("a", "b", "c"), ())
    rows = LabelledRows(
        np.array([0, 1, 2, 2, -1], dtype=np.int16),
        np.array([0, 2, 2, -1, 1], dtype=np.int16),
        np.array([0.9, 0.4, 0.8, 0.8, 0.8]),
        np.full(5, np.nan),
        (),
    )
    table = LabelTable("calibration", "multiclass", (0.5,), np.zeros((1, 4), dtype=np.int64))
    assert table.codes(rows).tolist() == [3, 0, 3, -1, -1]
    assert table.count(layout, rows).tolist() == [[1, 0, 0, 2]]
    assert table.labels == (
        "score <= 0.5: wrong", "score <= 0.5: right", "score > 0.5: wrong", "score > 0.5: right",
    )  # fmt: skip


@pytest.mark.parametrize(
    "score",
    [np.zeros(500), np.tile([0.0, 1.0], 250), np.full(500, np.nan), np.linspace(-5, 900, 500)],
    ids=["constant", "hard", "missing", "no probabilities"],
)
def test_any_score_makes_a_table_or_none(score: FloatArray) -> None:
    actual = (np.arange(500) % 3 == 0).astype(np.int64)
    tables = label_tables("binary", _LAYOUT, _rows(score, actual))
    assert len(tables) == (0 if np.isnan(score).all() else 1)
    for table in tables:
        assert table.counts.sum() == 500
        assert len(table.labels) == table.size <= 24
        # every bin between two bounds has reference rows
        assert (table.counts.reshape(-1, 2).sum(axis=1) > 0).all()
        again = LabelTable.from_json(json.loads(json.dumps(table.to_json())))
        assert (again.bounds, again.counts.tolist()) == (table.bounds, table.counts.tolist())
        with pytest.raises(ValueError, match="cells"):
            LabelTable.from_json({**table.to_json(), "counts": [[1, 2, 3]]})
