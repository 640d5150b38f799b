"""All CPU time that a prediction takes in its process, its worker and its export included.

Predictions come 2,500 at a time, the next when these have been counted, as they are taken where
10,000 come a second: the worker is woken when a quarter of its queue is full. Nothing is sampled.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from typing import Any, Final

import otel_ml
from benchmarks.cost.anchors import PrometheusAnchor, SpanAnchor, recording
from benchmarks.cost.collector import Collector
from benchmarks.cost.line import Line
from benchmarks.cost.predictions import Answers, Requests
from benchmarks.cost.serving import Server, counted
from otel_ml.semconv import metrics as m

PREDICTIONS: Final = 100_000
TURNS: Final = 10
TOGETHER: Final = 2_500
SPANS: Final = 500  # fewer than the 512 that wake the span processor: none is dropped
BOUNDS: Final = {"OTLP span": 1 / 35, "prometheus_client": 1 / 7}
PATIENCE: Final = 120.0


def measure(quick: bool) -> list[Line]:
    predictions, turns = (10_000, 2) if quick else (PREDICTIONS, TURNS)
    with Collector() as collector:
        os.environ["OTEL_METRICS_EXPORTER"] = "otlp"  # read when the worker starts
        os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.endpoint
        return _measure(collector, predictions, turns)


def _measure(collector: Collector, predictions: int, turns: int) -> list[Line]:
    fresh, others = Requests(predictions + predictions // turns, 6), Requests(TOGETHER * 4, 7)
    server, span, prometheus = Server(Answers(predictions, 6)), SpanAnchor(), PrometheusAnchor()
    watched, plain = server.loops()["in a request"]
    spans, series = recording(span), recording(prometheus)
    n = predictions // turns
    found: dict[str, list[float]] = {name: [] for name in ("ours", "plain", *BOUNDS)}
    with server.serving():
        served = 0

        def serve(loop: Callable[[Any], object], until: Callable[[], bool], together: int) -> None:
            requests = fresh if loop is counting else others
            for _ in range(n // together):
                loop(requests.take(together))
                wait(until)

        def all_counted() -> bool:
            return counted() >= served

        def counting(given: Any) -> None:
            nonlocal served
            served += len(given)
            watched(given)

        serve(counting, all_counted, TOGETHER)  # warm
        gc.collect()
        gc.freeze()
        ways: dict[str, tuple[Callable[[Any], object], Callable[[], bool], int]] = {
            "ours": (counting, all_counted, TOGETHER),
            "plain": (plain, lambda: True, TOGETHER),
            "OTLP span": (spans, lambda: span.drain() is None, SPANS),
            "prometheus_client": (series, lambda: True, TOGETHER),
        }
        for _ in range(turns):
            for name, way in ways.items():
                started = time.process_time()
                serve(*way)
                found[name].append((time.process_time() - started) / n * 1e6)
        started = time.process_time()
        if not otel_ml.shutdown(PATIENCE):
            raise TimeoutError("the last export did not end")
        export = (time.process_time() - started) / predictions * 1e6
    prometheus.drain()
    check(collector.ask(), served)
    span.provider.shutdown()
    least = {name: min(values) for name, values in found.items()}
    note = f"all of {served:,} predictions counted, none sampled; one export in {predictions:,}"
    return [
        Line(
            "one prediction, in a request",
            "µs",
            least["ours"] - least["plain"] + export,
            anchor,
            least[anchor],
            bound,
            note,
        )
        for anchor, bound in BOUNDS.items()
    ]


def wait(until: Callable[[], bool]) -> None:
    """Wait, seldom looking: to look takes time of the processor as well."""
    end = time.monotonic() + PATIENCE
    while not until():
        if time.monotonic() > end:
            raise TimeoutError("the worker does not come to an end")
        time.sleep(0.02)


def check(told: dict[str, Any], served: int) -> None:
    """Refuse figures of a run in which predictions were not counted, or not read."""
    totals = told["totals"]
    wanted = {
        m.ML_PREDICTIONS.name: served,
        m.ML_MONITORING_CAPTURED.name: served,
        m.ML_MONITORING_DROPPED.name: 0,
        m.ML_MONITORING_SAMPLED.name: 0,
    }
    wrong = {k: (totals.get(k), v) for k, v in wanted.items() if totals.get(k) != v}
    if wrong:
        raise AssertionError(f"telemetry (found, expected): {wrong}")
