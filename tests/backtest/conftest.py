"""Small tables of a model with a score, labels, times and groups, with a fault where one asks."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from typing import Any

import jsonschema
import numpy as np
import pytest

Make = Callable[..., dict[str, Any]]
ROLES: dict[str, Any] = {
    "score": "p",
    "label": "y",
    "timestamp": "ts",
    "id": "rid",
    "client": "who",
    "sensitive": ["sex"],
    "false_incidents": "1/100000rows",
    "compare": "",
}


def make(
    rows: int, seed: int, *, shift_at: int | None = None, shift: float = 2.0
) -> dict[str, Any]:
    """Return columns of a calibrated model; from `shift_at` on the feature ``age`` is moved."""
    rng = np.random.default_rng(seed)
    age = rng.normal(40, 10, rows)
    if shift_at is not None:
        age[shift_at:] += shift * 10
    income = rng.normal(0, 1, rows)
    p = 1 / (1 + np.exp(-(age - 40) / 10 - income))
    return {
        "age": age.round(4),
        "income": income.round(4),
        "city": rng.choice(["Oslo", "Kraków", "Bonn"], rows).astype(object),
        "sex": rng.choice(["f", "m"], rows).astype(object),
        "who": np.array([f"c{i % 9}" for i in range(rows)], dtype=object),
        "rid": np.array([f"r{seed}-{i}" for i in range(rows)], dtype=object),
        "ts": 1.7e9 + np.arange(rows) * 60.0,
        "p": p.round(6),
        "y": (rng.random(rows) < p).astype(np.int64),
    }


@pytest.fixture
def roles() -> dict[str, Any]:
    """Return the roles of the columns of `made`, and a budget in rows."""
    return dict(ROLES)


@pytest.fixture(scope="session")
def made() -> Make:
    """Return the function that makes a table."""
    return make


@pytest.fixture(scope="session")
def checked() -> Callable[[Any], dict[str, Any]]:
    """Return a function that checks a report against the schema, and returns its document."""
    text = (resources.files("otel_ml.backtest") / "schema.json").read_text(encoding="utf-8")
    validator = jsonschema.Draft202012Validator(json.loads(text))

    def check(report: Any) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(report.text())
        problems = [f"{list(e.path)}: {e.message}" for e in validator.iter_errors(document)]
        assert not problems, problems[:3]
        assert document == report.to_json()
        return document

    return check
