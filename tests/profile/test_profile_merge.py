"""Profiles add up: any order, any grouping, and through JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml.errors import DataError
from otel_ml.profile import CategoryCells, Layout, NumericCells, Profile, Reference
from otel_ml.profile.coder import chunk_counts, encode, profile_of
from otel_ml.types import Batch

_LAYOUT = Layout((NumericCells("x", (0.0, 1.0, 2.0)), CategoryCells("c", ("a", "b"))))
_finite = st.floats(-1e9, 1e9)


@st.composite
def _profiles(draw: st.DrawFn) -> Profile:
    counts = np.zeros((2, _LAYOUT.width), dtype=np.int64)
    for i, cells in enumerate(_LAYOUT.sources):
        counts[i, : cells.size] = draw(
            st.lists(st.integers(0, 2**50), min_size=cells.size, max_size=cells.size)
        )
    return Profile(
        _LAYOUT, counts, np.array(draw(st.lists(_finite, min_size=6, max_size=6))).reshape(2, 3)
    )


def _same(a: Profile, b: Profile) -> None:
    np.testing.assert_array_equal(a.counts, b.counts)
    np.testing.assert_allclose(a.moments, b.moments, rtol=1e-12, atol=1e-5)


@pytest.mark.fault("B16")
@settings(max_examples=100, deadline=None)
@given(_profiles(), _profiles(), _profiles())
def test_merging_is_associative_commutative_and_has_an_identity(
    a: Profile, b: Profile, c: Profile
) -> None:
    before = a.copy()
    _same(a.merge(b), b.merge(a))
    _same(a.merge(b).merge(c), a.merge(b.merge(c)))
    _same(a.merge(Profile(_LAYOUT)), a)
    _same(a, before)
    total = a.copy()
    total.add(b)
    _same(total, a.merge(b))


@settings(max_examples=50, deadline=None)
@given(_profiles())
def test_a_profile_comes_back_from_json_exactly(profile: Profile) -> None:
    text = json.dumps(profile.to_json(), allow_nan=False)
    again = Profile.from_json(_LAYOUT, json.loads(text))
    np.testing.assert_array_equal(again.counts, profile.counts)
    held = profile.moments[:, 0] != 0  # without a value there are no sums to keep
    np.testing.assert_array_equal(again.moments[held], profile.moments[held])


_value = st.floats(-1e6, 1e6) | st.sampled_from([None, float("nan"), float("inf")])
_rows = st.lists(st.tuples(_value, st.sampled_from(["a", "b", "z", None])), max_size=40)


@pytest.mark.fault("B16")
@settings(max_examples=100, deadline=None)
@given(_rows, st.integers(0, 40), st.randoms())
def test_counting_parts_and_adding_is_counting_the_whole(
    rows: list[tuple[float | None, str | None]], cut: int, random: Any
) -> None:
    reference = Reference("m", None, "binary", ("x", "c"), Profile(_LAYOUT))

    def profile(part: list[tuple[float | None, str | None]]) -> Profile:
        columns = {
            "x": np.array([r[0] for r in part], object),
            "c": np.array([r[1] for r in part], object),
        }
        return profile_of(reference, columns)

    whole = profile(rows)
    shuffled = rows.copy()
    random.shuffle(shuffled)
    parts = profile(shuffled[:cut]).merge(profile(shuffled[cut:]))
    np.testing.assert_array_equal(whole.counts, parts.counts)
    np.testing.assert_allclose(whole.moments, parts.moments, rtol=1e-9, atol=1e-6)
    assert whole.counts.sum() == 2 * len(rows)


@pytest.mark.fault("B16")
def test_chunks_of_a_batch_add_up_to_the_batch() -> None:
    rng = np.random.default_rng(0)
    reference = Reference("m", None, "binary", ("x", "c"), Profile(_LAYOUT))
    batch = Batch(
        1000, {"x": rng.normal(size=1000), "c": rng.choice(["a", "b", "q"], 1000).astype(object)}
    )
    codes = encode(reference, batch)
    group = rng.integers(0, 7, 1000)
    counts, sums = chunk_counts(_LAYOUT, codes, group, 7)
    for g in range(7):
        alone, alone_sums = chunk_counts(
            _LAYOUT, codes.select(group == g), np.zeros((group == g).sum(), np.int64), 1
        )
        np.testing.assert_array_equal(counts[g], alone[0])
        np.testing.assert_allclose(sums[g], alone_sums[0], rtol=1e-12)


@pytest.mark.fault("B16")
def test_profiles_of_different_references_are_not_added() -> None:
    other = Profile(Layout((NumericCells("x", (0.0, 5.0)),)))
    with pytest.raises(DataError, match="different references"):
        Profile(_LAYOUT).merge(other)
    with pytest.raises(DataError, match="does not fit"):
        Profile(_LAYOUT, np.zeros((1, 2), np.int64))
    with pytest.raises(DataError, match="'c'"):
        Profile.from_json(_LAYOUT, {"counts": {"x": [0] * _LAYOUT.sources[0].size}})


def test_mean_and_spread_are_those_of_the_values() -> None:
    values = np.random.default_rng(1).normal(50, 7, 10_000)
    reference = Reference.build({"x": values, "c": ["a"] * 10_000}, model_name="m")
    assert reference.profile.mean_sd("x") == pytest.approx((values.mean(), values.std()), rel=1e-9)
    assert np.isnan(reference.profile.mean_sd("c")).all()
    assert reference.profile.rows("x") == reference.rows("c") == 10_000


@pytest.mark.fault("B17")
def test_ten_million_rows_add_up_to_a_billionth() -> None:
    rng = np.random.default_rng(2)
    part = rng.normal(3.0, 2.0, 100_000).astype(np.float32)
    reference = Reference.build({"x": part}, model_name="m")
    one = profile_of(reference, {"x": part})
    total = Profile(reference.layout)
    for _ in range(100):
        total.add(one)
    exact = 100 * np.square(part.astype(np.longdouble)).sum()
    assert abs(total.moments[0, 2] / float(exact) - 1) < 1e-9
    assert total.counts.sum() == 10_000_000
