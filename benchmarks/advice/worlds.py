"""Three data sets in: people (ACS), loans (generated), cells (scikit-learn's breast cancer data).

Out: rows drawn without change, a model of them, and which columns can be asked for a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.types import FloatArray, IntArray

Columns = Mapping[str, NDArray[Any]]
POOL: Final = 24_000
TRAINING: Final = 5_000


@dataclass(frozen=True)
class World:
    """One data set with its model.

    Parameters
    ----------
    name
        For the table.
    columns
        Features of the pool of rows, shape ``(n,)`` each.
    labels
        0 or 1, shape ``(n,)``.
    numeric, categorical
        Names of the features.
    sensitive
        Feature by which performance is watched.
    predict
        Columns in, scores out.
    """

    name: str
    columns: Columns
    labels: IntArray
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    sensitive: str
    predict: Callable[[Columns], FloatArray]

    def take(self, rows: IntArray) -> dict[str, NDArray[Any]]:
        """Return copies of some rows."""
        return {name: column[rows].copy() for name, column in self.columns.items()}

    @property
    def n(self) -> int:
        """Rows of the pool."""
        return len(self.labels)


def _model(columns: Columns, labels: IntArray, linear: bool) -> Callable[[Columns], FloatArray]:
    """Train on the first rows; a category is its number in order of frequency, unknown is -1."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    codes: dict[str, dict[str, int]] = {}
    fill: dict[str, float] = {}
    scale: dict[str, tuple[float, float]] = {}
    for name, column in columns.items():
        if column.dtype == object:
            known, counts = np.unique(column.astype(str), return_counts=True)
            codes[name] = {str(known[i]): k for k, i in enumerate(np.argsort(-counts))}
        else:
            fill[name] = float(np.nanmedian(column))
            scale[name] = float(np.nanmean(column)), float(np.nanstd(column)) or 1.0

    def matrix(data: Columns) -> FloatArray:
        out = []
        for name in columns:
            if name in codes:
                out.append([float(codes[name].get(str(v), -1)) for v in data[name].tolist()])
            else:
                values = np.array([_float(v) for v in data[name].tolist()])
                values = np.where(np.isfinite(values), values, fill[name])
                out.append(((values - scale[name][0]) / scale[name][1]).tolist())
        return np.array(out).T

    train = {name: column[:TRAINING] for name, column in columns.items()}
    model: Any
    if linear:
        model = LogisticRegression(max_iter=500, C=0.3)
    else:
        model = HistGradientBoostingClassifier(max_iter=60, random_state=0)
    model.fit(matrix(train), labels[:TRAINING])
    return lambda data: np.asarray(model.predict_proba(matrix(data))[:, 1], dtype=np.float64)


def _float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _text(values: NDArray[Any]) -> NDArray[Any]:
    return np.array([f"{v:g}" if isinstance(v, float) else str(v) for v in values.tolist()], object)


@cache
def people() -> World:
    """Return the people of the demo's data: who has work is asked."""
    from otel_ml.demo.data import COLUMNS, NUMERIC, example_folder, read_people

    found = read_people(example_folder(), rows=POOL, seed=11)
    mixed = np.random.default_rng(1).permutation(len(found))
    columns: dict[str, NDArray[Any]] = {}
    for i, name in enumerate(COLUMNS):
        column = found.features[mixed, i]
        columns[name] = column if name in NUMERIC else _text(column)
    labels = found.labels[mixed].astype(np.int64)
    cats = tuple(c for c in COLUMNS if c not in NUMERIC)
    return World(
        "people", columns, labels, tuple(NUMERIC), cats, "SEX", _model(columns, labels, False)
    )


@cache
def loans() -> World:
    """Return generated applications for loans: who pays late is asked."""
    rng = np.random.default_rng(2)
    n = POOL
    channel = rng.choice(["web", "branch", "partner", "phone"], n, p=[0.5, 0.25, 0.15, 0.1])
    region = rng.choice(list("ABCDEF"), n, p=[0.3, 0.25, 0.2, 0.12, 0.08, 0.05])
    age = np.clip(rng.gamma(9, 5, n) + 6 * (channel == "branch"), 18, 95)
    income = np.exp(rng.normal(7.8, 0.5, n) + 0.006 * (age - 45) + 0.2 * (region == "A"))
    amount = income * np.exp(rng.normal(0.4, 0.6, n))
    months = rng.choice([12.0, 24.0, 36.0, 48.0, 60.0, 84.0], n, p=[0.1, 0.2, 0.3, 0.2, 0.15, 0.05])
    debt = rng.beta(2, 5, n) * 100 + 4 * np.log(amount / income)
    since = np.maximum(rng.exponential(60, n) * age / 45, 0.0)
    balance = rng.normal(120, 260, n) + 0.05 * income
    job = np.where(
        rng.random(n) < 0.1 + 0.2 * (age > 60),
        "retired",
        rng.choice(["clerk", "worker", "self", "public"], n, p=[0.4, 0.3, 0.1, 0.2]),
    )
    sex = rng.choice(["f", "m"], n)
    risk = 0.9 * np.log(amount / income) + 0.03 * (debt - 28) - 0.02 * (age - 45)
    risk += 0.5 * (channel == "partner") - 0.004 * since - 0.0015 * balance + 0.4 * (job == "self")
    labels = (rng.random(n) < 1 / (1 + np.exp(-(risk - 0.6) * 1.5))).astype(np.int64)
    numeric = {"age": age, "income": income, "amount": amount, "months": months}
    numeric |= {"debt": debt, "since": since, "balance": balance}
    text = {"channel": channel, "region": region, "job": job, "sex": sex}
    columns: dict[str, NDArray[Any]] = {k: v.astype(np.float64) for k, v in numeric.items()}
    columns |= {k: v.astype(object) for k, v in text.items()}
    return World(
        "loans", columns, labels, tuple(numeric), tuple(text), "sex", _model(columns, labels, True)
    )


@cache
def cells() -> World:
    """Return measured cells, drawn with a little noise: whether they are malignant is asked."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    rng = np.random.default_rng(3)
    drawn = rng.integers(0, len(data.target), POOL)
    columns: dict[str, NDArray[Any]] = {}
    for i in (0, 1, 4, 5, 8, 9, 10, 27):
        values = data.data[:, i]
        noise = rng.normal(0, 0.15 * values.std(), POOL)
        columns[str(data.feature_names[i]).replace(" ", "_")] = np.abs(values[drawn] + noise)
    size = data.data[drawn, 3] + rng.normal(0, 120, POOL)
    site = rng.choice(["left", "right"], POOL)
    stage = np.array(["I", "II", "III", "IV"])[np.digitize(size, [420, 650, 1000])]
    lab = rng.choice(["north", "south", "east"], POOL, p=[0.5, 0.3, 0.2])
    numeric = tuple(columns)
    columns |= {"stage": stage.astype(object), "lab": lab.astype(object)}
    columns |= {"site": site.astype(object)}
    labels = (data.target[drawn] == 0).astype(np.int64)
    labels ^= (rng.random(POOL) < 0.06).astype(np.int64)
    return World(
        "cells",
        columns,
        labels,
        numeric,
        ("stage", "lab", "site"),
        "site",
        _model(columns, labels, False),
    )


WORLDS: Final[Mapping[str, Callable[[], World]]] = {
    "people": people,
    "loans": loans,
    "cells": cells,
}
