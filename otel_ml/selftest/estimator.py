"""A seed in, a small trained scikit-learn model out: what the throw-away application serves."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["trained"]


def trained(columns: int, seed: int) -> Any:
    """Train a classifier on noise; its answers only have to be the same with and without otel-ml.

    Parameters
    ----------
    columns
        Features.
    seed
        Of the data.
    """
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(seed)
    data = rng.normal(size=(400, columns))
    return LogisticRegression().fit(data, data[:, 0] + rng.normal(size=400) > 0)
