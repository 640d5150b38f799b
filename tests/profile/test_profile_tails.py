"""What the order of the reference shows beyond its variance: bursts, but not chance or the hour."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from otel_ml.profile import CategoryCells, Layout, NumericCells
from otel_ml.profile.season import Season
from otel_ml.profile.tails import tail_designs
from otel_ml.types import FloatArray

_N = 6000
_NAMES = ("a", "b", "c")
_SHARES = (0.6, 0.3, 0.1)
_ONE: FloatArray = np.ones(2)  # independent rows


def _layout(rng: np.random.Generator) -> Layout:
    return Layout((NumericCells.build("x", rng.normal(size=4000)), CategoryCells("city", _NAMES)))


def _codes(layout: Layout, x: FloatArray, city: NDArray[Any]) -> NDArray[np.int16]:
    columns = [x, np.asarray(city, dtype=object)]
    found = [c.codes(v)[0] for c, v in zip(layout.sources, columns, strict=True)]
    return np.column_stack(found).astype(np.int16)


def _independent(rng: np.random.Generator, n: int = _N) -> tuple[FloatArray, NDArray[Any]]:
    return rng.normal(size=n), rng.choice(_NAMES, n, p=_SHARES)


def test_independent_rows_are_hardly_ever_damped() -> None:
    """At most one model in ten, at 99.9 % confidence of the simulation."""
    runs, damped = 120, 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        layout = _layout(rng)
        found = tail_designs(layout, _codes(layout, *_independent(rng)), Season(), None, _ONE)
        assert found.max() < 3.5  # and then by little more than the margin
        damped += bool((found > 1).any())
    assert damped <= binom.ppf(0.999, runs, 0.1)


@pytest.mark.parametrize("source", [0, 1])
def test_bursts_of_one_kind_are_damped(source: int) -> None:
    """Two bursts of 150 rows: their share of the variance is small, their evidence is not."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        layout = _layout(rng)
        x, city = _independent(rng)
        codes = _codes(layout, x, city)
        for at in (1000, 4200):
            burst = np.full(150, 2.5) if source == 0 else x[:150]
            kind = np.full(150, "c") if source == 1 else rng.choice(_NAMES, 150, p=_SHARES)
            codes[at : at + 150] = _codes(layout, burst, kind)
        found = tail_designs(layout, codes, Season(), None, _ONE)
        assert found[source] > 5
        assert found[1 - source] < 2.5
        # damped by it, no burst passes for a change: the log likelihood ratio of 150 rows of kind c
        if source == 1:
            assert 150 * np.log(1 / 0.145) / found[1] < np.log(_N) + 2


def test_sessions_that_the_design_effect_explains_are_not_damped_again() -> None:
    """At most one model in ten, at 99.9 % confidence of the simulation."""
    runs, damped = 60, 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        layout = _layout(rng)
        session = np.repeat(np.arange(_N // 20), 20)
        shared = [v[session] for v in _independent(rng)]
        repeats = rng.random((2, _N)) < 0.4
        x, city = (
            np.where(r, s, own)
            for r, s, own in zip(repeats, shared, _independent(rng), strict=True)
        )
        design = np.full(2, 1 + 0.16 * 19)
        found = tail_designs(layout, _codes(layout, x, city), Season(), None, design)
        assert (found >= design).all()
        damped += bool((found > design).any())
    assert damped <= binom.ppf(0.999, runs, 0.1)


def test_the_same_rows_in_shuffled_order_are_not() -> None:
    damped = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        layout = _layout(rng)
        codes = _codes(layout, *_independent(rng))
        codes[1000:1150] = codes[1000]
        order = rng.permutation(_N)
        damped += bool((tail_designs(layout, codes[order], Season(), None, _ONE) > 1).any())
    assert damped <= binom.ppf(0.999, 20, 0.1)


def test_what_the_season_explains_is_no_burst() -> None:
    rng = np.random.default_rng(1)
    layout = _layout(rng)
    times: FloatArray = np.arange(_N, dtype=np.float64) * (10 * 86_400 / _N)  # ten days
    hour = (times // 3600 % 24).astype(int)
    night = hour < 6
    city = np.where(night, "c", rng.choice(_NAMES, _N, p=(0.6, 0.35, 0.05)))
    x = rng.normal(size=_N) + 1.5 * night
    codes = _codes(layout, x, city)
    season = Season.build(layout, codes, times)
    assert season.claimed == {"x", "city"}
    unknown = tail_designs(layout, codes, Season(), None, _ONE)
    known = tail_designs(layout, codes, season, times, _ONE)
    assert unknown.min() > 5
    assert known.max() < 2.5
    # a burst by day, on top of it, still counts
    codes[3300:3450] = _codes(layout, np.full(150, 3.0), np.full(150, "b"))
    assert tail_designs(layout, codes, season, times, _ONE).min() > 3


def test_little_data_says_nothing() -> None:
    rng = np.random.default_rng(0)
    layout = _layout(rng)
    codes = np.zeros((999, 2), dtype=np.int16)
    codes[500:] = 1
    np.testing.assert_array_equal(tail_designs(layout, codes, Season(), None, _ONE), 1.0)
    # rows that say nothing about a source are not rows of it
    many = _codes(layout, *_independent(rng))
    many[900:, 1] = -1
    many[:450, 1], many[450:900, 1] = 0, 1
    found = tail_designs(layout, many, Season(), None, _ONE)
    assert found[1] == 1.0
    np.testing.assert_array_equal(
        tail_designs(
            layout,
            np.full((2000, 2), 3, dtype=np.int16),
            Season(),
            None,
            _ONE,
        ),
        1.0,
    )
