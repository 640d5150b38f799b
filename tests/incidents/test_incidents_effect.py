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
    return _stream(law, cells.labels), cells


def _stream(law: Any, labels: tuple[str, ...], name: str = "x", **more: Any) -> Stream:
    none = np.zeros((1, len(law)))  # what is bet on is not read here
    monitor, family = ("data_quality", "quality") if "defect" in more else ("input_drift", "inputs")
    return Stream(monitor, family, name, name, "rows", law, none, none, np.ones(1), labels, **more)


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


def test_a_stuck_value_is_one_also_where_sums_have_single_precision() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(10, 2, 5000)
    stream, cells = _numeric(values)
    for stuck in (0.1, 7.7, 11.3, 1234.567):
        row = np.array([1.0, stuck, stuck * stuck], dtype=np.float32)
        codes, _ = cells.codes(np.full(500, stuck))
        counts = np.bincount(codes, minlength=cells.size)
        facts = describe(stream, counts, 500 * row.astype(np.float64), _moments(values))
        assert facts["stuck"] is True
    # a thousandth of the values is no one value
    facts, _ = _describe(values, rng.normal(10, 2, 500) / 1000)
    assert "stuck" not in facts
    assert "spike_cell" not in facts


def test_a_unit_change_is_put_into_words() -> None:
    rng = np.random.default_rng(0)
    values = rng.gamma(4, 10, 5000)
    facts, stream = _describe(values, values[:1000] * 12)
    assert facts["unit"] == "years to months"
    assert "12 times" in sentence(stream, facts)


def test_categories_that_grew_and_shrank_are_named() -> None:
    cells = CategoryCells("c", ("a", "b"))
    law = np.array([0.6, 0.4, 0.0, 0.0, 0.0])
    stream = _stream(law, cells.labels, "c")
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
    stream = _stream(law, ("ok", "bad"), defect=defect, yes=yes)
    facts = describe(stream, np.array([75, 25]), np.zeros(3), (float("nan"), float("nan")))
    assert facts["before"] == 0.05
    assert facts["after"] == 0.25
    assert words in sentence(stream, facts)


def test_nothing_counted_yet_is_no_division_by_zero() -> None:
    stream, cells = _numeric(np.arange(100.0))
    facts = describe(stream, np.zeros(cells.size, dtype=np.int64), np.zeros(3), (50.0, 29.0))
    assert facts["rows"] == 0
    assert facts["total_variation"] == 0


_GAMMA = np.random.default_rng(1).gamma(4, 10, 20_000)


def _rows(seed: int, n: int = 600) -> Any:
    return np.random.default_rng(seed).gamma(4, 10, n)


def _some(seed: int, n: int, share: float) -> Any:
    return np.random.default_rng(seed + 10_000).random(n) < share


@pytest.mark.parametrize(
    ("fact", "value", "change"),
    [
        ("unit", "years to months", lambda x, s: np.where(_some(s, len(x), 0.5), 12 * x, x)),
        ("constant_added", True, lambda x, s: x + 12.0),
        ("negated", True, lambda x, s: -x),
        ("sentinel", 9999.0, lambda x, s: np.where(_some(s, len(x), 0.1), 9999.0, x)),
        ("spike_cell", None, lambda x, s: np.where(_some(s, len(x), 0.3), 37.0, x)),
        ("clipped", "above", lambda x, s: np.minimum(x, np.quantile(_GAMMA, 0.75))),
        ("clipped", "below", lambda x, s: np.maximum(x, np.quantile(_GAMMA, 0.25))),
        ("coarser", True, lambda x, s: np.round(x / 18) * 18),
        ("stuck", True, lambda x, s: np.full(len(x), 42.0)),
    ],
)
def test_each_shape_is_told_from_the_others(fact: str, value: Any, change: Any) -> None:
    """In 40 seeded runs at least 36 times, and none of the others more than four times."""
    shapes = {"unit", "constant_added", "negated", "sentinel", "spike_cell", "clipped", "coarser"}
    found = dict.fromkeys(shapes | {"stuck"}, 0)
    for seed in range(40):
        facts, _ = _describe(_GAMMA, change(_rows(seed), seed))
        for name in found:
            found[name] += name in facts and (name != fact or value is None or facts[name] == value)
    assert found.pop(fact) >= 36
    if fact != "stuck":
        assert max(found.values()) <= 4, found


def test_rows_that_did_not_change_have_no_shape() -> None:
    """In 200 runs a shape at most four times: more has a chance of 0.4 % at a rate of 0.5 %."""
    shapes = {"scale", "constant_added", "negated", "sentinel", "spike_cell", "clipped", "coarser"}
    found = sum(bool(shapes & _describe(_GAMMA, _rows(seed, 300))[0].keys()) for seed in range(200))
    assert found <= 4


def _categories(after: dict[str, int], before: dict[str, int]) -> dict[str, Any]:
    names = tuple(before)
    cells = CategoryCells("c", names)
    law = np.array([*before.values(), 0.0, 0.5, 0.5])
    stream = _stream(law / law.sum(), cells.labels, "c", defect="unseen")
    counts = np.array([after.get(label, 0) for label in cells.labels])
    nan = float("nan")
    facts = describe(stream, counts, np.zeros(3), (nan, nan))
    assert facts["categorical"]
    return facts


_BEFORE = {"a": 5000, "b": 3000, "c": 1500, "d": 500}


def test_a_new_category_that_takes_from_all_is_told_from_one_that_was_renamed() -> None:
    renamed = _categories({"a": 500, "b": 300, "unseen": 150, "d": 50}, _BEFORE)
    assert (renamed["moved_from"], renamed["moved_to"]) == ("c", "unseen")
    new = _categories({"a": 425, "b": 255, "c": 128, "d": 42, "unseen": 150}, _BEFORE)
    assert "moved_from" not in new
    assert new["unseen_share"] == pytest.approx(0.15)


def test_two_categories_that_exchanged_their_shares_are_named() -> None:
    facts = _categories({"a": 300, "b": 500, "c": 150, "d": 50}, _BEFORE)
    assert facts["exchanged"] == "a and b"
    assert "grew" not in facts


def test_a_category_that_grew_while_the_others_kept_their_proportions_is_named() -> None:
    facts = _categories({"a": 330, "b": 200, "c": 440, "d": 33}, _BEFORE)
    assert facts["grew"]
    assert facts["spike_cell"] == "c"
    assert not facts.keys() & {"moved_from", "exchanged", "stuck"}
    assert _categories({"b": 1000}, _BEFORE)["stuck"]
