"""How long a request waits for the interpreter's lock while the worker works as hard as it can.

A request waits for half a millisecond, runs some Python and writes: what it takes beyond the half
millisecond is its delay. Beside it stands the delay while another process does the same work: that
of predictions, and that of gathering the telemetry of a model with 200 features.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

from benchmarks.cost.flat_out import FlatOut, Neighbour
from benchmarks.cost.gathering import Gathering
from benchmarks.cost.line import Line
from benchmarks.cost.timing import middle, share

ROUNDS, REQUESTS = 30, 60
WAIT: Final = 0.0005  # seconds
PYTHON: Final = 300  # turns of a loop, about 13 µs
MOST: Final = 1.2


def measure(quick: bool) -> list[Line]:
    turns, requests = (2, 20) if quick else (ROUNDS, REQUESTS)
    return [*_flat_out(turns, requests), *_gathering(turns, requests)]


def _flat_out(turns: int, requests: int) -> list[Line]:
    found: dict[str, list[list[float]]] = {"worker": [], "neighbour": [], "nobody": []}
    work = FlatOut()
    with Neighbour("flat_out") as neighbour, open(os.devnull, "wb", buffering=0) as sink:
        work.fill()
        work.rest()
        for _ in range(turns):
            found["nobody"].append(delays(requests, sink.write, lambda: True))
            neighbour.toggle()
            found["neighbour"].append(delays(requests, sink.write, lambda: True))
            neighbour.toggle()
            mine: list[float] = []
            while len(mine) < requests:
                work.fill()
                mine += delays(requests - len(mine), sink.write, lambda: work.busy)
                work.rest()
            found["worker"].append(mine)
    half = {who: [middle(values) for values in rounds] for who, rounds in found.items()}
    ratio = middle([a / b for a, b in zip(half["worker"], half["neighbour"], strict=True)])
    beside = middle(half["neighbour"])
    note = "the median of the ratios of rounds, times the neighbour's median"
    lines = [
        Line(
            "delay of a request, median, worker flat out",
            "µs",
            ratio * beside,
            "another process",
            beside,
            MOST,
            note,
        ),
        Line("delay of a request, median, nobody works", "µs", middle(half["nobody"])),
    ]
    late = {who: share([v for values in r for v in values], 0.99) for who, r in found.items()}
    what = "delay of a request, 99th percentile, worker flat out"
    lines.append(Line(what, "µs", late["worker"], "another process", late["neighbour"]))
    return lines


def _gathering(turns: int, requests: int) -> list[Line]:
    work = Gathering()
    mine: list[float] = []
    beside: list[float] = []
    with Neighbour("gathering") as neighbour, open(os.devnull, "wb", buffering=0) as sink:
        for _ in range(turns):
            neighbour.toggle()
            beside += delays(requests, sink.write, lambda: True)
            neighbour.toggle()
            work.begin()
            mine += delays(requests, sink.write, lambda: True)
            work.rest()
    return [
        Line(
            f"delay of a request, {name}, telemetry gathered",
            "µs",
            of(mine),
            "another process",
            of(beside),
        )
        for name, of in (("median", middle), ("99th percentile", lambda v: share(v, 0.99)))
    ]


def delays(
    requests: int, write: Callable[[bytes], object], while_: Callable[[], bool]
) -> list[float]:
    """Return the delays of requests, in microseconds, as long as a condition holds."""
    found = []
    while len(found) < requests and while_():
        started = time.perf_counter()
        time.sleep(WAIT)
        total = 0
        for i in range(PYTHON):
            total += i
        write(b"%d" % total)
        found.append((time.perf_counter() - started - WAIT) * 1e6)
    return found
