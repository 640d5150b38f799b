"""Samples in, observable instruments of the application's own providers out.

For readers that pull (Prometheus) and exporters that are not OTLP. A histogram cannot be observed
through the API, so it becomes two counters under names of their own: ``<name>.bucket``, the number
of observations up to the bound in its attribute ``le`` (as in Prometheus, so that
``histogram_quantile`` works on it), and ``<name>.sum`` where a sum is kept.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Any, Final

from opentelemetry import trace
from opentelemetry._logs import SeverityNumber, get_logger_provider
from opentelemetry.metrics import CallbackOptions, Meter, Observation, get_meter_provider

from otel_ml._version import __version__
from otel_ml.emit.sink import ExportReport
from otel_ml.emit.values import Unencodable, number, plain, text, uint64
from otel_ml.semconv import SCHEMA_URL, SCOPE
from otel_ml.types import SEVERITY_NUMBER, Buckets, Event, Sample

__all__ = ["BOUND", "ObservableSink"]

BOUND: Final = "le"
"""Attribute of a bucket's counter: its upper bound, ``+Inf`` for the last."""

_log = logging.getLogger(__name__)


class ObservableSink:
    """Shows the latest samples to whatever reads the application's meter provider.

    Parameters
    ----------
    metrics, logs
        Which signals go to the application's providers.
    """

    def __init__(self, *, metrics: bool = True, logs: bool = False) -> None:
        self._metrics = metrics
        self._logs = logs
        self._latest: tuple[int, dict[str, list[Observation]]] = (0, {})
        self._known: set[str] = set()

    def export(
        self,
        samples: Sequence[Sample],
        events: Sequence[Event],
        *,
        start_ns: int,
        now_ns: int,
        timeout: float,
    ) -> ExportReport:
        """Replace what the next reading sees; hand the events to the logger provider."""
        unencodable = 0
        outcomes: dict[str, str] = {}
        try:
            if self._metrics:
                unencodable += self._observe(samples)
            if self._logs and events:
                unencodable += self._emit(events)
        except Exception:  # The provider is other people's code.
            _log.exception("the application's provider failed")
            return ExportReport(False, {}, {"metrics": "failure"})
        if self._metrics and samples:
            outcomes["metrics"] = "success"
        if self._logs and events:
            outcomes["logs"] = "success"
        dropped = {"unencodable": unencodable} if unencodable else {}
        return ExportReport(not dropped, dropped, outcomes)

    def shutdown(self, timeout: float) -> None:
        """Leave the last values where they are: the provider's last reading needs them."""

    def _observe(self, samples: Sequence[Sample]) -> int:
        latest: dict[str, list[Observation]] = {}
        definitions: dict[str, tuple[str, str, str]] = {}
        unencodable = 0
        for sample in samples:
            try:
                parts = _parts(sample)
            except Unencodable:
                unencodable += 1
                continue
            for name, kind, unit, observations in parts:
                latest.setdefault(name, []).extend(observations)
                definitions[name] = (kind, unit, sample.metric.description)
        self._latest = (os.getpid(), latest)
        for name, (kind, unit, description) in definitions.items():
            if name not in self._known:
                self._known.add(name)
                self._register(name, kind, unit, description)
        return unencodable

    def _register(self, name: str, kind: str, unit: str, description: str) -> None:
        meter: Meter = get_meter_provider().get_meter(SCOPE, __version__, schema_url=SCHEMA_URL)
        create: Callable[..., Any] = {
            "counter": meter.create_observable_counter,
            "updowncounter": meter.create_observable_up_down_counter,
            "gauge": meter.create_observable_gauge,
        }[kind]

        def read(_options: CallbackOptions) -> Iterable[Observation]:
            pid, latest = self._latest
            # A forked child inherits the parent's samples, which are not its own.
            return latest.get(name, []) if pid == os.getpid() else []

        create(name, callbacks=[read], unit=unit, description=description)

    def _emit(self, events: Sequence[Event]) -> int:
        logger = get_logger_provider().get_logger(SCOPE, __version__, schema_url=SCHEMA_URL)
        unencodable = 0
        for event in events:
            attributes: dict[str, Any] = {}
            for key, value in event.attributes.items():
                try:
                    attributes[text(key)] = (
                        [plain(item) for item in value]
                        if isinstance(value, list | tuple)
                        else plain(value)
                    )
                except Unencodable:
                    _log.debug("attribute %r of %s is left out", key, event.name)
            try:
                logger.emit(
                    event_name=text(event.name),
                    timestamp=uint64(event.time_ns),
                    severity_number=SeverityNumber(SEVERITY_NUMBER[event.severity]),
                    body=None if event.body is None else text(event.body),
                    attributes=attributes,
                    context=_context(event),
                )
            except (Unencodable, KeyError):
                unencodable += 1
        return unencodable


def _parts(sample: Sample) -> list[tuple[str, str, str, list[Observation]]]:
    """Return the name, kind, unit and observations of each instrument a sample shows in."""
    definition = sample.metric
    attributes = {text(key): plain(value) for key, value in sample.attributes.items()}
    if definition.instrument != "histogram":
        shown = [Observation(number(sample.value), attributes)]
        return [(definition.name, definition.instrument, definition.unit, shown)]
    buckets = sample.value
    if not isinstance(buckets, Buckets):
        raise Unencodable("a histogram needs buckets")
    bounds = [*(repr(float(number(bound))) for bound in buckets.bounds), "+Inf"]
    counts = list(accumulate(uint64(count) for count in buckets.counts))
    if len(counts) != len(bounds):
        raise Unencodable("a histogram has one count more than bounds")
    cumulative = [
        Observation(count, {**attributes, BOUND: bound})
        for bound, count in zip(bounds, counts, strict=True)
    ]
    # A unit would become part of the name in Prometheus; an annotation does not.
    parts = [(f"{definition.name}.bucket", "counter", "{observation}", cumulative)]
    if buckets.sum is not None:
        total = [Observation(number(buckets.sum), attributes)]
        parts.append((f"{definition.name}.sum", "counter", definition.unit, total))
    return parts


def _context(event: Event) -> Any:
    if not (event.trace_id and event.span_id):
        return None
    span = trace.SpanContext(event.trace_id, event.span_id, is_remote=False)
    return trace.set_span_in_context(trace.NonRecordingSpan(span))
