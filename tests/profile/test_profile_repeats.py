"""Retries and replays are told from each other, and from rows that are equal by chance."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from otel_ml.profile.repeats import REPEATS, Repeats, reference_repeats

_NEW, _REPEATED, _REPLAYED = range(len(REPEATS))


def _kinds(rows: NDArray[np.float64], repeats: Repeats | None = None) -> NDArray[np.int64]:
    return (repeats or Repeats()).codes({"x": rows}, len(rows))


def test_a_row_sent_again_within_128_rows_is_a_retry() -> None:
    for lag, kind in ((1, _REPEATED), (128, _REPEATED), (129, _NEW), (3000, _NEW)):
        rows = np.arange(5000.0)
        rows[4000] = rows[4000 - lag]
        found = _kinds(rows)
        assert found[4000] == kind
        assert (np.delete(found, 4000) == _NEW).all()


def test_a_block_sent_again_in_its_order_is_a_replay() -> None:
    rows = np.arange(4000.0)
    rows[2500:3000] = rows[500:1000]
    found = _kinds(rows)
    assert found[2500] == _NEW  # one row alone has no order
    assert (found[2501:3000] == _REPLAYED).all()
    assert (found[:2500] == _NEW).all()
    assert (found[3000:] == _NEW).all()


def test_a_block_in_another_order_is_no_replay() -> None:
    rng = np.random.default_rng(0)
    rows = np.arange(4000.0)
    rows[2500:3000] = rng.permutation(rows[500:1000])
    found = _kinds(rows)
    # two neighbours stay neighbours about once in a permutation
    assert (found == _REPLAYED).sum() <= 8
    assert (found == _REPEATED).sum() == 0


def test_draws_from_a_pool_are_new() -> None:
    rng = np.random.default_rng(1)
    found = _kinds(rng.integers(0, 20_000, 20_000).astype(float))
    # a pool of 20,000: each of the last 128 rows is the same one with 1 in 20,000
    assert (found == _REPEATED).mean() < 2 * 128 / 20_000
    assert (found == _REPLAYED).mean() < 0.001


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=300), st.integers(1, 299))
def test_cut_into_batches_it_is_the_same(values: list[int], cut: int) -> None:
    rows = np.array(values, dtype=np.float64)
    whole = _kinds(rows)
    repeats = Repeats()
    parts = [_kinds(rows[:cut], repeats), _kinds(rows[cut:], repeats)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_it_goes_on_after_a_restart() -> None:
    rows = np.arange(4000.0)
    rows[2500:3000] = rows[500:1000]
    for cut in (2500, 2501, 2750):
        straight = Repeats()
        _kinds(rows[:cut], straight)
        again = Repeats()
        again.restore(json.loads(json.dumps(straight.to_json())))
        found = _kinds(rows[cut:], again)
        np.testing.assert_array_equal(found, _kinds(rows[cut:], straight))
        assert (found == _REPLAYED).sum() == 3000 - max(cut, 2501)


def test_no_rows_are_no_repeats() -> None:
    assert reference_repeats({}, 10) == ((0, 0, 0), 1.0)
    assert reference_repeats({"x": np.zeros(0)}, 0) == ((0, 0, 0), 1.0)
    assert _kinds(np.zeros(0)).shape == (0,)


def test_a_reference_counts_all_of_its_rows() -> None:
    rows = np.arange(4000.0)
    rows[1::2] = rows[::2]  # each row twice
    counts, design = reference_repeats({"x": rows}, 4000)
    assert counts == (2000, 2000, 0)
    assert design == 1.0  # in every block as many


@pytest.mark.parametrize("rate", [0.05, 0.3])
def test_independent_retries_have_hardly_a_design_effect(rate: float) -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        rows = np.arange(10_000.0)
        again = np.flatnonzero(rng.random(10_000) < rate)[1:]
        for i in again:
            rows[i] = rows[i - 1]
        assert reference_repeats({"x": rows}, 10_000)[1] < 2.0


def test_retries_that_come_in_bursts_have_a_large_one() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        rows = np.arange(10_000.0)
        for start in rng.integers(0, 9900, 20):  # twenty spells of a hundred equal rows
            rows[start : start + 100] = rows[start]
        assert reference_repeats({"x": rows}, 10_000)[1] > 20
