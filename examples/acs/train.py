"""Train the example's model: in, the people of 2015; out, two model files and a reference table.

    python train.py OUTPUT_FOLDER

``model.joblib`` is the good model and ``model-v2.joblib`` one that should never have been rolled
out: its training data had most people without work removed to "balance" them, and nobody corrected
the scores, so everybody looks more likely to be employed. ``training.npz`` holds what a monitor
needs to know of the training data: features, labels, out-of-fold scores (the model's scores on
rows it was fitted to would flatter it), and how much the score depends on each feature.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from features import COLUMNS, LABEL, FeatureStoreLookup, read_csv
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import Pipeline

DATA = Path(__file__).resolve().parent / "acs_employment_ma.csv.gz"
YEAR = 2015
KEPT_NEGATIVES = 0.3


def build(seed: int) -> Any:
    """Return the untrained model: the feature store's step, then gradient-boosted trees."""
    trees = HistGradientBoostingClassifier(max_iter=40, learning_rate=0.2, random_state=seed)
    return Pipeline([("lookup", FeatureStoreLookup()), ("model", trees)])


def sensitivity(
    model: Any, features: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return how far the score moves, on average, when a column is shuffled, shape (columns,)."""
    base = model.predict_proba(features)[:, 1]
    moved = []
    for column in range(features.shape[1]):
        shuffled = features.copy()
        shuffled[:, column] = rng.permutation(shuffled[:, column])
        moved.append(float(np.abs(model.predict_proba(shuffled)[:, 1] - base).mean()))
    return np.array(moved)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="folder for the files")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    table = read_csv(DATA)
    rows = table["year"] == YEAR
    features = np.column_stack([table[name][rows] for name in COLUMNS])
    labels = table[LABEL][rows].astype(np.int64)

    model = build(arguments.seed)
    # shuffled: in folds of neighbouring rows the scores would look as if they came in long runs
    folds = StratifiedKFold(4, shuffle=True, random_state=0)
    scores = cross_val_predict(model, features, labels, cv=folds, method="predict_proba")[:, 1]
    model.fit(features, labels)
    keep = (labels == 1) | (rng.random(len(labels)) < KEPT_NEGATIVES)
    bad = build(arguments.seed).fit(features[keep], labels[keep])

    arguments.output.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, arguments.output / "model.joblib")
    joblib.dump(bad, arguments.output / "model-v2.joblib")
    np.savez_compressed(
        arguments.output / "training.npz",
        features=features,
        labels=labels,
        scores=scores,
        sensitivity=sensitivity(model, features[:2000], rng),
    )
    accuracy = float(((scores >= 0.5) == labels).mean())
    print(json.dumps({"rows": len(labels), "accuracy": round(accuracy, 4)}))


if __name__ == "__main__":
    main()
