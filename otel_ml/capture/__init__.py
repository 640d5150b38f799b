"""The instrumentors: libraries and frameworks come in unchanged, captured calls go to the pipeline.

`MLInstrumentor` is the umbrella behind the entry point ``ml``; the others can be used alone.
Importing this package imports no numpy, no engine and no monitored library.
"""

from __future__ import annotations

from typing import Any

from otel_ml.capture._base import UMBRELLA, Instrumentor

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

    def deactivate(self) -> None:
        """Turn the others off."""
        for instrumentor in _members():
            instrumentor.uninstrument()


def _members() -> tuple[Instrumentor, ...]:
    from otel_ml.capture.sklearn import SklearnInstrumentor
    from otel_ml.capture.starlette import StarletteInstrumentor

    return SklearnInstrumentor(), StarletteInstrumentor()
