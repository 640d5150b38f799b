"""What one prediction costs its request, beside a span with its values and Prometheus.

Nothing else is timed: before each round the worker, or the span processor, has done what waited.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, Final

from benchmarks.cost.anchors import Anchor, PrometheusAnchor, SpanAnchor, recording
from benchmarks.cost.line import Line
from benchmarks.cost.predictions import Answers, Requests
from benchmarks.cost.serving import Server, settled
from benchmarks.cost.timing import best, each, middle, rounds, share

CALLS: Final = 250  # in a round: the worker is not woken by so few
TURNS: Final = 60
BOUNDS: Final = {"OTLP span": 1 / 25, "prometheus_client": 1 / 20}
P99_MICROSECONDS: Final = 5.0


def measure(quick: bool) -> list[Line]:
    calls, turns = (40, 3) if quick else (CALLS, TURNS)
    requests = Requests(calls * 400, seed=5)
    server, span = Server(Answers(50_000, 5)), SpanAnchor()
    anchors: dict[str, Anchor] = {"OTLP span": span, "prometheus_client": PrometheusAnchor()}
    loops: dict[str, Callable[[Any], object]] = {}
    between: dict[str, Callable[[], object]] = {}
    for name, (watched, plain) in server.loops().items():
        loops[name], loops[_without(name)] = watched, plain
        between[name] = between[_without(name)] = settled
    for name, anchor in anchors.items():
        loops[name] = recording(anchor)
        between[name] = lambda a=anchor: (a.drain(), gc.collect())
    with server.serving():
        rounds(loops, lambda: requests.take(calls), between, 2)  # warm
        gc.freeze()
        found = rounds(loops, lambda: requests.take(calls), between, turns)
        slow = {name: [] for name in (*server.loops(), "OTLP span")}
        for _ in range(max(turns // 3, 3)):
            for name, values in slow.items():
                values.append(share(each(loops[name], requests.take(calls)), 0.99) / 1e3)
                between[name]()
    span.provider.shutdown()
    least = {name: best(values) / calls * 1e6 for name, values in found.items()}
    lines = []
    for name in server.loops():
        ours = least[name] - least[_without(name)]
        for anchor, bound in BOUNDS.items():
            lines.append(Line(f"one prediction, {name}", "µs", ours, anchor, least[anchor], bound))
    note = "with the model and the clock, nothing subtracted"
    for name, values in slow.items():
        bound = None if name in anchors else P99_MICROSECONDS
        lines.append(Line(f"99th percentile, {name}", "µs", middle(values), bound=bound, note=note))
    return lines


def _without(name: str) -> str:
    return f"{name}, without otel-ml"
