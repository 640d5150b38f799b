from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml.stats.special import chi2_sf, log_beta, log_gamma, normal_quantile, xlogy


@pytest.mark.parametrize("dof", [1, 2, 3, 5, 9, 10, 50, 101, 1000, 10_000])
def test_chi_square_tail_against_scipy(dof: int) -> None:
    spread = np.sqrt(2 * dof)
    x = np.unique(
        np.abs(np.r_[np.linspace(0, dof + 30 * spread, 400), dof + 2, dof + 1.999, 1e-12])
    )
    expected = scipy.stats.chi2.sf(x, dof)
    found = chi2_sf(x, dof)
    sensible = expected > np.finfo(float).tiny
    assert sensible.sum() > 50
    np.testing.assert_allclose(found[sensible], expected[sensible], rtol=1e-9)
    assert np.all(found[~sensible] < 1e-300)
    assert np.all((found >= 0) & (found <= 1))


@settings(max_examples=200)
@given(st.floats(1e-6, 1400), st.floats(0.1, 300))
def test_any_argument_against_scipy(x: float, dof: float) -> None:
    expected = float(scipy.stats.chi2.sf(x, dof))
    assert float(chi2_sf(x, dof)) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_the_corners() -> None:
    np.testing.assert_array_equal(
        chi2_sf([0, np.inf, np.nan, 1, 0, 3, -1], [3, 3, 3, np.nan, 0, 0, 3]),
        [1, 0, np.nan, np.nan, 1, 0, np.nan],
    )
    assert chi2_sf(np.ones((2, 1)), np.ones(3)).shape == (2, 3)
    assert chi2_sf(1.0, 1.0).shape == ()
    assert chi2_sf([], 1).shape == (0,)


def test_gamma_and_beta_against_scipy() -> None:
    x = np.geomspace(1e-3, 1e8, 60)
    np.testing.assert_allclose(log_gamma(x), scipy.special.gammaln(x), rtol=1e-13, atol=1e-13)
    a, b = np.meshgrid(np.geomspace(0.5, 1e4, 12), np.geomspace(0.5, 1e4, 12))
    np.testing.assert_allclose(log_beta(a, b), scipy.special.betaln(a, b), rtol=1e-9)


def test_xlogy_against_scipy() -> None:
    x = np.array([0, 0, 1, 2, 0.5])
    y = np.array([0, 3, 0, 3, 1e-300])
    np.testing.assert_allclose(xlogy(x, y), scipy.special.xlogy(x, y))


def test_normal_quantile_against_scipy() -> None:
    for p in (1e-9, 0.025, 0.5, 0.975, 1 - 1e-9):
        assert normal_quantile(p) == pytest.approx(float(scipy.stats.norm.ppf(p)), rel=1e-9)
