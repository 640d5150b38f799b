"""``otel-ml demo``: in, the arguments; out, an exit code.

0: every fault was found and rightly named, nothing else was, and the counts are exact. 1: not so,
and what was not is said; or it could not run.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

__all__ = ["register", "run"]


def register(subparsers: Any) -> None:
    """Add the verb.

    Parameters
    ----------
    subparsers
        What `argparse.ArgumentParser.add_subparsers` has returned.
    """
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "demo",
        help="watch a real model on real data while six faults are injected",
        description=(
            "Train a model on people of 2015, serve it under opentelemetry-instrument, replay the "
            "people of 2016 to 2018 with late labels, inject six faults at known times, and show "
            "what was found. Takes about two minutes and needs no other service."
        ),
    )
    parser.add_argument(
        "--out", type=Path, default=Path("demo-output"), metavar="DIR",
        help="folder for the page and everything else (default: ./demo-output)",
    )  # fmt: skip
    parser.add_argument(
        "--json", metavar="FILE", help="write the outcome as JSON; - is standard output"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of all randomness (default: 0)")
    parser.add_argument(
        "--rows-per-second", type=float, default=350.0, metavar="N",
        help="pace of the replay; 0 is as fast as the server goes (default: 350)",
    )  # fmt: skip
    parser.add_argument(
        "--keep-serving", action="store_true", help="leave the server up until Ctrl-C"
    )
    parser.add_argument(
        "--otlp-endpoint", metavar="URL",
        help="send through this Collector, which has to forward to --receiver-port",
    )  # fmt: skip
    parser.add_argument(
        "--receiver-port", type=int, default=0, metavar="PORT",
        help="port of the demo's own OTLP/HTTP receiver (default: a free one)",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo; return the exit code.

    Parameters
    ----------
    args
        The parsed arguments.
    """
    from otel_ml.demo.run import Options
    from otel_ml.demo.run import run as run_demo

    to_stdout = args.json == "-"
    out = sys.stderr if to_stdout else sys.stdout
    options = Options(
        folder=args.out,
        seed=args.seed,
        pace=args.rows_per_second,
        json=None if to_stdout or args.json is None else Path(args.json),
        keep_serving=args.keep_serving,
        otlp_endpoint=args.otlp_endpoint,
        receiver_port=args.receiver_port,
    )
    # Ended from outside, it must stop its server too, in the same order.
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        outcome = run_demo(options, out)
    finally:
        signal.signal(signal.SIGTERM, before)
    if to_stdout:
        print(json.dumps(outcome.to_json(), indent=2))
    return 0 if outcome.ok else 1


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
