from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml.errors import DataError
from otel_ml.stats.groups import max_difference, min_ratio, versus_rest
from otel_ml.stats.rates import RATES, fraction, one_vs_rest, rate


def test_rates_without_a_library_to_compare_with() -> None:
    counts = {"tp": [3, 0], "fp": [1, 2], "fn": [4, 0], "tn": [5, 0]}
    np.testing.assert_allclose(rate("base_rate", **counts), [7 / 13, 0])
    np.testing.assert_allclose(rate("negative_predictive_value", **counts), [5 / 9, np.nan])


def test_the_names_telemetry_uses_are_here() -> None:
    for name in (
        "accuracy",
        "error_rate",
        "precision",
        "recall",
        "f1",
        "selection_rate",
        "true_positive_rate",
        "false_positive_rate",
        "positive_predictive_value",
    ):
        assert name in RATES


@pytest.mark.fault("B14")
@pytest.mark.parametrize("name", sorted(RATES))
def test_undefined_where_there_is_nothing_to_divide_by(name: str) -> None:
    assert math.isnan(float(rate(name, 0, 0, 0, 0)))
    k, n = fraction(name, 0, 0, 0, 0)
    assert (float(k), float(n)) == (0, 0)


_n = st.integers(0, 1000)


@settings(max_examples=100)
@given(st.lists(st.tuples(_n, _n, _n, _n), min_size=1, max_size=5), st.randoms())
def test_invariants(rows: list[tuple[int, int, int, int]], random: Any) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    for name, row in RATES.items():
        found = rate(name, *np.array(rows).T)
        known = found[~np.isnan(found)]
        assert np.all((known >= 0) & (known <= 1))
        k, n = fraction(name, *np.array(rows).T)
        assert np.all(k <= n)
        assert row.binomial == (name != "f1")
        other = rate(name, *np.array(shuffled).T)
        for measure in (max_difference, min_ratio):
            np.testing.assert_array_equal(measure(found), measure(other))
            assert not float(measure(found)) < 0
            assert not float(measure(found)) > 1
        group, rest = versus_rest(name, *np.array(rows).T)
        np.testing.assert_array_equal(group.k + rest.k, np.full(len(rows), k.sum()))
        np.testing.assert_array_equal(group.n + rest.n, np.full(len(rows), n.sum()))


def test_groups_without_a_rate_are_left_out() -> None:
    nan = math.nan
    for rates, difference, ratio in (
        ([0.5], nan, nan),
        ([0.5, nan], nan, nan),
        ([nan, nan], nan, nan),
        ([], nan, nan),
        ([0.5, 0.5], 0.0, 1.0),
        ([0.0, 0.5], 0.5, 0.0),
        ([0.0, 0.0], 0.0, nan),
    ):
        np.testing.assert_array_equal(max_difference(rates), difference)
        np.testing.assert_array_equal(min_ratio(rates), ratio)
    stacked = np.array([[0.1, 0.4], [nan, 0.4]])
    np.testing.assert_allclose(max_difference(stacked), [0.3, nan])


def test_one_class_against_the_others_against_sklearn() -> None:
    rng = np.random.default_rng(4)
    labels, predictions = rng.integers(0, 4, 500), rng.integers(0, 4, 500)
    matrix = np.zeros((4, 4))
    np.add.at(matrix, (predictions, labels), 1)
    found = one_vs_rest(matrix)
    oracle = sk.multilabel_confusion_matrix(labels, predictions)
    np.testing.assert_array_equal(found.tn, oracle[:, 0, 0])
    np.testing.assert_array_equal(found.fp, oracle[:, 0, 1])
    np.testing.assert_array_equal(found.fn, oracle[:, 1, 0])
    np.testing.assert_array_equal(found.tp, oracle[:, 1, 1])
    assert one_vs_rest(np.zeros((3, 2, 2))).tp.shape == (3, 2)


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match="there is no rate 'luck'"):
        rate("luck", 1, 1, 1, 1)
    with pytest.raises(DataError, match="negative or not finite"):
        rate("recall", -1, 1, 1, 1)
    with pytest.raises(DataError, match="negative or not finite"):
        rate("recall", 1, 1, math.nan, 1)
    with pytest.raises(DataError, match="not square"):
        one_vs_rest([[1, 2]])
