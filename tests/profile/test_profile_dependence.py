"""Design effects: 1 for independent rows, near the truth for sessions, unmoved by one change."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from otel_ml.profile.cells import CategoryCells, NumericCells
from otel_ml.profile.dependence import design_effects
from otel_ml.profile.live_dependence import LiveDependence
from otel_ml.profile.profile import Layout
from otel_ml.profile.season import Season, slots
from otel_ml.types import FloatArray

_START = 1_700_000_000.0
_BOUNDS = tuple(np.linspace(-2.4, 2.4, 11).tolist())
_CUTS = np.array([-0.6, 0.2, 0.9, 1.7])
_TRUTH = 33.9  # E L² / E L for sessions of L = 5 … 50 equal rows


def _layout(sources: int) -> Layout:
    return Layout(
        tuple(
            CategoryCells(f"c{i}", ("a", "b", "c", "d"))
            if i % 2
            else NumericCells(f"x{i}", _BOUNDS)
            for i in range(sources)
        )
    )


def _codes(values: FloatArray) -> NDArray[np.int16]:
    codes = np.searchsorted(np.array(_BOUNDS), values)
    codes[:, 1::2] = np.searchsorted(_CUTS, values[:, 1::2])
    return codes.astype(np.int16)


def _sessions(
    rng: np.random.Generator, n: int, sources: int, repeated: float | FloatArray = 1.0
) -> FloatArray:
    lengths = rng.integers(5, 51, size=n // 5 + 1)
    session = np.repeat(np.arange(len(lengths)), lengths)[:n]
    shared = rng.normal(size=(len(lengths), sources))[session]
    return np.where(rng.random((n, sources)) < repeated, shared, rng.normal(size=(n, sources)))


def _law(layout: Layout, codes: NDArray[np.int16]) -> FloatArray:
    law = np.zeros((len(layout.sources), layout.width))
    for i in range(len(law)):
        law[i] = np.bincount(codes[:, i], minlength=layout.width) / len(codes)
    return law


@pytest.mark.parametrize(("rows", "sources"), [(1_000, 40), (10_000, 5), (10_000, 30), (50_000, 6)])
def test_independent_rows_count_as_one_each(rows: int, sources: int) -> None:
    layout = _layout(sources)
    found = [
        design_effects(layout, _codes(np.random.default_rng(seed).normal(size=(rows, sources))))
        for seed in range(12)
    ]
    assert np.mean(found) < 1.03
    # 2 % of models show any source at all: more than 3 of 12 in one of 600,000 runs
    assert sum(effects.max() > 1.15 for effects in found) <= 3


@pytest.mark.parametrize("rows", [1_000, 5_000, 30_000])
def test_sessions_of_equal_rows_count_as_one_each(rows: int) -> None:
    layout = _layout(12)
    for seed in range(4):
        rng = np.random.default_rng([seed, rows])
        effects = design_effects(layout, _codes(_sessions(rng, rows, 12)))
        # more than the truth, less where only short blocks can be compared
        assert effects.min() > 0.9 * _TRUTH
        assert np.median(effects) < 2.6 * _TRUTH


def test_sessions_that_repeat_part_of_a_row() -> None:
    layout = _layout(12)
    truth = 1 + 0.36 * (_TRUTH - 1)  # both of a pair of rows are the session's in 36 %
    for seed in range(4):
        effects = design_effects(
            layout, _codes(_sessions(np.random.default_rng(seed), 20_000, 12, 0.6))
        )
        assert effects.min() > truth
        assert np.median(effects) < 2.6 * truth


def _interleaved(rng: np.random.Generator, n: int, sources: int) -> FloatArray:
    """Return rows of sessions of which eight run at a time."""
    order = np.argsort(np.arange(n) + rng.uniform(0, 8 * 27.0, n))
    return _sessions(rng, n, sources)[order]


@pytest.mark.parametrize("rows", [1_000, 2_000])
def test_sessions_longer_than_a_block_of_a_short_reference_are_extrapolated(rows: int) -> None:
    layout = _layout(60)
    for seed in range(4):
        rng = np.random.default_rng([seed, rows])
        effects = design_effects(layout, _codes(_interleaved(rng, rows, 60)))
        # the longest 16 blocks, of 50 or 100 rows, show a fifth or a third of it
        assert np.median(effects) > 0.6 * _TRUTH
        assert np.median(effects) < 2 * _TRUTH


def test_columns_that_do_not_repeat_are_left_near_one() -> None:
    layout = _layout(12)
    repeated = np.where(np.arange(12) < 8, 1.0, 0.0)
    effects = design_effects(
        layout, _codes(_sessions(np.random.default_rng(3), 20_000, 12, repeated))
    )
    assert effects[:8].min() > _TRUTH
    assert effects[8:].max() < 5


def test_a_source_too_sparse_to_tell_gets_the_effect_of_the_others() -> None:
    layout = Layout((*_layout(8).sources, CategoryCells("rare", ("a", "b"))))
    rng = np.random.default_rng(4)
    codes = _codes(_sessions(rng, 3_000, 9))
    codes[:, 8] = rng.random(3_000) < 0.004
    effects = design_effects(layout, codes)
    assert effects[8] >= np.median(effects)


def test_a_single_dependent_source_is_found_and_the_others_are_left() -> None:
    layout = _layout(10)
    rng = np.random.default_rng(5)
    values = rng.normal(size=(10_000, 10))
    values[:, 2] = _sessions(rng, 10_000, 1)[:, 0]
    effects = design_effects(layout, _codes(values))
    assert effects[2] > 0.8 * _TRUTH  # of a single one little is certain
    assert np.delete(effects, 2).max() < 1.5


def test_bursts_of_a_narrow_population_are_seen() -> None:
    layout = _layout(10)
    rng = np.random.default_rng(6)
    values = rng.normal(size=(30_000, 10))
    for start in range(700, 30_000, 2_000):
        rows = slice(start, start + int(rng.integers(100, 401)))
        values[rows] = 0.4 * values[rows] + rng.normal(size=10)
    assert np.median(design_effects(layout, _codes(values))) > 20


def test_slow_wander_is_seen() -> None:
    layout = _layout(6)
    rng = np.random.default_rng(7)
    level = np.repeat(rng.normal(size=(60, 6)), 500, axis=0)
    values = rng.normal(size=(30_000, 6)) + 0.3 * level
    # a block of 500 rows has variance 1 + 500 x 0.09; one of them shows in six sources
    assert np.median(design_effects(layout, _codes(values))) > 30


def test_missing_values_in_runs_are_dependence() -> None:
    layout = _layout(5)
    rng = np.random.default_rng(8)
    codes = _codes(rng.normal(size=(20_000, 5)))
    codes[np.repeat(rng.random(200) < 0.05, 100), 0] = layout.sources[0].size - 3
    effects = design_effects(layout, codes)
    assert effects[0] > 50
    assert effects[1:].max() < 1.5


def test_what_the_season_explains_is_no_dependence() -> None:
    layout = _layout(6)
    rng = np.random.default_rng(9)
    times = _START + np.sort(rng.random(30_000)) * 14 * 86_400
    slot = slots(times)
    shift = 0.5 * np.sin(2 * np.pi * (slot % 24) / 24) + 0.4 * (slot // 24 >= 5)
    codes = _codes(rng.normal(size=(30_000, 6)) + shift[:, None])
    season = Season.build(layout, codes, times)
    assert np.median(design_effects(layout, codes)) > 50
    assert np.median(design_effects(layout, codes, season, times)) < 3


def test_sessions_are_seen_beneath_a_season() -> None:
    layout = _layout(6)
    rng = np.random.default_rng(10)
    times = _START + np.sort(rng.random(40_000)) * 14 * 86_400
    shift = 0.8 * np.sin(2 * np.pi * (slots(times) % 24) / 24)
    codes = _codes(_sessions(rng, 40_000, 6, 0.6) + shift[:, None])
    season = Season.build(layout, codes, times)
    effects = design_effects(layout, codes, season, times)
    assert 12 < np.median(effects) < 60


def test_few_rows_and_silent_sources_count_as_one_each() -> None:
    layout = _layout(4)
    codes = _codes(np.random.default_rng(11).normal(size=(2_000, 4)))
    assert design_effects(layout, codes[:399]).tolist() == [1.0] * 4
    codes[:, 0] = -1
    codes[:, 1] = 2
    effects = design_effects(layout, codes)
    assert effects.shape == (4,)
    assert effects.max() < 1.2


def _live(layout: Layout) -> LiveDependence:
    rng = np.random.default_rng(100)
    return LiveDependence(layout, _law(layout, _codes(rng.normal(size=(20_000, 20)))))


_LAYOUT = _layout(20)


def test_live_independent_rows_count_as_one_each() -> None:
    found = []
    for seed in range(10):
        live = _live(_LAYOUT)
        codes = _codes(np.random.default_rng(seed).normal(size=(3_000, 20)))
        for start in range(0, 3_000, 50):
            live.add(codes[start : start + 50])
            found.append(live.effects())
    assert np.mean(found) < 1.03
    assert np.mean(np.array(found) > 2) < 0.01


@pytest.mark.parametrize(("repeated", "truth"), [(1.0, _TRUTH), (0.6, 1 + 0.36 * (_TRUTH - 1))])
def test_live_sessions_are_seen_soon_and_then_measured(repeated: float, truth: float) -> None:
    early, late = [], []
    for seed in range(12):
        live = _live(_LAYOUT)
        codes = _codes(_sessions(np.random.default_rng(seed), 3_000, 20, repeated))
        live.add(codes[:100])
        early.append(np.median(live.effects()))
        live.add(codes[100:])
        late.append(np.median(live.effects()))
    assert np.median(early) > truth / 3
    assert np.mean(late) == pytest.approx(truth, rel=0.2)


def _changed(change: str, rng: np.random.Generator) -> NDArray[np.int16]:
    values = rng.normal(size=(3_000, 20))
    if change == "step":
        values[900:] += 1.0
    elif change == "spread":
        values[900:] *= 2
    elif change == "unit":
        values[900:, ::2] *= 100
    codes = _codes(values)
    if change == "stuck":
        codes[900:, ::2] = codes[899, ::2]
    elif change == "frequent":
        rare = rng.random((3_000, 20)) < np.where(np.arange(3_000) < 900, 0.02, 0.5)[:, None]
        codes = rare.astype(np.int16)
    return codes


@pytest.mark.parametrize("change", ["step", "spread", "unit", "stuck", "frequent"])
def test_live_a_law_that_changes_once_is_no_dependence(change: str) -> None:
    worst = []
    for seed in range(6):
        live = _live(_LAYOUT)
        codes = _changed(change, np.random.default_rng(seed))
        live.add(codes[:800])
        for start in range(800, 3_000, 50):
            live.add(codes[start : start + 50])
            worst.append(live.effects())
    assert np.max(np.mean(worst, axis=1)) < 2
    assert np.mean(worst) < 1.1


def test_live_state_does_not_depend_on_the_batches_and_survives_json() -> None:
    codes = _codes(_sessions(np.random.default_rng(1), 1_500, 20, 0.8))
    codes[40:45, 3] = -1
    one, other = _live(_LAYOUT), _live(_LAYOUT)
    one.add(codes)
    rng = np.random.default_rng(2)
    start = 0
    while start < len(codes):
        stop = start + int(rng.integers(0, 200))
        other.add(codes[start:stop])
        restored = _live(_LAYOUT)
        restored.restore(json.loads(json.dumps(other.to_json(), allow_nan=False)))
        other, start = restored, stop
    assert one.to_json() == other.to_json()
    assert one.effects().tolist() == other.effects().tolist()
    assert len(json.dumps(one.to_json())) < 20 * 64_000


def test_live_looking_ahead_changes_nothing() -> None:
    codes = _codes(_sessions(np.random.default_rng(1), 3_000, 20, 0.8))
    codes[500:545, 3] = -1
    one, other = _live(_LAYOUT), _live(_LAYOUT)
    for start in range(0, 3_000, 50):
        if start % 600 == 0:
            coming = codes[start : start + 600]
            other.look_ahead(coming if start != 1200 else coming[::-1])  # else it comes otherwise
        one.add(codes[start : start + 50])
        other.add(codes[start : start + 50])
        np.testing.assert_array_equal(other.effects(), one.effects())
        assert other.to_json() == one.to_json()


def test_live_before_any_rows_says_one() -> None:
    assert _live(_LAYOUT).effects().tolist() == [1.0] * 20
