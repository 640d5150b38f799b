"""``otel-ml selftest``: this installation in, what it does to a model server under faults out.

0: everything held. 1: something did not, and what is said. 2: the arguments are wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

__all__ = ["register", "run"]


def register(subparsers: Any) -> None:
    """Add the verb."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "selftest",
        help="let faults loose on a throw-away model server with otel-ml in it",
        description="Start a small model server twice on the loopback interface, with and without "
        "otel-ml, send both the same requests while one fault after another is let loose, and "
        "check after each that answers were the same, nothing was raised, every prediction is "
        "accounted for, memory is bounded, the log says what to do, and all is well again. "
        "Nothing leaves this machine unless --endpoint is given.",
    )
    parser.add_argument("--quick", action="store_true", help="the most telling faults, in 30 s")
    parser.add_argument(
        "--only", action="append", default=[], metavar="FAULT",
        help="only this fault; may be given several times, or names separated by commas",
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="list the faults and end")
    parser.add_argument(
        "--endpoint", nargs="?", const="empty", choices=("empty", "point"),
        help="also send an empty request, or one point, to where OTEL_EXPORTER_OTLP_* says",
    )  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON; - is stdout")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep logs and output of the servers there"
    )
    parser.set_defaults(run=run, usage_error=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Run the battery; 1 where something did not hold."""
    from otel_ml.errors import ConfigError
    from otel_ml.selftest.battery import chosen
    from otel_ml.selftest.battery import run as run_faults
    from otel_ml.selftest.report import document
    from otel_ml.selftest.terminal import Terminal, listing

    only = [name for given in arguments.only for name in given.split(",") if name]
    try:
        faults = chosen(only, quick=arguments.quick, endpoint=arguments.endpoint)
    except ConfigError as error:
        arguments.usage_error(str(error))
    if arguments.list:
        print(listing(faults), end="")
        return 0
    to_stdout = arguments.json == "-"
    terminal = Terminal(sys.stderr if to_stdout else sys.stdout)
    started, began = time.time(), time.monotonic()
    stop = _Stop()
    try:
        with _writable(arguments.json):
            running = run_faults(
                faults, quick=arguments.quick, keep=arguments.keep, begin=terminal.begin
            )
            outcomes = []
            with contextlib.closing(running):
                for outcome in running:
                    stop.check()
                    outcomes.append(outcome)
                    terminal.end(outcome)
            report = document(
                outcomes,
                mode="only" if only else "quick" if arguments.quick else "full",
                started=started,
                seconds=time.monotonic() - began,
            )
            terminal.finish(report)
            _write(arguments.json, json.dumps(report, indent=1) + "\n")
    finally:
        stop.close()
    return 0 if report["ok"] else 1


@contextmanager
def _writable(name: str | None) -> Iterator[None]:
    """Say before anything runs that the report cannot be written; leave no empty one behind."""
    path = None if name in (None, "-") else Path(str(name))
    if path is None:
        yield
        return
    new = not path.exists()
    path.open("a").close()
    try:
        yield
    except BaseException:
        if new:
            path.unlink()
        raise


def _write(name: str | None, text: str) -> None:
    if name == "-":
        sys.stdout.write(text)
    elif name is not None:
        Path(name).write_text(text, encoding="utf-8")


class _Stop:
    """Ctrl-C, or an end from outside: servers must end, too.

    An exception that a signal raises can be lost: Python drops what is raised in a destructor, or
    in a callback of the garbage collector. So that it came is remembered as well.
    """

    def __init__(self) -> None:
        self._asked = False
        self._before = {
            number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)
        }

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Stop here if that was asked for and did not happen."""
        if self._asked:
            raise KeyboardInterrupt

    def close(self) -> None:
        """Put the handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
