"""Repeated patterns: calibrated without one, seen with one, pooled as far as it predicts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from otel_ml.stats.repeats import f_deviate, ordered_scores, repeat_score, seasonal_law
from otel_ml.types import FloatArray

# scipy.stats.f.ppf(p, over, under) for the normal deviate of p
_F = [
    (1.2815515655446004, 3, 10, 2.7276731411650688),
    (2.3263478740408408, 12, 12, 4.155257790817787),
    (3.090232306167813, 60, 120, 1.9502054784640528),
]


@pytest.mark.parametrize(("deviate", "over", "under", "ratio"), _F)
def test_deviates_of_a_ratio_of_variances(
    deviate: float, over: float, under: float, ratio: float
) -> None:
    assert f_deviate(ratio, over, under) == pytest.approx(deviate, abs=0.05)


def test_scores_are_standardised_and_orthogonal() -> None:
    counts = np.array([10.0, 300.0, 5.0, 200.0, 80.0, 40.0, 7.0])
    scores = ordered_scores(counts, 5)
    law = counts[:5] / counts[:5].sum()
    assert np.allclose(law @ scores[:5], 0)
    assert np.allclose((scores[:5] * law[:, None]).T @ scores[:5], np.eye(2))
    assert not scores[5:].any()
    assert (np.diff(scores[:5, 0]) > 0).all()


@pytest.mark.fault("B14")
def test_a_constant_column_has_no_scores() -> None:
    assert not ordered_scores(np.array([0.0, 50.0, 0.0]), 3).any()
    assert not ordered_scores(np.zeros(3), 3).any()


def _draw(rng: np.random.Generator, replicates: int, phases: int, clump: int) -> FloatArray:
    """Rows of one law; `clump` rows at a time are equal."""
    law = np.array([0.4, 0.3, 0.2, 0.07, 0.03])
    rows = rng.poisson(20, size=(replicates, phases))
    return np.asarray(clump * rng.multinomial(rows, law), dtype=np.float64)


def _even(counts: FloatArray) -> FloatArray:
    law = counts.sum(axis=(0, 1)) / counts.sum()
    return np.asarray(counts.sum(axis=2, keepdims=True) * law)


@pytest.mark.parametrize(
    ("replicates", "phases", "smooth"),
    [(3, 24, True), (14, 24, True), (2, 7, False), (5, 7, False)],
)
@pytest.mark.parametrize("clump", [1, 12])
def test_without_a_pattern_the_score_is_about_a_standard_normal(
    replicates: int, phases: int, smooth: bool, clump: int
) -> None:
    rng = np.random.default_rng([replicates, phases, clump])
    found = []
    for _ in range(150):
        counts = _draw(rng, replicates, phases, clump)
        scores = ordered_scores(counts.sum(axis=(0, 1)), 4)
        found.append(repeat_score(counts, _even(counts), scores, smooth=smooth))
    # the largest of three deviates: 0.85 on average if they were independent
    assert -0.4 < np.mean(found) < 1.1
    # P(a maximum of three above 3.3) = 0.0015 a draw; of 150, more than three in 1e-5 of runs
    assert sum(value > 3.3 for value in found) <= 3
    assert max(found) < 5.6


def test_a_pattern_is_clear_when_it_repeats_and_not_when_it_moves() -> None:
    rng = np.random.default_rng(7)
    counts = _draw(rng, 7, 24, 1)
    extra = rng.poisson(20, size=(7, 6))
    still, moving = counts.copy(), counts.copy()
    still[:, :6, 0] += extra
    for i in range(7):
        moving[i, (np.arange(6) + 5 * i) % 24, 0] += extra[i]
    assert repeat_score(still, _even(still), None, smooth=True) > 8
    assert repeat_score(moving, _even(moving), None, smooth=True) < 5.6


def test_one_replicate_shows_no_repetition() -> None:
    counts = _draw(np.random.default_rng(1), 1, 24, 1)
    assert repeat_score(counts, _even(counts), None, smooth=True) == -math.inf


def test_half_a_replicate_does_not_hide_a_pattern() -> None:
    rng = np.random.default_rng(2)
    counts = sum((_draw(rng, 3, 7, 1) for _ in range(30)), np.zeros((3, 7, 5)))
    counts[:, 5:, 0] += rng.poisson(300, size=(3, 2))
    whole = repeat_score(counts, _even(counts), None, smooth=False)
    counts[2, 3:] = 0
    half = repeat_score(counts, _even(counts), None, smooth=False)
    two = repeat_score(counts[:2], _even(counts[:2]), None, smooth=False)
    assert whole > half > 5.6
    assert half == pytest.approx(two, rel=0.05)


def test_pooled_law_of_phases_is_between_own_and_overall_and_close_to_the_truth() -> None:
    rng = np.random.default_rng(3)
    hours = np.arange(24)
    first = 0.5 + 0.2 * np.sin(2 * np.pi * hours / 24)
    truth = np.column_stack([first, 0.9 - first, np.full(24, 0.1)])
    rows = rng.poisson(15, size=(7, 24))
    counts = rng.multinomial(rows, np.broadcast_to(truth, (7, 24, 3))).astype(np.float64)
    found = seasonal_law(counts, _even(counts), smooth=True)
    assert found is not None
    law = counts.sum(axis=(0, 1)) / counts.sum()
    pooled = law * np.exp(found)
    assert np.allclose(pooled.sum(axis=1), 1)
    own = counts.sum(axis=0) / counts.sum(axis=(0, 2))[:, None]
    assert np.abs(pooled - truth).mean() < 0.7 * np.abs(own - truth).mean()
    assert np.abs(pooled - truth).mean() < 0.3 * np.abs(law - truth).mean()


def test_no_law_of_phases_is_learned_that_predicts_nothing() -> None:
    rng = np.random.default_rng(4)
    found = []
    for _ in range(60):
        counts = _draw(rng, 7, 24, 5)
        learned = seasonal_law(counts, _even(counts), smooth=True)
        found.append(0.0 if learned is None else float(np.abs(learned).mean()))
    assert np.median(found) == 0.0
    assert max(found) < 0.15
