"""The instrumentors: libraries and frameworks come in unchanged, captured calls go to the pipeline.

`MLInstrumentor` is the umbrella behind the entry point ``ml``; the others can be used alone.
Importing this package imports no numpy, no engine and no monitored library.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from otel_ml.capture._base import UMBRELLA, Instrumentor
from otel_ml.ending import at_exit, release_signals

__all__ = ["MLInstrumentor"]

_PROVIDERS = ("tracer_provider", "meter_provider", "logger_provider")


class MLInstrumentor(Instrumentor):
    """Turn on every instrumentor of otel-ml, configured by keyword arguments or by file.

    Notes
    -----
    Keyword arguments have the shape of the configuration file; this is how the options under
    ``instrumentation/development.python.ml`` of a declarative file arrive. Providers given as
    keyword arguments are accepted, as by every instrumentor, but emission has its own way out.
    """

    name = UMBRELLA

    def instrument(self, **kwargs: Any) -> None:
        """Turn on, unless it is on or has been refused; see `Instrumentor.instrument`."""
        options = {key: value for key, value in kwargs.items() if key not in _PROVIDERS}
        super().instrument(**options)
        if self._refused:
            for instrumentor in _members():
                instrumentor.uninstrument()

    def activate(self, **options: Any) -> None:
        """Apply the options and turn the others on."""
        if options:
            from otel_ml.config import configure

            configure(options)
        for instrumentor in _members():
            instrumentor.instrument()
        at_exit(_end)
        if options or _configured(os.environ):
            _flush_on_signals()

    def deactivate(self) -> None:
        """Turn the others off."""
        release_signals()
        for instrumentor in _members():
            instrumentor.uninstrument()


def _members() -> tuple[Instrumentor, ...]:
    from otel_ml.capture.celery import CeleryInstrumentor
    from otel_ml.capture.sklearn import SklearnInstrumentor
    from otel_ml.capture.starlette import StarletteInstrumentor

    return SklearnInstrumentor(), StarletteInstrumentor(), CeleryInstrumentor()


def _end(timeout: float) -> None:
    pipeline = sys.modules.get("otel_ml.pipeline")  # if it is not loaded, there was no prediction
    if pipeline is not None:
        pipeline.end(timeout)


def _configured(environ: Mapping[str, str]) -> bool:
    """Say whether anything may be configured, without reading it."""
    from otel_ml.config.environment import OTEL_ML_CONFIG_FILE, OTEL_ML_FLUSH_ON_SIGTERM

    asked = {OTEL_ML_CONFIG_FILE, OTEL_ML_FLUSH_ON_SIGTERM} & set(environ)
    return bool(asked) or os.path.exists("otel-ml.yaml")


def _flush_on_signals() -> None:
    """Take SIGTERM where the configuration says so: later there may be no main thread to do it."""
    from otel_ml.config import active

    settings = active()
    if settings.enabled and settings.capture.flush_on_sigterm:
        from otel_ml.pipeline import flush_on_signals

        flush_on_signals()
