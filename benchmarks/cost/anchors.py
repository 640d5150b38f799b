"""A prediction in, what a team would do with it today out: a span per prediction, or Prometheus.

Both are used as their documentation says. The span's exporter encodes OTLP as it always does, and
what it would send is dropped: no socket is part of an anchor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from benchmarks.cost.predictions import CLASSES, NAMES, NUMBERS, WORDS, Row

__all__ = ["Anchor", "PrometheusAnchor", "SpanAnchor", "recording"]


class Anchor(Protocol):
    """Another way to watch predictions."""

    def record(self, row: Row, score: float) -> None:
        """Take one prediction on the request path."""
        ...

    def drain(self) -> None:
        """Do now what would be done later."""
        ...


class _Dropping(SpanExporter):
    """Encodes spans as the OTLP exporter does, and sends nothing."""

    def __init__(self) -> None:
        self.spans = 0
        self.bytes = 0

    def export(self, spans: Any) -> SpanExportResult:
        self.bytes += len(encode_spans(spans).SerializePartialToString())
        self.spans += len(spans)
        return SpanExportResult.SUCCESS


class SpanAnchor:
    """One span of 30 attributes per prediction, through a `BatchSpanProcessor` as it comes."""

    def __init__(self) -> None:
        self.exporter = _Dropping()
        self.provider = TracerProvider(resource=Resource.create({"service.name": "benchmark"}))
        self.provider.add_span_processor(BatchSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("benchmark", "1.0")
        self._names = tuple(f"prediction.{name}" for name in NAMES)

    def record(self, row: Row, score: float) -> None:
        """Make a span."""
        with self.tracer.start_as_current_span("predict") as span:
            attributes = dict(zip(self._names, row, strict=True))
            attributes["prediction.class"] = CLASSES[score >= 0.5]
            attributes["prediction.probability"] = score
            attributes["model.name"] = "benchmark"
            attributes["model.version"] = "1"
            attributes["model.method"] = "predict_proba"
            attributes["model.rows"] = 1
            attributes["model.task"] = "binary"
            span.set_attributes(attributes)

    def drain(self) -> None:
        """Export what waits."""
        self.provider.force_flush()


class PrometheusAnchor:
    """21 histograms and 4 counters with one label each, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._numbers = tuple(
            Histogram(f"prediction_{name}", "A feature.", registry=self.registry)
            for name in NUMBERS
        )
        self._score = Histogram("prediction_score", "The score.", registry=self.registry)
        self._words = tuple(
            Counter(f"prediction_{name}", "A feature.", ["value"], registry=self.registry)
            for name in WORDS
        )
        self._class = Counter("prediction_class", "The class.", ["value"], registry=self.registry)

    def record(self, row: Row, score: float) -> None:
        """Observe and count."""
        for histogram, value in zip(self._numbers, row, strict=False):
            histogram.observe(value)
        for counter, value in zip(self._words, row[len(NUMBERS) :], strict=True):
            counter.labels(value).inc()
        self._score.observe(score)
        self._class.labels(CLASSES[score >= 0.5]).inc()

    def drain(self) -> None:
        """Write what a scrape reads."""
        generate_latest(self.registry)


def recording(anchor: Anchor) -> Callable[[list[list[Row]]], None]:
    """Have an anchor take predictions; their score is a constant, as no model is asked."""

    def loop(requests: list[list[Row]]) -> None:
        record = anchor.record
        for rows in requests:
            record(rows[0], 0.25)

    return loop
