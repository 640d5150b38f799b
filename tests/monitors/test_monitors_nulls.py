"""The reference law of every hour, and bets that stay e-values in each of them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml.monitors import Detector, Stream
from otel_ml.monitors.evidence import category_bets, location_bets, rate_bets, smoothed
from otel_ml.monitors.nulls import Nulls, no_season
from otel_ml.types import FloatArray

_COUNTS = np.array([400, 300, 200, 80, 20])


def _stream(
    name: str, law: FloatArray, scores: FloatArray, ends: FloatArray, clock: str = "rows"
) -> Stream:
    assert clock in ("rows", "labels")
    k = len(scores)
    cells = tuple(f"c{i}" for i in range(len(law)))
    return Stream(
        "input_drift",
        "inputs",
        name,
        name,
        "rows" if clock == "rows" else "labels",
        law,
        scores,
        ends,
        np.full(k, 1 / max(k, 1)),
        cells,
    )


def _ordered() -> Stream:
    p = smoothed(_COUNTS)
    return _stream("a", p, *location_bets(p, 1000.0, 0.02))


def _categories() -> Stream:
    """One whose last cell is no part of the question."""
    p = smoothed(_COUNTS[:4])
    bets = category_bets(p, _COUNTS[:4], 980.0, 0.02)
    wide = np.zeros((len(bets.scores), 1))
    return _stream(
        "b", np.append(p, 0.0), np.hstack([bets.scores, wide]), np.hstack([bets.ends, wide])
    )


def _rate() -> Stream:
    p = np.array([0.9, 0.1])
    return _stream("c", p, *rate_bets(p, np.array([False, True]), 0.15, [0.3, 0.6]))


_STREAMS = (_ordered(), _categories(), _rate())
_OF = np.repeat(np.arange(3), [len(s.scores) for s in _STREAMS])
_WIDTH = 6


def _season(seed: int) -> dict[tuple[str, int], FloatArray]:
    rng = np.random.default_rng(seed)
    return {
        (s.source, slot): rng.normal(0, 1.2, len(s.law)) for s in _STREAMS for slot in range(168)
    }


def _means(nulls: Nulls, slots: dict[int, float], share: float) -> FloatArray:
    """Mean e-value of one row by alternative, under the tilt by `share` of its end."""
    laws = nulls.laws(slots)
    out = np.zeros(len(_OF))
    k = 0
    for i, s in enumerate(_STREAMS):
        for end in s.ends:
            tilted = laws[i, : len(s.law)] * np.exp(share * end)
            tilted /= tilted.sum()
            for j in np.flatnonzero(s.law > 0):
                seen = np.zeros((3, _WIDTH))
                seen[i, j] = 1
                out[k] += tilted[j] * np.exp(nulls.gains(seen, seen.sum(axis=1), slots)[k])
            k += 1
    return out


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(-1, 167), st.floats(0, 1))
def test_no_law_of_any_hour_gains_on_average(seed: int, slot: int, share: float) -> None:
    held = _season(seed)
    nulls = Nulls(_STREAMS, _WIDTH, lambda source, at: held[source, at])
    for part in (0.0, share, 1.0):
        means = _means(nulls, {slot: 1.0}, part)
        assert (means <= 1 + 1e-6).all()  # the ends are held in single precision
    np.testing.assert_allclose(_means(nulls, {slot: 1.0}, 1.0), 1.0, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_rows_of_several_hours_are_normalised_by_each_of_them(seed: int, share: float) -> None:
    held = _season(seed)
    nulls = Nulls(_STREAMS, _WIDTH, lambda source, at: held[source, at])
    seen = np.zeros((3, _WIDTH))
    seen[:, 0] = (30, 20, 40)
    seen[:, 1] = (10, 5, 1)
    rows = seen.sum(axis=1)
    both = nulls.gains(seen, rows, {5: share, 100: 1 - share})
    one, two = nulls.gains(seen, rows, {5: 1.0}), nulls.gains(seen, rows, {100: 1.0})
    np.testing.assert_allclose(both, share * one + (1 - share) * two, atol=1e-9)
    laws = share * nulls.laws({5: 1.0}) + (1 - share) * nulls.laws({100: 1.0})
    np.testing.assert_allclose(nulls.laws({5: share, 100: 1 - share}), laws)


def test_the_law_of_an_hour_is_the_reference_times_its_effect() -> None:
    held = _season(0)
    nulls = Nulls(_STREAMS, _WIDTH, lambda source, at: held[source, at])
    for i, s in enumerate(_STREAMS):
        due = s.law * np.exp(held[s.source, 30])
        np.testing.assert_allclose(nulls.laws({30: 1.0})[i, : len(s.law)], due / due.sum())
        assert (nulls.laws({30: 1.0})[i, len(s.law) :] == 0).all()


def test_without_a_season_or_a_time_it_is_the_reference() -> None:
    held = _season(1)
    with_season = Nulls(_STREAMS, _WIDTH, lambda source, at: held[source, at])
    without = Nulls(_STREAMS, _WIDTH, no_season)
    seen = np.ones((3, _WIDTH))
    seen[2, 2:] = seen[1, 4:] = seen[0, 5:] = 0
    rows = seen.sum(axis=1)
    expected = without.gains(seen, rows, {})
    for nulls, slots in ((with_season, {}), (with_season, {-1: 1.0}), (without, {7: 1.0})):
        np.testing.assert_allclose(nulls.gains(seen, rows, slots), expected)
        np.testing.assert_array_equal(nulls.laws(slots), without.laws({}))
    logs = np.concatenate([s.logs @ seen[i, : len(s.law)] for i, s in enumerate(_STREAMS)])
    np.testing.assert_allclose(expected, logs, atol=1e-5)


def test_labels_come_at_their_own_hour_and_are_compared_with_the_law_of_all() -> None:
    s = _rate()
    late = _stream("c", s.law, s.scores, s.ends, clock="labels")
    nulls = Nulls((late,), 2, lambda source, at: np.array([0.0, 3.0]))
    np.testing.assert_array_equal(nulls.laws({3: 1.0}), nulls.laws({}))
    seen = np.array([[5.0, 2.0]])
    rows = seen.sum(axis=1)
    np.testing.assert_array_equal(nulls.gains(seen, rows, {3: 1.0}), nulls.gains(seen, rows, {}))


def test_an_hour_is_asked_for_once_and_few_are_kept() -> None:
    asked: list[int] = []

    def season(source: str, slot: int) -> FloatArray | None:
        asked.append(slot)
        return np.array([0.0, slot / 100])

    nulls = Nulls((_rate(),), 2, season)
    for _ in range(10):
        nulls.laws({8: 0.5, 9: 0.5})
    assert asked == [8, 9]
    for slot in range(168):
        assert nulls.laws({slot: 1.0})[0, 1] == pytest.approx(
            0.1 * np.exp(slot / 100) / (0.9 + 0.1 * np.exp(slot / 100))
        )
    assert len(nulls._slots) <= 4


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_over_every_path_through_the_hours_a_detectors_mean_grows_by_at_most_one(
    share: float,
) -> None:
    """Every row drawn from a null law of its own hour, which the detector is told."""
    hours, mean = [5, 9, 5, 5, 9, 5, 9], np.zeros(8)
    effects = {5: np.array([-0.5, 0.8])}
    stream = _rate()
    detector = Detector((stream,), {"c": 0}, 2, lambda source, slot: effects.get(slot))
    fresh = detector.to_json()
    laws = {}
    for hour in (5, 9):
        law = stream.law * np.exp(effects.get(hour, np.zeros(2)) + share * stream.ends[0])
        laws[hour] = law / law.sum()
    for path in itertools.product((0, 1), repeat=len(hours)):
        detector.restore(fresh)
        chance = math.prod(float(laws[h][y]) for h, y in zip(hours, path, strict=True))
        for step, (hour, yes) in enumerate(zip(hours, path, strict=True)):
            detector.update(np.array([[1 - yes, yes]]), step, slots={hour: 1.0})
            mean[step + 1] += chance * math.exp(detector.total(detector.shares()))
    assert (mean <= np.arange(8) * (1 + 1e-6)).all()
    if share == 1.0:  # at the end of the null the bound is met
        np.testing.assert_allclose(mean, np.arange(8), rtol=1e-6)
