"""Residuals: those of one regression per feature; they move when relations do, and only then."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from otel_ml.profile.cells import CategoryCells, Cells, NumericCells
from otel_ml.profile.joint import DISTANCE, RESIDUAL, Joint
from otel_ml.profile.profile import Layout
from otel_ml.types import FloatArray

Columns = Mapping[str, NDArray[Any]]
Encoded = tuple[NDArray[np.int16], FloatArray]


def _layout(columns: Columns) -> Layout:
    return Layout(
        tuple(
            CategoryCells.build(name, column)
            if column.dtype.kind == "O"
            else NumericCells.build(name, column)
            for name, column in columns.items()
        )
    )


def _encode(layout: Layout, columns: Columns) -> Encoded:
    n = len(next(iter(columns.values())))
    codes = np.full((n, len(layout.sources)), -1, dtype=np.int16)
    values = np.full(codes.shape, np.nan)
    for j, cells in enumerate(layout.sources):
        codes[:, j], found = cells.codes(columns[cells.name])
        if found is not None:
            values[:, j] = found
    return codes, values


def _build(columns: Columns, most: int = 256) -> tuple[Layout, Joint | None]:
    layout = _layout(columns)
    return layout, Joint.build(layout, list(columns), *_encode(layout, columns), most=most)


def _built(columns: Columns, most: int = 256) -> tuple[Layout, Joint]:
    layout, joint = _build(columns, most)
    assert joint is not None
    return layout, joint


def _mixed(n: int, seed: int) -> dict[str, NDArray[Any]]:
    """Four related numbers, two related categories, and one number on its own."""
    rng = np.random.default_rng(seed)
    cause = rng.normal(size=n)
    a = cause + rng.normal(size=n)
    b = a + rng.normal(size=n)
    region = np.digitize(cause + 0.7 * rng.normal(size=n), [-0.8, 0.1, 0.9])
    # which name goes with which level has no order
    names = np.array(["north", "east", "south", "west"], dtype=object)[[2, 0, 3, 1]]
    product = np.where(rng.random(n) < 0.8, region % 2, rng.integers(0, 2, n))
    return {
        "a": a,
        "b": b,
        "skewed": np.exp(cause + rng.normal(size=n)),
        "alone": rng.normal(size=n),
        "region": names[region],
        "product": np.array(["x", "y"], dtype=object)[product],
    }


def _shift(reference: FloatArray, live: FloatArray, bins: int = 12) -> float:
    """Total variation between two laws over the cells of the first one."""
    cells = NumericCells.build("r", reference, bins=bins)
    laws = [
        np.bincount(cells.codes(x)[0], minlength=cells.size) / len(x) for x in (reference, live)
    ]
    return float(0.5 * np.abs(laws[0] - laws[1]).sum())


def _category_shift(cells: Cells, reference: NDArray[Any], live: NDArray[Any]) -> float:
    laws = [
        np.bincount(cells.codes(x)[0], minlength=cells.size) / len(x) for x in (reference, live)
    ]
    return float(0.5 * np.abs(laws[0] - laws[1]).sum())


def _naive(joint: Joint, layout: Layout, columns: Columns) -> dict[str, FloatArray]:
    """One ridge regression per feature, solved by itself; the ridge is the one that was chosen."""
    codes, values = _encode(layout, columns)
    x, present = joint.design.columns(codes, values)
    n, width = x.shape
    covariance = x.T @ x / n
    inverse = np.linalg.inv(joint.precision) - covariance
    ridge = float(np.diag(inverse).mean())
    out = {}
    starts = joint.design.starts
    for i, name in enumerate(joint.design.features):
        others = np.r_[0 : starts[i], starts[i + 1] : width]
        y, rest = x[:, starts[i]], x[:, others]
        with_y = present[:, i].mean()
        slopes = np.linalg.solve(
            rest.T @ rest / n + ridge * np.eye(len(others)), rest.T @ y / n / with_y
        )
        residual = y - rest @ slopes
        residual[~present[:, i]] = np.nan
        out[RESIDUAL + name] = residual
    square = np.einsum("ij,jk,ik->i", x, np.linalg.inv(covariance + ridge * np.eye(width)), x)
    out[DISTANCE] = np.sqrt(square / width)
    return out


@pytest.mark.parametrize("holes", [False, True])
def test_residuals_are_those_of_one_ridge_regression_per_feature(holes: bool) -> None:
    columns = _mixed(3000, 1)
    if holes:
        rng = np.random.default_rng(2)
        columns["a"] = np.where(rng.random(3000) < 0.3, np.nan, columns["a"])
        columns["region"][rng.random(3000) < 0.2] = None
    layout, joint = _built(columns)
    found = joint.values(*_encode(layout, columns))
    naive = _naive(joint, layout, columns)
    assert set(joint.names) == set(naive) - {RESIDUAL + "alone"}
    for j, name in enumerate(joint.names):
        np.testing.assert_allclose(found[:, j], naive[name], atol=2e-5)


def test_held_out_residuals_are_those_of_fits_without_the_row() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(300, 12))
    x[:, 0] += x[:, 1:4].sum(axis=1)
    columns = {f"f{i}": x[:, i] for i in range(12)}
    layout, joint = _built(columns)
    codes, values = _encode(layout, columns)
    held_out = joint.held_out(codes, values)
    design, _ = joint.design.columns(codes, values)
    inverse = np.linalg.inv(joint.precision)
    ridge = float(np.diag(inverse - design.T @ design / 300).mean())
    first = joint.names.index(RESIDUAL + "f0")
    for row in (0, 17, 299):
        rest = np.delete(design, row, axis=0)
        gram = rest[:, 1:].T @ rest[:, 1:] / 300 + ridge * np.eye(11)
        slopes = np.linalg.solve(gram, rest[:, 1:].T @ rest[:, 0] / 300)
        assert held_out[row, first] == pytest.approx(
            design[row, 0] - design[row, 1:] @ slopes, abs=2e-5
        )
        whole = np.linalg.inv(rest.T @ rest / 300 + ridge * np.eye(12))
        distance = np.sqrt(design[row] @ whole @ design[row] / 12)
        assert held_out[row, -1] == pytest.approx(distance, abs=2e-5)


def test_held_out_rows_of_a_small_reference_have_the_law_of_new_rows() -> None:
    rng = np.random.default_rng(4)
    mix = rng.normal(size=(5, 80))

    def rows(n: int) -> Columns:
        x = rng.normal(size=(n, 5)) @ mix + 2 * rng.normal(size=(n, 80))
        return {f"f{i}": x[:, i] for i in range(80)}

    small, new = rows(400), rows(4000)
    layout, joint = _built(small)
    inside = np.square(joint.values(*_encode(layout, small))).mean(axis=0)
    held_out = np.square(joint.held_out(*_encode(layout, small))).mean(axis=0)
    outside = np.square(joint.values(*_encode(layout, new))).mean(axis=0)
    assert np.median(outside / inside) > 1.1
    assert 0.95 < np.median(outside / held_out) < 1.05


def test_only_rows_of_the_fit_are_held_out() -> None:
    columns = _mixed(20_500, 5)
    layout, joint = _built(columns)
    codes, values = _encode(layout, columns)
    same = (joint.values(codes, values) == joint.held_out(codes, values)).all(axis=1)
    assert joint.rows == 20_000
    assert 500 <= same.sum() < 5000  # a row without leverage may agree to the sixth decimal


@pytest.mark.parametrize("name", ["a", "b", "region", "product", "skewed"])
def test_a_change_of_relations_moves_residuals_and_no_feature(name: str) -> None:
    reference, live = _mixed(20_000, 6), _mixed(4000, 7)
    shuffled = {**live, name: np.random.default_rng(8).permutation(live[name])}
    layout, joint = _built(reference)
    before = joint.values(*_encode(layout, reference))
    unmoved = joint.values(*_encode(layout, live))
    after = joint.values(*_encode(layout, shuffled))
    j = joint.names.index(RESIDUAL + name)
    for cells in layout.sources:
        assert _category_shift(cells, reference[cells.name], shuffled[cells.name]) < 0.045
    assert _shift(before[:, j], unmoved[:, j]) < 0.045
    assert _shift(before[:, j], after[:, j]) > 0.08


@pytest.mark.parametrize("cause", ["a", "b", "skewed"])
@pytest.mark.parametrize("step", [-0.5, 0.5])
def test_a_cause_moves_more_than_its_followers(cause: str, step: float) -> None:
    reference, live = _mixed(20_000, 9), _mixed(4000, 10)
    live[cause] = live[cause] + step * np.std(np.clip(live[cause], -10, 10))
    layout, joint = _built(reference)
    before = joint.values(*_encode(layout, reference))
    after = joint.values(*_encode(layout, live))
    moved = {n: _shift(before[:, j], after[:, j]) for j, n in enumerate(joint.names[:-1])}
    own = moved.pop(RESIDUAL + cause)
    assert own > 0.1
    assert own > 1.2 * max(moved.values())


def test_two_levels_that_exchange_names_are_seen() -> None:
    reference, live = _mixed(20_000, 11), _mixed(4000, 12)
    # shares of the two levels are equal in this population, so that neither count moves
    rng = np.random.default_rng(13)
    for columns in (reference, live):
        high = columns["a"] + rng.normal(size=len(columns["a"])) > 0
        columns["pair"] = np.where(high, "p", "q").astype(object)
    layout, joint = _built(reference)
    swapped = {**live, "pair": np.where(live["pair"] == "p", "q", "p").astype(object)}
    j = joint.names.index(RESIDUAL + "pair")
    before = joint.values(*_encode(layout, reference))[:, j]
    after = joint.values(*_encode(layout, swapped))[:, j]
    pair = layout.sources[layout.index["pair"]]
    assert _category_shift(pair, reference["pair"], swapped["pair"]) < 0.03
    assert _shift(before, after) > 0.25


def test_the_distance_grows_where_single_values_are_usual_and_their_combination_is_not() -> None:
    columns = _mixed(5000, 14)
    layout, joint = _built(columns)
    usual = joint.values(*_encode(layout, columns))[:, -1]
    odd = {**{n: c[:1] for n, c in columns.items()}, "a": np.array([3.0]), "b": np.array([-3.0])}
    assert joint.values(*_encode(layout, odd))[0, -1] > np.quantile(usual, 0.99)
    assert 0.7 < np.median(usual) < 1.1


def test_what_is_missing_has_no_residual_and_the_rest_of_the_row_has() -> None:
    columns = _mixed(2000, 15)
    layout, joint = _built(columns)
    row: dict[str, NDArray[Any]] = {n: c[:6].copy() for n, c in columns.items()}
    row["a"][0] = np.nan
    row["a"][1] = np.inf
    row["region"][2] = None
    row["region"][3] = "never seen"
    for column in row.values():
        column[4] = None
    found = joint.values(*_encode(layout, row))
    a, region = (joint.names.index(RESIDUAL + n) for n in ("a", "region"))
    missing = np.zeros(found.shape, dtype=bool)
    missing[[0, 1], a] = True
    missing[[2, 3], region] = True
    missing[4] = True
    np.testing.assert_array_equal(np.isnan(found), missing)


def test_a_source_the_batch_does_not_have_counts_as_missing() -> None:
    columns = _mixed(2000, 16)
    layout, joint = _built(columns)
    codes, values = _encode(layout, columns)
    gone = layout.index["region"]
    codes[:, gone] = -1
    found = joint.values(codes, values)
    region = joint.names.index(RESIDUAL + "region")
    assert np.isnan(found[:, region]).all()
    assert not np.isnan(np.delete(found, region, axis=1)).any()


def test_scores_of_a_category_are_standardised_whatever_its_shares() -> None:
    rng = np.random.default_rng(25)
    x = rng.normal(size=5000)
    level = np.digitize(x + rng.normal(size=5000), [1.5, 2.2])
    columns: dict[str, NDArray[Any]] = {
        "x": x,
        "level": np.array(["often", "seldom", "rare"], dtype=object)[level],
        "flag": np.where(rng.random(5000) < 0.03, "yes", "no").astype(object),
    }
    columns["level"][::7] = None
    layout, joint = _built(columns)
    design, present = joint.design.columns(*_encode(layout, columns))
    for i, start in enumerate(joint.design.starts[:-1]):
        rows = design[present[:, i], start]
        assert rows.mean() == pytest.approx(0.0, abs=1e-6)
        assert rows.std() == pytest.approx(1.0, abs=1e-6)


def test_json_brings_back_identical_values() -> None:
    columns = _mixed(3000, 17)
    layout, joint = _built(columns)
    again = Joint.from_json(json.loads(json.dumps(joint.to_json(), allow_nan=False)))
    encoded = _encode(layout, columns)
    assert again.names == joint.names
    assert again.to_json() == joint.to_json()
    np.testing.assert_array_equal(again.values(*encoded), joint.values(*encoded))
    np.testing.assert_array_equal(again.held_out(*encoded), joint.held_out(*encoded))


def test_a_row_has_the_same_values_in_any_batch() -> None:
    rng = np.random.default_rng(18)
    flags = rng.integers(0, 2, size=(3000, 30))
    flags[:, 1:] ^= flags[:, :-1] & (rng.random((3000, 29)) < 0.5)
    columns = {f"f{i}": flags[:, i].astype(float) for i in range(30)}
    layout, joint = _built(columns)
    codes, values = _encode(layout, columns)
    whole = joint.values(codes, values)
    parts = [joint.values(codes[i : i + 1], values[i : i + 1]) for i in range(200)]
    np.testing.assert_array_equal(np.concatenate(parts), whole[:200])


def test_heavy_tails_do_not_hide_a_relation() -> None:
    rng = np.random.default_rng(19)
    x = rng.standard_cauchy(20_000)
    columns: dict[str, NDArray[Any]] = {
        "x": x,
        "y": x + rng.standard_cauchy(20_000),
        "large": 1e300 * x,
        "year": 1.7e9 + rng.normal(size=20_000),
    }
    layout, joint = _built(columns)
    assert joint.r2["y"] > 0.3
    assert joint.r2["x"] > 0.5
    found = joint.values(*_encode(layout, columns))
    assert np.isfinite(found).all()
    assert np.abs(found).max() < 30


def test_columns_without_information_are_left_out() -> None:
    columns = _mixed(1000, 20)
    rng = np.random.default_rng(20)
    useless: dict[str, NDArray[Any]] = {
        "constant": np.full(1000, 7.0),
        "zero": np.zeros(1000),
        "empty": np.full(1000, np.nan),
        "seldom": np.where(np.arange(1000) < 40, rng.normal(size=1000), np.nan),
        "one": np.full(1000, "same", dtype=object),
        "nothing": np.full(1000, None, dtype=object),
        "close": 1e9 + 1e-7 * rng.normal(size=1000),
    }
    layout, joint = _built({**columns, **useless})
    assert set(joint.r2) == set(columns)
    assert np.isfinite(joint.values(*_encode(layout, {**columns, **useless}))).all()


def test_copies_of_a_column_have_small_residuals_until_they_differ() -> None:
    rng = np.random.default_rng(21)
    x = rng.normal(size=2000)
    columns: dict[str, NDArray[Any]] = {
        "x": x,
        "again": x.copy(),
        "miles": 3.0 - 1.6 * x,
        "level": np.where(x > 0, "up", "down").astype(object),
        "level2": np.where(x > 0, "hi", "lo").astype(object),
    }
    layout, joint = _built(columns)
    found = joint.values(*_encode(layout, columns))
    assert min(joint.r2.values()) > 0.99
    assert np.abs(found[:, :-1]).max() < 0.05
    columns["again"] = rng.permutation(x)
    columns["level"] = rng.permutation(columns["level"])
    moved = joint.values(*_encode(layout, columns))
    for name in ("again", "level"):
        assert np.abs(moved[:, joint.names.index(RESIDUAL + name)]).mean() > 0.5


def test_independent_features_have_no_residual() -> None:
    rng = np.random.default_rng(22)
    for n in (300, 1000, 20_000):
        columns: dict[str, NDArray[Any]] = {f"x{i}": rng.normal(size=n) for i in range(20)}
        names = np.array([f"k{i}" for i in range(12)], dtype=object)
        columns |= {f"c{i}": names[rng.integers(0, 12, n)] for i in range(10)}
        _, joint = _built(columns)
        # by chance one may seem to be predicted where there are few rows
        assert len(joint.names) <= 1 + (3 if n < 20_000 else 0)


def test_nothing_to_relate_gives_nothing() -> None:
    rng = np.random.default_rng(23)
    x = rng.normal(size=1000)
    assert _build({"x": x[:299], "y": x[:299]})[1] is None
    assert _build({"x": x})[1] is None
    assert _build({"x": x, "y": np.zeros(1000)})[1] is None
    assert _build({"x": x[:300], "y": x[:300]})[1] is not None


def test_of_many_features_those_best_explained_are_kept() -> None:
    rng = np.random.default_rng(24)
    cause = rng.normal(size=1000)
    columns = {f"noise{i}": rng.normal(size=1000) for i in range(1200)}
    columns |= {f"related{i}": cause + rng.normal(size=1000) for i in range(12)}
    layout, joint = _built(columns, most=12)
    assert set(joint.r2) == {f"related{i}" for i in range(12)}
    assert joint.values(*_encode(layout, columns)).shape == (1000, 13)
