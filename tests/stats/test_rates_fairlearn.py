from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk

from otel_ml.stats.groups import max_difference, min_ratio
from otel_ml.stats.rates import RATES, rate

fl = pytest.importorskip("fairlearn.metrics", reason="fairlearn needs Python 3.11")

ORACLES: dict[str, Callable[..., Any]] = {
    "accuracy": sk.accuracy_score,
    "error_rate": sk.zero_one_loss,
    "selection_rate": fl.selection_rate,
    "true_positive_rate": fl.true_positive_rate,
    "recall": sk.recall_score,
    "false_negative_rate": fl.false_negative_rate,
    "false_positive_rate": fl.false_positive_rate,
    "true_negative_rate": fl.true_negative_rate,
    "precision": sk.precision_score,
    "positive_predictive_value": sk.precision_score,
    "f1": sk.f1_score,
}


def _rows(seed: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    groups = rng.choice(["a", "b", "c"], size=300, p=[0.6, 0.3, 0.1])
    labels = (rng.random(300) < np.where(groups == "a", 0.6, 0.3)).astype(int)
    predictions = np.where(rng.random(300) < 0.8, labels, 1 - labels)
    return labels, predictions, groups


def _counts(labels: Any, predictions: Any, groups: Any) -> dict[str, Any]:
    names = sorted(set(groups))
    return {
        "tp": [int(((predictions == 1) & (labels == 1) & (groups == g)).sum()) for g in names],
        "fp": [int(((predictions == 1) & (labels == 0) & (groups == g)).sum()) for g in names],
        "fn": [int(((predictions == 0) & (labels == 1) & (groups == g)).sum()) for g in names],
        "tn": [int(((predictions == 0) & (labels == 0) & (groups == g)).sum()) for g in names],
    }


@pytest.mark.parametrize("name", sorted(ORACLES))
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_rates_of_groups_against_fairlearn(name: str, seed: int) -> None:
    labels, predictions, groups = _rows(seed)
    frame = fl.MetricFrame(
        metrics=ORACLES[name], y_true=labels, y_pred=predictions, sensitive_features=groups
    )
    found = rate(name, **_counts(labels, predictions, groups))
    np.testing.assert_allclose(found, frame.by_group.to_numpy(dtype=float), rtol=1e-12)
    assert float(max_difference(found)) == pytest.approx(frame.difference(), rel=1e-12)
    assert float(min_ratio(found)) == pytest.approx(frame.ratio(), rel=1e-12)


def test_every_rate_has_an_oracle() -> None:
    by_hand = {"base_rate", "negative_predictive_value"}  # in test_rates.py
    assert set(RATES) == {*ORACLES, *by_hand}
