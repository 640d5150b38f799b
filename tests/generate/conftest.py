"""The committed dashboards, decoded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

DASHBOARDS = Path(__file__).resolve().parents[2] / "dashboards"
FILES = ("overview.json", "model.json")


@pytest.fixture(params=FILES)
def dashboard(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return one dashboard after the other."""
    decoded: dict[str, Any] = json.loads((DASHBOARDS / request.param).read_text(encoding="utf-8"))
    return decoded
