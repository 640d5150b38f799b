"""A row in, the next of many answers out: a model that computes nothing, with and without otel-ml.

They are in a module of their own because a class of ``__main__`` is wrapped in another way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from benchmarks.cost.predictions import CLASSES, NAMES, Answers

__all__ = ["BY_HAND", "WATCHED", "Plain", "Watched"]

WATCHED = "Watched"
BY_HAND = "by hand"


class Plain:
    """Answers, and nobody looks."""

    def __init__(self, answers: Answers) -> None:
        self.classes_ = np.array(CLASSES)
        self.feature_names_in_ = np.array(NAMES, dtype=object)
        self.answers = answers

    def predict(self, X: Any) -> Any:
        """Return a class, shape ``(1,)``."""
        return next(self.answers.classes)

    def predict_proba(self, X: Any) -> Any:
        """Return the probabilities of both classes, shape ``(1, 2)``."""
        return next(self.answers.probabilities)


class Watched(BaseEstimator):  # type: ignore[misc]  # untyped
    """The same as an estimator, which otel-ml instruments."""

    def __init__(self, answers: Answers) -> None:
        self.classes_ = np.array(CLASSES)
        self.feature_names_in_ = np.array(NAMES, dtype=object)
        self.answers = answers

    def predict(self, X: Any) -> Any:
        """Return a class, shape ``(1,)``."""
        return next(self.answers.classes)

    def predict_proba(self, X: Any) -> Any:
        """Return the probabilities of both classes, shape ``(1, 2)``."""
        return next(self.answers.probabilities)
