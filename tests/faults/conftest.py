"""A clean environment for every fault; scikit-learn and the servers watched on request."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# with `--import-mode=importlib` pytest adds nothing to the path by itself
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def watched() -> Iterator[None]:
    """Have scikit-learn and the servers watched, as under `opentelemetry-instrument`."""
    from otel_ml.capture import MLInstrumentor

    MLInstrumentor().instrument()
    yield
    MLInstrumentor().uninstrument()
