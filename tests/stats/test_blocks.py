"""Block variances: golden quantiles, no excess under independence, the truth under dependence."""

from __future__ import annotations

import numpy as np
import pytest

from otel_ml.stats.blocks import chi2_ratio, compare_blocks, spike, trimmed_mean_ratio
from otel_ml.types import FloatArray

# scipy.stats.chi2.ppf(p, dof) / dof
_QUANTILES = [
    (1.2815515655446004, 5, 1.8472713799562246),
    (3.090232306167813, 20, 2.265737330906293),
    (-2.3263478740408408, 50, 0.5941336539768257),
]


@pytest.mark.parametrize(("deviate", "dof", "expected"), _QUANTILES)
def test_quantiles_of_chi_square(deviate: float, dof: float, expected: float) -> None:
    assert float(chi2_ratio(deviate, dof)) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("dof", [1.0, 4.0, 30.0])
def test_what_trimming_leaves_is_what_simulation_gives(dof: float) -> None:
    rng = np.random.default_rng(1)
    drawn = np.sort(rng.chisquare(dof, size=(20_000, 16)) / dof, axis=1)
    assert float(trimmed_mean_ratio(dof, 16, 2)) == pytest.approx(drawn[:, :14].mean(), abs=0.02)
    assert float(trimmed_mean_ratio(dof, 16, 0)) == 1.0


def _scaled(variance: float, m: int, seed: int) -> FloatArray:
    values = np.random.default_rng(seed).normal(size=(m, 8))
    values[:, 0] *= np.sqrt(variance)
    return values


def test_the_worst_direction_of_noise_is_1() -> None:
    # 5 standard units of the largest eigenvalue are passed about once in 1e5 times
    found = [spike(_scaled(1.0, m, seed)) for m in (16, 50, 400) for seed in range(150)]
    assert sum(value > 1 for value in found) <= 2


@pytest.mark.parametrize("variance", [8.0, 30.0])
def test_the_worst_direction_is_found(variance: float) -> None:
    found = [spike(_scaled(variance, 200, seed)) for seed in range(40)]
    assert np.mean(found) == pytest.approx(variance, rel=0.1)


def test_one_factor_in_all_directions_is_no_worst_direction() -> None:
    found = [spike(5 * _scaled(1.0, 40, seed)) for seed in range(100)]
    assert sum(value > 1 for value in found) <= 1


def _mean_excess(rows: np.ndarray[tuple[int, int], np.dtype[np.int16]]) -> FloatArray:
    scores = np.tile(np.array([-1.0, 0.0, 1.0, 0.0]), (rows.shape[1], 1))
    before = np.zeros_like(scores)
    total = np.zeros((2, 3, 2, rows.shape[1]))
    for start in range(0, len(rows), 64):
        compared, before = compare_blocks(rows[start : start + 64], before, scores, [16, 32])
        total += compared
    return np.asarray(total[0] / total[1])


def test_independent_rows_have_no_excess() -> None:
    rng = np.random.default_rng(2)
    rows = rng.choice(4, p=[0.2, 0.5, 0.2, 0.1], size=(64 * 200, 4)).astype(np.int16)
    # at least 200 differences each of 1 degree of freedom: standard error 0.12 at most
    assert np.abs(_mean_excess(rows)).max() < 0.5
    assert np.abs(_mean_excess(rows).mean()) < 0.06


def test_runs_of_equal_rows_have_the_excess_of_their_length() -> None:
    rng = np.random.default_rng(3)
    rows = np.repeat(rng.choice(3, size=(64 * 100, 4)), 4, axis=0).astype(np.int16)
    # runs of 4 fit the blocks: each block has a quarter of independent rows
    assert np.abs(1 + _mean_excess(rows) - 4).mean() < 0.4


def test_blocks_with_rows_that_say_nothing_are_not_compared() -> None:
    rows = np.random.default_rng(4).choice(3, size=(64, 2)).astype(np.int16)
    rows[3, 0] = -1
    scores = np.zeros((2, 3))
    compared, counts = compare_blocks(rows, np.zeros((2, 3)), scores, [32])
    assert compared[1, 0, 0, 0] == 0
    assert compared[1, 0, 0, 1] > 0
    assert counts.sum(axis=1).tolist() == [63, 64]
