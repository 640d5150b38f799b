"""Effects learned from scores alone agree with what shuffling features does to the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression

from otel_ml.profile.cells import CategoryCells, NumericCells
from otel_ml.profile.features import sensitivities
from otel_ml.profile.profile import Layout
from otel_ml.profile.surrogate import as_measured, fit_effects, sensitivities_of
from otel_ml.types import FloatArray

Columns = dict[str, NDArray[Any]]
IGNORED = ("twin_of_a", "twin_of_d", "twin_of_city", "unrelated")
CITIES = np.array(["p", "q", "r", "s", "t"], dtype=object)


def _columns(n: int, seed: int) -> Columns:
    rng = np.random.default_rng(seed)
    a, d = rng.normal(size=n), rng.normal(size=n)
    city = rng.integers(0, 5, n)
    other = np.where(rng.random(n) < 0.4, rng.integers(0, 5, n), city)
    return {
        "a": a,
        "twin_of_a": 0.8 * a + 0.6 * rng.normal(size=n),
        "d": d,
        "twin_of_d": 0.9 * d + 0.44 * rng.normal(size=n),
        "income": np.exp(rng.normal(size=n)),
        "city": CITIES[city],
        "twin_of_city": CITIES[other],
        "unrelated": rng.normal(size=n),
    }


def _matrix(columns: Mapping[str, NDArray[Any]]) -> FloatArray:
    """The features the models use; they never see the others."""
    cities = [(columns["city"] == c).astype(float) for c in CITIES]
    return np.column_stack([columns["a"], columns["d"], columns["income"], *cities])


def _truth(columns: Columns) -> FloatArray:
    city = np.select([columns["city"] == c for c in "qr"], [0.8, -0.6], 0.0)
    return np.asarray(
        1.5 * columns["a"] + columns["d"] + 0.4 * np.log(columns["income"]) + city - 0.5
    )


Scorer = Callable[[Mapping[str, NDArray[Any]]], FloatArray]
_MODELS: dict[str, Callable[[], Any]] = {
    "logistic": lambda: LogisticRegression(max_iter=500),
    "boosting": lambda: HistGradientBoostingClassifier(random_state=0),
    "forest": lambda: RandomForestClassifier(40, min_samples_leaf=5, random_state=0),
    "regression": lambda: HistGradientBoostingRegressor(random_state=0),
}


@cache
def _scorer(kind: str) -> Scorer:
    train = _columns(6000, 1)
    rng = np.random.default_rng(2)
    model = _MODELS[kind]()
    if kind == "regression":
        model.fit(_matrix(train), 5 * _truth(train) + rng.normal(size=6000))
        return lambda columns: np.asarray(model.predict(_matrix(columns)))
    label = rng.random(6000) < 1 / (1 + np.exp(-_truth(train)))
    model.fit(_matrix(train), label)
    return lambda columns: np.asarray(model.predict_proba(_matrix(columns))[:, 1])


def _encode(columns: Columns) -> tuple[Layout, NDArray[np.int16], FloatArray]:
    layout = Layout(
        tuple(
            CategoryCells.build(n, c) if c.dtype.kind == "O" else NumericCells.build(n, c)
            for n, c in columns.items()
        )
    )
    codes = np.empty((len(next(iter(columns.values()))), len(columns)), dtype=np.int16)
    values = np.full(codes.shape, np.nan)
    for j, cells in enumerate(layout.sources):
        codes[:, j], found = cells.codes(columns[cells.name])
        if found is not None:
            values[:, j] = found
    return layout, codes, values


def _laws(layout: Layout, codes: NDArray[np.int16]) -> dict[str, FloatArray]:
    return {
        cells.name: np.bincount(codes[:, j], minlength=cells.size) / len(codes)
        for j, cells in enumerate(layout.sources)
    }


@pytest.mark.parametrize("kind", _MODELS)
def test_used_features_rank_as_by_permutation_and_ignored_ones_stay_ignored(kind: str) -> None:
    columns = _columns(20_000, 3)
    predict = _scorer(kind)
    score = predict(columns)
    layout, codes, values = _encode(columns)
    laws = _laws(layout, codes)
    wanted = sensitivities(columns, predict)
    unit = float(score.max() - score.min())
    ranked = sorted(wanted, key=lambda name: -wanted[name])[:4]
    # without values, part of the response within a cell goes to a correlated feature
    for given, most in ((values, 0.002), (None, 0.012)):
        effects = fit_effects(layout, list(columns), codes, score, given)
        found = sensitivities_of(effects, laws)
        assert max(found[name] for name in IGNORED) < most * unit
        assert found["unrelated"] < 0.0005 * unit
        in_order = sorted(found, key=lambda name: -found[name])[:4]
        assert in_order[:2] == ranked[:2] == ["a", "d"]
        assert set(in_order) == set(ranked)
        for name in ranked:
            assert 0.65 * wanted[name] < found[name] < 1.1 * wanted[name]


def test_a_logistic_model_is_described_exactly_up_to_its_cells() -> None:
    columns = _columns(20_000, 4)
    predict = _scorer("logistic")
    layout, codes, values = _encode(columns)
    effects = fit_effects(layout, list(columns), codes, predict(columns), values)
    j = layout.index["city"]
    categories = layout.sources[j].labels[:5]
    means = np.array(
        [predict({**columns, "city": np.full(20_000, c, dtype=object)}).mean() for c in categories]
    )
    law = _laws(layout, codes)["city"][:5]
    np.testing.assert_allclose(effects["city"][:5], means - law @ means, atol=0.004)


def test_effects_have_mean_zero_and_cells_without_rows_have_none() -> None:
    columns = _columns(5000, 5)
    layout, codes, values = _encode(columns)
    effects = fit_effects(layout, list(columns), codes, _scorer("forest")(columns), values)
    for name, law in _laws(layout, codes).items():
        assert effects[name].shape == law.shape
        assert abs(law @ effects[name]) < 1e-9
        assert not effects[name][law == 0].any()
        assert np.isfinite(effects[name]).all()


def test_sensitivity_is_the_mean_difference_of_two_draws() -> None:
    rng = np.random.default_rng(7)
    effect, law = rng.normal(size=9), rng.dirichlet(np.ones(9))
    by_hand = float((law[:, None] * law * np.abs(effect[:, None] - effect)).sum())
    found = sensitivities_of({"x": effect, "y": effect}, {"x": 1000 * law})
    assert found["x"] == pytest.approx(by_hand)
    assert found["y"] == 0.0


def test_noise_is_not_taken_for_an_effect() -> None:
    rng = np.random.default_rng(8)
    found = []
    for _ in range(12):
        columns = {f"x{i}": rng.normal(size=3000) for i in range(10)}
        layout, codes, values = _encode(columns)
        effects = fit_effects(layout, list(columns), codes, 0.2 * rng.normal(size=3000), values)
        found += list(sensitivities_of(effects, _laws(layout, codes)).values())
    assert np.median(found) == 0.0  # of 120 features that no score depends on
    assert max(found) < 0.01


def test_rows_without_a_score_are_left_out() -> None:
    columns = _columns(4000, 9)
    score = _scorer("logistic")(columns)
    kept = np.arange(4000) % 2 == 0
    layout, codes, values = _encode(columns)
    scored = np.where(kept, score, [np.nan, np.inf] * 2000)
    some = fit_effects(layout, list(columns), codes, scored, values)
    alone = fit_effects(layout, list(columns), codes[kept], score[kept], values[kept])
    for name in columns:
        np.testing.assert_array_equal(some[name], alone[name])


def test_copies_of_a_feature_share_its_effect() -> None:
    rng = np.random.default_rng(10)
    x, y = rng.normal(size=(2, 5000))
    columns: Columns = {"x": x, "copy": x.copy(), "y": y}
    layout, codes, values = _encode(columns)
    effects = fit_effects(layout, list(columns), codes, x + 0.3 * y, values)
    np.testing.assert_allclose(effects["x"], effects["copy"], atol=1e-3)
    found = sensitivities_of(effects, _laws(layout, codes))
    assert found["x"] + found["copy"] == pytest.approx(2 / np.sqrt(np.pi), rel=0.05)


def test_with_more_columns_than_rows_allow_each_feature_has_one() -> None:
    rng = np.random.default_rng(11)
    x = rng.normal(size=(1500, 60))
    x[:, 1] = 0.7 * x[:, 0] + 0.7 * x[:, 1]
    columns = {f"x{i}": x[:, i] for i in range(60)}
    layout, codes, values = _encode(columns)
    score = 1 / (1 + np.exp(-x[:, 0] - 0.5 * x[:, 2]))
    found = sensitivities_of(
        fit_effects(layout, list(columns), codes, score, values), _laws(layout, codes)
    )
    assert sorted(found, key=lambda name: -found[name])[:2] == ["x0", "x2"]
    assert found["x0"] > 0.15
    assert max(v for n, v in found.items() if n not in ("x0", "x2")) < 0.01


@pytest.mark.parametrize("score", [0.5, np.nan])
def test_scores_that_say_nothing_give_no_effects(score: float) -> None:
    columns = _columns(500, 12)
    layout, codes, values = _encode(columns)
    effects = fit_effects(layout, [*columns, "gone"], codes, np.full(500, score), values)
    assert set(effects) == set(columns)
    assert not any(effect.any() for effect in effects.values())
    assert fit_effects(layout, [], codes, np.linspace(0, 1, 500)) == {}


def test_features_without_information_have_no_effect() -> None:
    columns = _columns(3000, 13)
    rng = np.random.default_rng(14)
    columns |= {
        "constant": np.full(3000, 4.0),
        "empty": np.full(3000, np.nan),
        "one": np.full(3000, "same", dtype=object),
        "huge": 1e307 * rng.normal(size=3000),
    }
    layout, codes, values = _encode(columns)
    codes[:, layout.index["empty"]] = -1  # the batch did not have it at all
    effects = fit_effects(layout, list(columns), codes, _scorer("logistic")(columns), values)
    for name in ("constant", "empty", "one"):
        assert not effects[name].any()
    assert np.abs(effects["huge"]).max() < 0.05


def test_effects_take_the_size_that_was_measured_on_the_model() -> None:
    effects = {"a": np.array([-1.0, 1.0]), "b": np.array([0.0, 0.0]), "c": np.array([0.5, -0.5])}
    learned = {"a": 0.5, "b": 0.0, "c": 0.25}
    sized = as_measured(effects, learned, {"a": 1.0, "b": 0.3})
    np.testing.assert_array_equal(sized["a"], [-2.0, 2.0])
    assert "b" not in sized  # used by the model, but the rows do not show how
    np.testing.assert_array_equal(sized["c"], effects["c"])  # nothing measured
