"""The command line: one file per verb."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from otel_ml._version import __version__
from otel_ml.errors import OtelMlError

__all__ = ["build_parser", "main"]

_VERBS: Final = ("demo", "init", "backtest", "label", "incident", "doctor", "selftest")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs."""
    parser = argparse.ArgumentParser(
        prog="otel-ml",
        description="Monitoring for machine-learning models in production, over OpenTelemetry.",
        epilog="Try it: otel-ml demo. Watch your own: otel-ml init --help.",
    )
    parser.add_argument("--version", action="version", version=f"otel-ml {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name in _VERBS:
        import_module(f"otel_ml.cli.{name}").register(verbs)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb.

    Returns
    -------
    int
        0 where it did what was asked; 1 where it did not; 2 where the arguments are wrong.
    """
    arguments = build_parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except OtelMlError as error:
        print(f"otel-ml {arguments.verb}: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a file or folder that an option names
        where = "" if error.filename is None else f"{error.filename}: "
        print(f"otel-ml {arguments.verb}: {where}{error.strerror or error}", file=sys.stderr)
        print("  remedy: name a place that is there and that this user may use", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
