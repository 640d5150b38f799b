"""A sink that records, settings per test, and instrumentation that is undone afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from otel_ml.capture import MLInstrumentor, _scope
from otel_ml.config import CaptureSettings, Settings
from otel_ml.frame import Frame, captured
from otel_ml.types import Captured


class Recorder:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.calls: list[Captured] = []
        self.skipped: list[tuple[str, int]] = []
        self.shutdowns = 0

    def submit(self, call: Captured | Frame) -> None:
        self.calls.append(captured(call, time.time_ns()) if isinstance(call, list) else call)

    def skip(self, reason: str, n: int = 1) -> None:
        self.skipped.append((reason, n))

    def shutdown(self, timeout: float = 3.0) -> bool:
        self.shutdowns += 1
        return True

    @property
    def methods(self) -> list[str]:
        return [call.method for call in self.calls]

    def clear(self) -> None:
        self.calls.clear()
        self.skipped.clear()


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    sink = Recorder()
    monkeypatch.setattr(_scope, "_current_sink", sink)
    return sink


@pytest.fixture
def use_settings(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """Put settings in force: `capture` as a dict, everything else by name."""

    def use(capture: dict[str, Any] | None = None, **others: Any) -> Settings:
        settings = Settings(capture=CaptureSettings(**(capture or {})), **others)
        monkeypatch.setattr(_scope, "_active", lambda: settings)
        return settings

    use()
    return use


@pytest.fixture
def instrumented(recorder: Recorder, use_settings: Callable[..., Settings]) -> Iterator[Recorder]:
    """Everything on, as under `opentelemetry-instrument`; nothing offline."""
    instrumentor = MLInstrumentor()
    instrumentor.instrument()
    yield recorder
    instrumentor.uninstrument()


@pytest.fixture
def offline(instrumented: Recorder, use_settings: Callable[..., Settings]) -> Recorder:
    """Everything on, and predictions outside requests are taken too."""
    use_settings({"offline": True})
    return instrumented
