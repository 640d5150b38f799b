"""Train the model that `app.py` serves, and write it beside it."""

from __future__ import annotations

from pathlib import Path

import joblib
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def train(path: Path) -> None:
    """Fit on the Wisconsin breast cancer data, which scikit-learn carries, and save."""
    features, target = load_breast_cancer(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(features, target)
    joblib.dump(model, path)


if __name__ == "__main__":
    train(Path(__file__).with_name("tumour.joblib"))
