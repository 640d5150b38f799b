"""Fixtures for pytest: a pipeline that keeps its telemetry, and a receiver of OTLP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from otel_ml.emit import Receiver
    from otel_ml.testing import MemoryPipeline

__all__ = ["otel_ml_pipeline", "otel_ml_receiver"]


@pytest.fixture
def otel_ml_pipeline() -> Iterator[MemoryPipeline]:
    """Put a pipeline in force whose telemetry stays in its `sink`; `flush` it, then look.

    Settings are read anew, so variables must be set before: ask for ``monkeypatch`` first.
    """
    from otel_ml import config, pipeline
    from otel_ml.testing import MemoryPipeline

    config.reset()
    running = MemoryPipeline()
    before = pipeline.replace(running)
    yield running
    pipeline.replace(before)
    running.shutdown(10.0)
    config.reset()


@pytest.fixture
def otel_ml_receiver() -> Iterator[Receiver]:
    """Run a receiver of OTLP over HTTP on a free port."""
    from otel_ml.emit import Receiver

    with Receiver() as running:
        yield running
