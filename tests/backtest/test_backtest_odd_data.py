"""Data as they are found: none of them end a backtest, and what is wrong with them is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from otel_ml.backtest import run

Make = Callable[..., dict[str, Any]]
Check = Callable[[Any], dict[str, Any]]


def _without(table: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: column for name, column in table.items() if name not in names}


def _mixed(table: dict[str, Any]) -> dict[str, Any]:
    age: list[Any] = table["age"].tolist()
    age[::10] = ["n/a"] * len(age[::10])
    age[1::50] = [None] * len(age[1::50])
    return {**table, "age": np.array([None if v is None else str(v) for v in age], dtype=object)}


ODD: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no rows": lambda t: {name: column[:0] for name, column in t.items()},
    "one row": lambda t: {name: column[:1] for name, column in t.items()},
    "mixed types": _mixed,
    "a column too many": lambda t: {**t, "new": np.arange(len(t["age"]))},
    "a column too few": lambda t: _without(t, "income"),
    "no score": lambda t: _without(t, "p"),
    "no label": lambda t: _without(t, "y"),
    "no features": lambda t: {"p": t["p"], "y": t["y"], "ts": t["ts"]},
    "scores as text": lambda t: {**t, "p": t["p"].astype(str).astype(object)},
    "scores out of range": lambda t: {**t, "p": t["p"] * 300 - 100},
    "scores missing": lambda t: {**t, "p": np.full(len(t["p"]), np.nan)},
    "infinite values": lambda t: {**t, "age": np.where(t["age"] > 30, np.inf, -np.inf)},
    "unknown labels": lambda t: {**t, "y": np.full(len(t["y"]), 7)},
    "text labels": lambda t: {**t, "y": np.full(len(t["y"]), "yes", dtype=object)},
    "equal ids": lambda t: {**t, "rid": np.full(len(t["rid"]), "same", dtype=object)},
    "missing ids": lambda t: {**t, "rid": np.full(len(t["rid"]), None, dtype=object)},
    "backwards": lambda t: {**t, "ts": t["ts"][::-1].copy()},
    "times missing": lambda t: {**t, "ts": np.where(np.arange(len(t["ts"])) % 2, t["ts"], np.nan)},
    "times are no times": lambda t: {**t, "ts": np.full(len(t["ts"]), "soon", dtype=object)},
    "one time far ahead": lambda t: {**t, "ts": np.append(9e10, t["ts"][1:])},
    "unseen groups": lambda t: {**t, "sex": np.full(len(t["sex"]), "x", dtype=object)},
    "nested values": lambda t: {**t, "city": pd.Series([[1, 2]] * len(t["city"])).to_numpy()},
    "dates as features": lambda t: {**t, "income": t["ts"].astype("M8[s]")},
    "booleans": lambda t: {**t, "income": t["income"] > 0},
    "constant": lambda t: {**t, "age": np.zeros(len(t["age"]))},
    "reserved name": lambda t: {**t, "prediction": t["y"], "score": t["p"]},
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
def test_no_data_end_it(made: Make, roles: dict[str, Any], checked: Check, kind: str) -> None:
    data = ODD[kind](made(1200, 2))
    report = run(data, made(2000, 1), **roles)
    assert checked(report)["rows"] == len(next(iter(data.values())))
    assert report.html().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("mixed types", "age"),
        ("a column too few", "income"),
        ("infinite values", "age"),
        ("unseen groups", "sex"),
        ("constant", "age"),
    ],
)
def test_what_is_wrong_with_the_data_is_an_incident(
    made: Make, roles: dict[str, Any], kind: str, target: str
) -> None:
    found = run(ODD[kind](made(3000, 2)), made(4000, 1), **roles).incidents
    targets = {member["target"] for one in found for member in one["members"]}
    assert targets & {target, "schema"}
