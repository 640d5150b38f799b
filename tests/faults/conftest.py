"""A clean environment for every fault, and examples that are many only when asked for."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# with `--import-mode=importlib` pytest adds nothing to the path by itself
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

settings.register_profile(
    "otel-ml-long",
    deadline=None,
    max_examples=2_000,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
