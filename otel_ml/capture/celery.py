"""Celery: the end of a pool's process comes in, a last flush goes out before it.

Celery ends the processes of its prefork pool without `atexit` and without finalizers; a signal of
its own is all it sends there. Predictions of tasks are captured by the model library, as elsewhere.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from otel_ml.capture._base import Instrumentor

__all__ = ["CeleryInstrumentor"]


class CeleryInstrumentor(Instrumentor):
    """Flush in every process of a prefork pool when it ends; the entry point is ``ml_celery``."""

    name = "ml_celery"
    requires = ("celery >= 5.3",)

    def __init__(self) -> None:
        super().__init__()
        if not hasattr(self, "_signal"):
            self._signal: Any = None

    def hooks(self) -> Mapping[str, Callable[[ModuleType], None]]:
        """Return what to do with each module once it is imported."""
        return {"celery.signals": self._connect}

    def deactivate(self) -> None:
        """Listen no longer."""
        if self._signal is not None:
            self._signal.disconnect(_flush, dispatch_uid=self.name)

    def _connect(self, module: ModuleType) -> None:
        self._signal = module.worker_process_shutdown
        self._signal.connect(_flush, weak=False, dispatch_uid=self.name)


def _flush(**_: Any) -> None:
    pipeline = sys.modules.get("otel_ml.pipeline")  # if it is not loaded, there was no prediction
    if pipeline is not None:
        pipeline.end()
