"""A data set and a model family in, a trained model with its importances out, kept in a cache."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.data import Columns, Table, load
from benchmarks.detection.places import cache_folder

FAMILIES: Final = ("linear", "boosting")
_FORMAT: Final = 4


@dataclass
class Model:
    """A model over columns as they are served: unknown categories and words are missing to it."""

    table: Table
    family: str
    estimator: Any = None
    levels: dict[str, list[str]] = field(default_factory=dict)
    middle: dict[str, tuple[float, float]] = field(default_factory=dict)

    def fit(self) -> Model:
        """Train on the rows kept for that."""
        from sklearn import ensemble, linear_model

        table = self.table
        for name in table.categorical:
            values, counts = np.unique(
                [v for v in table.train[name] if v is not None], return_counts=True
            )
            self.levels[name] = values[np.argsort(-counts)][:60].tolist()
        for name in table.numeric:
            held = table.train[name]
            self.middle[name] = (float(np.nanmedian(held)), float(np.nanstd(held)) or 1.0)
        binary = table.task == "binary"
        if self.family == "linear":
            self.estimator = (
                linear_model.LogisticRegression(solver="newton-cholesky")
                if binary
                else linear_model.Ridge(alpha=1.0)
            )
        else:
            kind = (
                ensemble.HistGradientBoostingClassifier
                if binary
                else ensemble.HistGradientBoostingRegressor
            )
            mask = [False] * len(table.numeric) + [True] * len(table.categorical)
            self.estimator = kind(
                max_iter=60, max_leaf_nodes=15, categorical_features=mask, random_state=0
            )
        labels = table.train_labels.astype(np.int64) if binary else table.train_labels
        self.estimator.fit(self._matrix(table.train), labels)
        return self

    def predict(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Return the probability of the positive class, or the value, of each row."""
        found = self.estimator
        matrix = self._matrix(columns)
        if self.table.task == "binary":
            return np.asarray(found.predict_proba(matrix)[:, 1])
        return np.asarray(found.predict(matrix))

    def _matrix(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        import pandas as pd

        n = len(next(iter(columns.values())))
        numbers = np.full((n, len(self.table.numeric)), np.nan)
        for j, name in enumerate(self.table.numeric):
            held = columns.get(name)
            if held is not None:
                if held.dtype == object:
                    held = pd.to_numeric(pd.Series(held), errors="coerce").to_numpy()
                numbers[:, j] = held
        codes = np.full((n, len(self.table.categorical)), -1, dtype=np.int64)
        for j, name in enumerate(self.table.categorical):
            if name in columns:
                codes[:, j] = pd.Index(self.levels[name]).get_indexer(pd.Index(columns[name]))
        if self.family == "boosting":
            return np.column_stack([numbers, np.where(codes < 0, np.nan, codes)])
        parts = []
        for j, name in enumerate(self.table.numeric):
            middle, spread = self.middle[name]
            filled = np.where(np.isfinite(numbers[:, j]), numbers[:, j], middle)
            parts.append((filled - middle)[:, None] / spread)
        for j, name in enumerate(self.table.categorical):
            parts.append(
                (codes[:, j][:, None] == np.arange(len(self.levels[name]))).astype(np.float64)
            )
        return np.concatenate(parts, axis=1)


@dataclass(frozen=True)
class Case:
    """A data set with a model on it.

    Parameters
    ----------
    name
        ``data set-family``.
    table, model
        Both of them.
    importance
        Mean absolute change of the output when a column is shuffled, by column.
    """

    name: str
    table: Table
    model: Model
    importance: dict[str, float]


@cache
def case(name: str) -> Case:
    """Return a case such as ``acs-linear``, trained once and read from the cache afterwards."""
    path = cache_folder() / f"{name}-{_FORMAT}.pkl"
    if path.is_file():
        made = pickle.loads(path.read_bytes())  # written by this function only
        assert isinstance(made, Case)
        return made
    dataset, _, family = name.partition("-")
    table = load(dataset)
    model = Model(table, family).fit()
    made = Case(name, table, model, _importance(table, model))
    part = path.with_suffix(f".{np.random.default_rng().integers(1 << 30)}")
    part.write_bytes(pickle.dumps(made))
    part.replace(path)
    return made


def _importance(table: Table, model: Model) -> dict[str, float]:
    rng = np.random.default_rng(1)
    rows: Columns = {k: v[:4000] for k, v in table.pool.items()}
    plain = model.predict(rows)
    found = {}
    for name, held in rows.items():
        moved = model.predict({**rows, name: rng.permutation(held)})
        found[name] = float(np.abs(moved - plain).mean())
    return found


CASES: Final = (
    "acs-linear",
    "flights-boosting",
    "crash-linear",
    "diamonds-boosting",
    "acs-boosting",
    "flights-linear",
    "crash-boosting",
    "diamonds-linear",
)
