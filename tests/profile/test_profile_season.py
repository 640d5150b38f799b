"""Seasons: none is claimed of traffic that has none, a real one is, and its laws are close."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import numpy as np
import pytest
from numpy.typing import NDArray

from otel_ml.profile.cells import CategoryCells, NumericCells
from otel_ml.profile.profile import Layout
from otel_ml.profile.season import Season, slots
from otel_ml.types import FloatArray

_START = 1_700_000_000.0
_DAY = 86_400
_BOUNDS = tuple(np.linspace(-2.4, 2.4, 11).tolist())
_CUTS = np.array([-0.6, 0.2, 0.9, 1.7])


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
    """Even columns in numeric cells, odd ones in categories of unequal frequency."""
    codes = np.searchsorted(np.array(_BOUNDS), values)
    codes[:, 1::2] = np.searchsorted(_CUTS, values[:, 1::2])
    return codes.astype(np.int16)


def _times(rng: np.random.Generator, n: int, days: float) -> FloatArray:
    return np.asarray(_START + np.sort(rng.random(n)) * days * _DAY)


def _sessions(rng: np.random.Generator, shape: tuple[int, int], repeated: float) -> FloatArray:
    """Rows of which a share of the columns is that of their session of 5 to 50 rows."""
    lengths = rng.integers(5, 51, size=shape[0] // 5 + 1)
    session = np.repeat(np.arange(len(lengths)), lengths)[: shape[0]]
    shared = rng.normal(size=(len(lengths), shape[1]))[session]
    return np.where(rng.random(shape) < repeated, shared, rng.normal(size=shape))


def _bursts(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    values = rng.normal(size=shape)
    start = int(rng.integers(2000))
    while start < shape[0]:
        stop = start + int(rng.integers(100, 401))
        values[start:stop] = rng.normal(size=shape[1]) + 0.4 * values[start:stop]
        start = stop + int(rng.integers(1500, 2500))
    return values


def _wander(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """A twentieth of the variance wanders, with a memory of about 500 rows."""
    knots = np.arange(0, shape[0] + 100, 100)
    level = np.zeros((len(knots), shape[1]))
    for i in range(1, len(knots)):
        level[i] = 0.8 * level[i - 1] + 0.6 * rng.normal(size=shape[1])
    smooth = np.column_stack(
        [np.interp(np.arange(shape[0]), knots, level[:, j]) for j in range(shape[1])]
    )
    return np.asarray(np.sqrt(0.95) * rng.normal(size=shape) + np.sqrt(0.05) * smooth)


def _without_season(kind: str, rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    if kind == "strong sessions":
        return _sessions(rng, shape, 1.0)
    if kind == "mild sessions":
        return _sessions(rng, shape, 0.6)
    if kind == "bursts":
        return _bursts(rng, shape)
    if kind == "wander":
        return _wander(rng, shape)
    return rng.normal(size=shape)


def test_a_slot_is_hour_of_day_and_weekday_in_utc() -> None:
    rng = np.random.default_rng(1)
    times = rng.uniform(-1e9, 4e9, 500)
    moments = [datetime.fromtimestamp(t, tz=timezone.utc) for t in times.tolist()]
    assert slots(times).tolist() == [m.hour + 24 * m.weekday() for m in moments]


def test_a_row_of_unknown_time_has_no_slot() -> None:
    assert slots(np.array([np.nan, np.inf, 0.0])).tolist() == [-1, -1, 72]


@pytest.mark.parametrize("days", [2.0, 3.5, 7.0, 14.0, 28.0])
@pytest.mark.parametrize(
    "kind", ["independent", "strong sessions", "mild sessions", "bursts", "wander"]
)
def test_no_season_is_claimed_of_traffic_without_one(kind: str, days: float) -> None:
    # 25 conditions of 5 models with 10 sources: at one in 1e8 a source, none is expected in 1,250
    layout = _layout(10)
    for seed in range(5):
        rng = np.random.default_rng([seed, round(days * 10)])
        codes = _codes(_without_season(kind, rng, (4000, 10)))
        season = Season.build(layout, codes, _times(rng, 4000, days))
        assert season.claimed == frozenset()


def _law(hour: NDArray[np.int64], day: NDArray[np.int64], pattern: str) -> FloatArray:
    """Mean of the rows by pattern."""
    shift = np.zeros(len(hour))
    if "hour" in pattern:
        shift += 0.6 * np.sin(2 * np.pi * hour / 24)
    if "night" in pattern:
        shift += 0.6 * (hour < 6)
    if "weekend" in pattern:
        shift += 0.6 * (day >= 5)
    return shift


@pytest.mark.parametrize(
    ("kind", "days", "rows", "pattern"),
    [
        ("independent", 3.5, 5_000, "hour"),
        ("independent", 7.0, 5_000, "night"),
        ("independent", 14.0, 20_000, "weekend"),
        ("independent", 28.0, 30_000, "hour, weekend"),
        ("mild sessions", 7.0, 20_000, "hour"),
        ("mild sessions", 28.0, 50_000, "hour, weekend"),
        ("strong sessions", 28.0, 50_000, "hour"),
    ],
)
def test_a_season_that_repeats_is_claimed_and_its_laws_are_close(
    kind: str, days: float, rows: int, pattern: str
) -> None:
    layout = _layout(4)
    rng = np.random.default_rng(rows)
    times = _times(rng, rows, days)
    slot = slots(times)
    shift = _law(slot % 24, slot // 24, pattern)
    codes = _codes(_without_season(kind, rng, (rows, 4)) + shift[:, None])
    season = Season.build(layout, codes, times)
    names = {cells.name for cells in layout.sources}
    assert set(season.hours) == (names if pattern != "weekend" else set())
    assert set(season.weekdays) == (names if "weekend" in pattern else set())
    every = np.repeat(np.arange(168), 3000)
    means = _law(every % 24, every // 24, pattern)
    truth = _codes(rng.normal(size=(len(every), 4)) + means[:, None])
    for i, cells in enumerate(layout.sources):
        counts = np.bincount(every * cells.size + truth[:, i], minlength=168 * cells.size)
        true = counts.reshape(168, -1) / 3000
        overall = np.bincount(codes[:, i], minlength=cells.size) / rows
        found = season.laws(cells.name, overall)
        assert np.allclose(found.sum(axis=1), 1)
        error = np.abs(found - true).sum(axis=1).mean() / 2
        assert error < (0.6 if kind == "independent" else 0.75) * (
            np.abs(overall - true).sum(axis=1).mean() / 2
        )


def test_a_season_of_one_source_is_not_claimed_of_the_others() -> None:
    layout = _layout(10)
    rng = np.random.default_rng(8)
    times = _times(rng, 10_000, 7.0)
    values = rng.normal(size=(10_000, 10))
    values[:, 4] += np.sin(2 * np.pi * (slots(times) % 24) / 24)
    assert Season.build(layout, _codes(values), times).claimed == {"x4"}


def test_an_input_that_is_the_hour_gets_the_law_of_the_hour() -> None:
    layout = Layout((NumericCells("hour", tuple(np.arange(-0.5, 24, 2).tolist())),))
    rng = np.random.default_rng(5)
    times = _times(rng, 4_000, 5.0)
    hour = slots(times) % 24
    codes = (1 + hour // 2).astype(np.int16)[:, None]
    season = Season.build(layout, codes, times)
    laws = season.laws("hour", np.bincount(codes[:, 0], minlength=17) / 4_000)
    own = laws[np.arange(168), 1 + (np.arange(168) % 24) // 2]
    assert own.min() > 0.97


def test_rare_cells_are_not_fitted() -> None:
    layout = Layout((CategoryCells("c", ("a", "b")),))
    rng = np.random.default_rng(6)
    times = _times(rng, 20_000, 7.0)
    often = rng.random(20_000) < 0.5 + 0.3 * np.sin(2 * np.pi * (slots(times) % 24) / 24)
    codes = often.astype(np.int16)[:, None]
    codes[rng.choice(20_000, 30, replace=False), 0] = 4  # missing
    season = Season.build(layout, codes, times)
    assert season.claimed == {"c"}
    assert not season.hours["c"][:, 2:].any()
    assert np.abs(season.hours["c"][:, :2]).max() > 0.3


def test_without_times_and_in_a_single_day_there_is_no_season() -> None:
    layout = _layout(2)
    rng = np.random.default_rng(2)
    times = _times(rng, 3_000, 0.9)
    values = rng.normal(size=(3_000, 2)) + 2 * np.sin(2 * np.pi * slots(times) / 24)[:, None]
    assert Season.build(layout, _codes(values), None).claimed == frozenset()
    assert Season.build(layout, _codes(values), times).claimed == frozenset()
    unknown = np.full(3_000, np.nan)
    assert Season.build(layout, _codes(values), unknown).claimed == frozenset()


def test_rows_of_unknown_time_or_cell_are_left_out() -> None:
    layout = _layout(2)
    rng = np.random.default_rng(4)
    times = _times(rng, 8_000, 6.0)
    codes = _codes(rng.normal(size=(8_000, 2)) + np.sin(np.pi * slots(times) / 12)[:, None])
    worse = np.concatenate([codes, np.full((100, 2), -1, dtype=np.int16), codes[:100]])
    later = np.concatenate([times, times[:100], np.full(100, np.nan)])
    one, other = Season.build(layout, codes, times), Season.build(layout, worse, later)
    assert one.claimed == {"x0", "c1"}
    assert one.to_json() == other.to_json()


def test_effects_of_hour_and_weekday_add_up() -> None:
    hours = np.arange(48, dtype=float).reshape(24, 2)
    weekdays = np.arange(14, dtype=float).reshape(7, 2) * 100
    season = Season({"x": hours, "y": hours}, {"x": weekdays, "z": weekdays})
    for source, expected in (("x", [206.0, 307.0]), ("y", [6.0, 7.0]), ("z", [200.0, 300.0])):
        found = season.effect(source, hour=3, weekday=1)
        assert found is not None
        assert found.tolist() == expected
    assert season.effect("w", 0, 0) is None


def test_a_season_survives_json_unchanged() -> None:
    layout = _layout(2)
    rng = np.random.default_rng(9)
    times = _times(rng, 30_000, 21.0)
    slot = slots(times)
    values = rng.normal(size=(30_000, 2)) + _law(slot % 24, slot // 24, "hour, weekend")[:, None]
    season = Season.build(layout, _codes(values), times)
    assert season.hours
    assert season.weekdays
    text = json.dumps(season.to_json(), allow_nan=False)
    again = Season.from_json(json.loads(text))
    for source in season.claimed:
        for hour, day in ((0, 0), (13, 4), (23, 6)):
            one, other = season.effect(source, hour, day), again.effect(source, hour, day)
            assert one is not None
            assert other is not None
            assert one.tolist() == other.tolist()
    assert json.dumps(again.to_json()) == text
