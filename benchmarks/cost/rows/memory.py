"""What monitoring adds to the memory of a process, and by how much it grows with predictions.

Every figure is of a fresh process: its own pages, those it shares with no other process, as the
kernel counts them after garbage was collected.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from benchmarks.cost.collector import Collector
from benchmarks.cost.line import Line

ROOT: Final = Path(__file__).resolve().parents[3]
TURNS: Final = 5
SET_UP_MB, GROWTH_MB = 30.0, 1.0
FIRST, LAST = 100_000, 1_000_000

_OWN: Final = """
import gc, json
def own():
    gc.collect()
    with open("/proc/self/smaps_rollup") as held:
        parts = dict(line.split()[:2] for line in list(held)[1:])
    return {"rss": int(parts["Rss:"]) / 1024,
            "uss": (int(parts["Private_Clean:"]) + int(parts["Private_Dirty:"])) / 1024}
"""
NUMPY: Final = "import numpy\n" + _OWN + "print(json.dumps(own()))\n"
SET_UP: Final = (
    "import numpy\n"
    + _OWN
    + """
import otel_ml
for i in range(50):  # numpy's own numbers at random would be two megabytes that are not ours
    otel_ml.observe(model="by hand", scores=[0.5],
                    features=[[(i * k % 50) / 25 - 1 for k in range(1, 21)] + ["alpha"] * 3])
assert otel_ml.flush(60)
print(json.dumps(own()))
"""
)
GROWTH: Final = (
    _OWN
    + """
import sys
import otel_ml
from benchmarks.cost.predictions import Answers, row_lists
from benchmarks.cost.rows.total_cpu import wait
from benchmarks.cost.serving import Server, counted
first, last, piece = map(int, sys.argv[1:])
server = Server(Answers(piece, 6))
loop = server.loops()["in a request"][0]
found = []
with server.serving():
    served = 0
    while served < last:
        loop([[row] for row in row_lists(piece, served)])
        served += piece
        wait(lambda: counted() >= served)
        if served in (first, last):
            assert otel_ml.flush(60)
            found.append(own())
print(json.dumps(found))
"""
)


def measure(quick: bool) -> list[Line]:
    turns, first, last, piece = (
        (1, 1_000, 3_000, 500) if quick else (TURNS, FIRST, LAST, 2_500)
    )  # as many wake the worker
    with Collector() as collector:
        more = {
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_LOGS_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        }
        pairs = [(_run(NUMPY, more), _run(SET_UP, more)) for _ in range(turns)]
        begin, end = _run(GROWTH, more, first, last, piece)
    lines = []
    for kind, bound in (("uss", None), ("rss", SET_UP_MB)):
        added = statistics.median(b[kind] - a[kind] for a, b in pairs)
        note = "a model with a reference, 50 predictions, one export over OTLP/HTTP"
        lines.append(
            Line(f"set-up, over numpy, {kind.upper()}", "MB", added, bound=bound, note=note)
        )
    grown = end["uss"] - begin["uss"]
    what = f"growth from {first:,} to {last:,} predictions"
    lines.append(Line(what, "MB", grown, bound=GROWTH_MB, note="pages of its own"))
    return lines


def _run(code: str, more: dict[str, str], *arguments: int) -> Any:
    """Return what a fresh process prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | more,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])
