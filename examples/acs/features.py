"""What training and serving share: the columns, reading them, the feature store's step."""

from __future__ import annotations

import gzip
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

COLUMNS = (
    "AGEP", "SCHL", "MAR", "RELP", "DIS", "ESP", "CIT", "MIG",
    "MIL", "ANC", "NATIVITY", "DEAR", "DEYE", "DREM", "SEX", "RAC1P",
)  # fmt: skip
NUMERIC = ("AGEP", "SCHL")
LABEL = "employed"


def read_csv(path: Path) -> dict[str, NDArray[np.float64]]:
    """Return the columns of the compact copy by name."""
    with gzip.open(path, "rt", encoding="ascii") as lines:
        names = lines.readline().strip().split(",")
        table = np.loadtxt(lines, delimiter=",", dtype=np.float64)
    return {name: table[:, i] for i, name in enumerate(names)}


class FeatureStoreLookup(BaseEstimator, TransformerMixin):  # type: ignore[misc]
    """First step of the model: asks the feature store, and passes the rows on as they are.

    The store is simulated: its latency in milliseconds stands in the file named by
    ``FEATURE_STORE_LATENCY_FILE``, so that it can degrade while the server runs.
    """

    _reread_seconds = 0.05
    _read_at = -1.0
    _latency = 0.0

    def fit(self, X: Any, y: Any = None) -> FeatureStoreLookup:
        """Learn nothing."""
        self.n_features_in_ = np.shape(X)[1]
        return self

    def transform(self, X: Any) -> Any:
        """Return `X` once the store has answered."""
        latency = self._current_latency()
        if latency > 0:
            time.sleep(latency)
        return X

    def _current_latency(self) -> float:
        path = os.environ.get("FEATURE_STORE_LATENCY_FILE")
        if not path:
            return 0.0
        now = time.monotonic()
        if now - self._read_at >= self._reread_seconds:
            self._read_at = now
            try:
                self._latency = float(Path(path).read_text() or 0) / 1000
            except FileNotFoundError:
                self._latency = 0.0
        return self._latency

    def __getstate__(self) -> dict[str, Any]:
        # What was read on this machine is no part of the model.
        state: dict[str, Any] = super().__getstate__()
        return {key: state[key] for key in state if key not in ("_read_at", "_latency")}
