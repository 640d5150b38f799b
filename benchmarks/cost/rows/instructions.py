"""Instructions of one prediction, its worker included, beside those of a span and of Prometheus.

They are differences, of a run of many predictions and one of few in the same process, each with an
export at its end. So they hold what a further prediction takes, and neither starting nor exporting.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from benchmarks.cost.callgrind import Counting
from benchmarks.cost.collector import Collector
from benchmarks.cost.line import Line

FEW, MANY = 2_500, 10_000
FEW_SPANS, MANY_SPANS = 100, 400  # as many as the span processor keeps
MOST: Final = 25_000


def measure(quick: bool) -> list[Line]:
    many = 5_000 if quick else MANY
    with Collector() as collector, ThreadPoolExecutor(2) as pool:
        more = {
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_METRIC_EXPORT_INTERVAL": "3600000",  # time is long here
        }
        few_spans = (FEW_SPANS, MANY_SPANS)
        told = {"otel-ml": (FEW, many, -FEW, -many), "span": few_spans, "prometheus": few_spans}
        work = {who: pool.submit(_counts, who, numbers, more) for who, numbers in told.items()}
        counts = {who: each.result() for who, each in work.items()}
    ours = counts["otel-ml"]
    each = (ours[1] - ours[0] - (ours[3] - ours[2])) / (many - FEW) / 1e3
    beside = {
        who: (counts[who][1] - counts[who][0]) / (MANY_SPANS - FEW_SPANS) / 1e3
        for who in ("span", "prometheus")
    }
    what, unit = "one prediction, in a request", "k instructions"
    note = f"between {FEW:,} and {many:,} predictions"
    return [
        Line(what, unit, each, bound=MOST / 1e3, note=note),
        Line(what, unit, each, "OTLP span", beside["span"]),
        Line(what, unit, each, "prometheus_client", beside["prometheus"]),
    ]


def _counts(who: str, numbers: Sequence[int], more: dict[str, str]) -> list[int]:
    """Return the instructions of each number of predictions."""
    command = [sys.executable, "-m", "benchmarks.cost.counted", who]
    with Counting(command, os.environ | more) as program:
        program.start()
        counts = []
        for n in numbers:
            program.tell(str(n))
            counts.append(program.count())
    return counts
