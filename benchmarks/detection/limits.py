"""Counts in, exact 95 % limits of rates and shares out."""

from __future__ import annotations

from scipy import stats


def poisson(events: int, exposure: float) -> tuple[float, float]:
    """Return the exact 95 % interval of events per unit of exposure (Garwood 1936)."""
    low = 0.0 if events == 0 else float(stats.chi2.ppf(0.025, 2 * events)) / 2
    return low / exposure, float(stats.chi2.ppf(0.975, 2 * events + 2)) / 2 / exposure


def binomial(hits: int, trials: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a share (Clopper, Pearson 1934)."""
    low = 0.0 if hits == 0 else float(stats.beta.ppf(0.025, hits, trials - hits + 1))
    high = 1.0 if hits == trials else float(stats.beta.ppf(0.975, hits + 1, trials - hits))
    return low, high
