"""Run as a process: lines with a number of predictions in, a line when they have been made out.

Its argument says who watches them: ``otel-ml``, ``span`` or ``prometheus``. A negative number has
the first of them look away.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from typing import Final

__all__ = ["WATCHERS"]

TOGETHER: Final = 2_500  # a quarter of the queue, at which the worker is woken
AT_FIRST: Final = 12_000  # predictions: the first also teach how rows depend on each other
MOST: Final = AT_FIRST + 13_000  # until the first come again
_MUCH: Final = 4_000  # of them at once
_LOOK: Final = 0.25  # seconds: to look takes instructions as well
_WARM: Final = 100

Work = Callable[[int], None]


def watched() -> Work:
    import otel_ml
    from benchmarks.cost.predictions import Answers, Requests
    from benchmarks.cost.serving import Server, counted

    server, requests = Server(Answers(MOST, 6)), Requests(MOST, 6)
    loop, plain = server.loops()["in a request"]
    served = 0

    def work(predictions: int, together: int = TOGETHER) -> None:
        nonlocal served
        if predictions < 0:
            plain(requests.take(-predictions))
            return
        with server.serving():
            for _ in range(0, predictions, together):
                loop(requests.take(together))
                served += together
                while counted() < served:
                    time.sleep(_LOOK)
        if not otel_ml.flush(300.0):
            raise TimeoutError("the export did not end")

    work(AT_FIRST, _MUCH)
    return work


def span() -> Work:
    from benchmarks.cost.anchors import SpanAnchor, recording
    from benchmarks.cost.predictions import Requests

    anchor, requests = SpanAnchor(), Requests(1_000, 6)

    def work(predictions: int) -> None:
        recording(anchor)(requests.take(predictions))
        anchor.drain()

    work(_WARM)
    return work


def prometheus() -> Work:
    from benchmarks.cost.anchors import PrometheusAnchor, recording
    from benchmarks.cost.predictions import Requests

    anchor, requests = PrometheusAnchor(), Requests(1_000, 6)

    def work(predictions: int) -> None:
        recording(anchor)(requests.take(predictions))

    work(_WARM)
    return work


WATCHERS: Final = {"otel-ml": watched, "span": span, "prometheus": prometheus}


def main() -> None:
    work = WATCHERS[sys.argv[1]]()
    gc.collect()
    gc.freeze()
    print("ready", flush=True)
    for line in sys.stdin:
        work(int(line))
        print("done", flush=True)


if __name__ == "__main__":
    main()
