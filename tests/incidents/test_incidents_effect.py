"""What changed: the facts against direct computation, and units recognised from mixtures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from otel_ml.incidents.effect import describe, scale_change, sentence
from otel_ml.profile import CategoryCells, NumericCells
from otel_ml.types import Stream

_FACTORS = [7, 12, 24, 52, 60, 100, 365, 1000, 3600, 1e6, 2.2046, 3.2808, 2.54, 1.609344]


def _moments(values: Any) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([*_FACTORS, *(1 / f for f in _FACTORS)]),
    st.floats(0.1, 1.0),
    st.floats(0.05, 1.0),
    st.floats(0.01, 1e4),
    st.sampled_from([1, -1]),
)
def test_a_unit_is_recognised_whatever_share_of_the_rows_has_it(
    factor: float, share: float, spread: float, mean: float, sign: int
) -> None:
    before = (sign * mean, mean * spread)
    moved = share * (factor - 1)
    # exact mean and spread of the mixture
    after = before[0] * (1 + moved)
    square = (before[1] ** 2 + before[0] ** 2) * (1 + share * (factor**2 - 1))
    facts = scale_change(before, (after, max(square - after**2, 0.0) ** 0.5))
    if abs(moved) < 0.1:
        return  # too little moved to tell
    assert facts["scale"] == pytest.approx(factor, rel=0.02)
    assert facts["scaled_share"] == pytest.approx(share, abs=0.02)
    assert facts["unit"]


@pytest.mark.parametrize(
    ("factor", "least"), [(12, 0.3), (100, 0.3), (1000, 0.3), (1 / 12, 1.0), (1 / 1000, 1.0)]
)
def test_a_unit_is_recognised_from_a_few_hundred_rows(factor: float, least: float) -> None:
    """In 100 seeded runs at least 90 times: a chance of 84 % at least, at 95 % confidence."""
    rng = np.random.default_rng(5)
    before = _moments(rng.gamma(4, 10, 100_000))
    found = 0
    for _ in range(100):
        rows = rng.gamma(4, 10, 400)
        rows[rng.random(400) < rng.uniform(least, 1.0)] *= factor
        found += scale_change(before, _moments(rows)).get("scale") == factor
    assert found >= 90


@settings(max_examples=200, deadline=None)
@given(st.floats(-50, 50), st.floats(0.01, 5), st.floats(0.1, 100))
def test_a_shift_that_leaves_the_spread_is_no_unit_unless_it_looks_exactly_like_one(
    mean: float, shift: float, sd: float
) -> None:
    assume(abs(mean) > 1e-3)
    for sign in (1, -1):
        facts = scale_change((mean, sd), (mean + sign * shift * sd, sd))
        if "scale" in facts and facts["scaled_share"] > 1:
            # more than all rows: then at least the spread must have been multiplied as well
            # (a factor within e^0.15 of a unit is taken for it)
            assert sd * 1.5 * math.exp(0.15) >= facts["scale"] * sd


def test_a_large_mean_that_more_than_doubles_is_no_unit() -> None:
    assert scale_change((100.0, 5.0), (220.0, 5.0)) == {}
    assert scale_change((100.0, 5.0), (220.46, 11.02))["unit"] == "kilograms to pounds"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((0.0, 1.0), (5.0, 1.0)),  # no factor moves a mean of zero
        ((5.0, 0.0), (60.0, 0.0)),
        ((10.0, 2.0), (10.5, 2.0)),
        ((10.0, 2.0), (10.0, 4.0)),
        ((10.0, 2.0), (-120.0, 24.0)),
    ],
)
def test_what_no_factor_explains_is_no_scale(before: Any, after: Any) -> None:
    assert scale_change(before, after) == {}


def _numeric(values: Any) -> tuple[Stream, NumericCells]:
    cells = NumericCells.build("x", values)
    codes, _ = cells.codes(values)
    law = np.bincount(codes, minlength=cells.size) / len(values)
    law[cells.valid :] = 0
    return Stream(
        "input_drift", "inputs", "x", "x", "rows", law, np.zeros((1, cells.size)), cells.labels
    ), cells


def _describe(values: Any, changed: Any) -> tuple[dict[str, Any], Stream]:
    stream, cells = _numeric(values)
    codes, found = cells.codes(changed)
    finite = found[np.isfinite(found)]
    sums = np.array([len(finite), finite.sum(), np.square(finite).sum()])
    counts = np.bincount(codes, minlength=cells.size)
    return describe(stream, counts, sums, _moments(values)), stream


def test_facts_of_a_shift_are_those_of_the_values() -> None:
    rng = np.random.default_rng(0)
    values, changed = rng.normal(10, 2, 20_000), rng.normal(12, 2, 5000)
    facts, stream = _describe(values, changed)
    assert facts["rows"] == 5000
    assert facts["before"] == pytest.approx(values.mean())
    assert facts["after"] == pytest.approx(changed.mean())
    assert facts["sd_after"] == pytest.approx(changed.std())
    # the distance of two normals one standard deviation apart, less what binning loses
    exact = math.erf(0.5 / math.sqrt(2))
    assert exact - 0.05 < facts["total_variation"] < exact + 0.02
    assert "scale" not in facts
    assert "mean 10" in sentence(stream, facts)


def test_a_value_that_is_stuck_is_said_to_be() -> None:
    rng = np.random.default_rng(0)
    facts, _ = _describe(rng.normal(10, 2, 5000), np.full(100, 11.5))
    assert facts["stuck"] is True
    few, _ = _describe(rng.normal(10, 2, 5000), np.full(10, 11.5))
    assert "stuck" not in few


def test_a_unit_change_is_put_into_words() -> None:
    rng = np.random.default_rng(0)
    values = rng.gamma(4, 10, 5000)
    facts, stream = _describe(values, values[:1000] * 12)
    assert facts["unit"] == "years to months"
    assert "12 times" in sentence(stream, facts)


def test_categories_that_grew_and_shrank_are_named() -> None:
    cells = CategoryCells("c", ("a", "b"))
    law = np.array([0.6, 0.4, 0.0, 0.0, 0.0])
    stream = Stream("input_drift", "inputs", "c", "c", "rows", law, np.zeros((1, 5)), cells.labels)
    nan = float("nan")
    facts = describe(stream, np.array([100, 900, 0, 5, 5]), np.zeros(3), (nan, nan))
    assert facts["top_cell"] == "b"
    assert facts["top_before"] == 0.4
    assert facts["top_after"] == pytest.approx(0.9, abs=0.001)
    assert facts["lost_cell"] == "a"
    assert facts["total_variation"] == pytest.approx(0.5, abs=0.001)
    assert "'b' was 40.0%" in sentence(stream, facts)


@pytest.mark.parametrize(
    ("defect", "words"),
    [
        ("missing", "is missing in 25.0% of rows (reference 5.0%)"),
        ("unseen", "a value never seen before"),
        ("out_of_range", "outside the reference's range"),
        ("infinite", "is infinite"),
        ("not_a_number", "is not a number"),
    ],
)
def test_rates_of_a_defect_are_those_of_the_counts(defect: str, words: str) -> None:
    law = np.array([0.95, 0.05])
    yes = np.array([False, True])
    stream = Stream(
        "data_quality",
        "quality",
        "x",
        "x",
        "rows",
        law,
        np.zeros((1, 2)),
        ("ok", "bad"),
        defect,
        yes,
    )
    facts = describe(stream, np.array([75, 25]), np.zeros(3), (float("nan"), float("nan")))
    assert facts["before"] == 0.05
    assert facts["after"] == 0.25
    assert words in sentence(stream, facts)


def test_nothing_counted_yet_is_no_division_by_zero() -> None:
    stream, cells = _numeric(np.arange(100.0))
    facts = describe(stream, np.zeros(cells.size, dtype=np.int64), np.zeros(3), (50.0, 29.0))
    assert facts["rows"] == 0
    assert facts["total_variation"] == 0
