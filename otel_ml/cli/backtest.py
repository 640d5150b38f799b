"""``otel-ml backtest``: historical data in; what would have fired, when and why, out.

Exit code 0 whether or not incidents were found: it is a report.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from otel_ml.cli._roles import add_roles, roles_of

__all__ = ["register", "run"]


def register(subparsers: Any) -> None:
    """Add the verb."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "backtest",
        help="see what would have fired on historical data, when and why",
        description="Run historical data through the same engine that watches production, on the "
        "clock of the data: what would have fired, when, why and how often, and what other budgets "
        "would have done. Reads a part at a time: memory does not grow with the data.",
        epilog="Example: otel-ml backtest --reference valid.parquet --data 'prod/*.parquet' "
        "--score p --label y --timestamp ts --label-delay 36h --html report.html",
    )
    parser.add_argument(
        "--data", nargs="+", required=True, metavar="FILE",
        help="parquet or CSV files, folders or patterns, in the order of time",
    )  # fmt: skip
    parser.add_argument(
        "--reference", type=Path, metavar="FILE",
        help="table of training data, or reference.json (default: the first rows of the data)",
    )  # fmt: skip
    parser.add_argument(
        "--learn-rows", type=int, metavar="N",
        help="rows that become the reference where there is none",
    )  # fmt: skip
    parser.add_argument("--model", metavar="NAME", help="name of the model")
    add_roles(parser)
    parser.add_argument(
        "--label-delay", default="0rows", metavar="PERIOD",
        help="when a label is known after its prediction: 1000rows or 36h (default: at once)",
    )  # fmt: skip
    parser.add_argument(
        "--false-incidents", default="1/30d", metavar="N/PERIOD",
        help="false incidents you put up with, such as 1/30d or 1/100000rows (default: 1/30d)",
    )  # fmt: skip
    parser.add_argument(
        "--compare", metavar="N/PERIOD[,…]",
        help="other budgets to try in the same pass; each costs as much time again (default: ten "
        "times stricter and looser, below a million rows)",
    )  # fmt: skip
    parser.add_argument(
        "--min-effect", type=float, metavar="TV",
        help="share of rows that may move without an alarm (total variation)",
    )  # fmt: skip
    parser.add_argument(
        "--json", metavar="FILE", help="write the report as JSON; - is standard output"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the report as a page")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write backtest.json and backtest.html there"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, no table")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the backtest and write what is asked for."""
    from otel_ml.backtest.api import backtest
    from otel_ml.backtest.progress import ProgressBar
    from otel_ml.backtest.settings import Settings
    from otel_ml.backtest.terminal import tell

    settings = Settings.parse(
        false_incidents=arguments.false_incidents,
        compare=arguments.compare,
        label_delay=arguments.label_delay,
        min_effect=arguments.min_effect,
        learn_rows=arguments.learn_rows,
    )
    targets = _targets(arguments)
    bar = None if arguments.quiet else ProgressBar(sys.stderr)
    try:
        report = backtest(
            arguments.data,
            arguments.reference,
            roles_of(arguments),
            settings,
            model=arguments.model,
            progress=bar,
        )
    finally:
        if bar is not None:
            bar.close()
    for target in targets:
        report.save(target)
    to_stdout = arguments.json == "-"
    if not arguments.quiet:
        out = sys.stderr if to_stdout else sys.stdout
        colour = out.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        width = shutil.get_terminal_size((100, 24)).columns
        print(tell(report.to_json(), width, colour=colour), file=out, end="")
        for target in targets:
            print(f"wrote {target}", file=out)
    if to_stdout:
        sys.stdout.write(report.text())
    return 0


def _targets(arguments: argparse.Namespace) -> list[Path]:
    """Return the files to write, after making sure that they can be."""
    targets = []
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        targets += [arguments.out / "backtest.json", arguments.out / "backtest.html"]
    if arguments.html is not None:
        targets.append(arguments.html)
    if arguments.json is not None and arguments.json != "-":
        targets.append(Path(arguments.json))
    for target in targets:
        # an hour of work must not end with a folder that is not there
        if not target.parent.is_dir():
            raise FileNotFoundError(2, "no such folder", str(target.parent))
        if target.is_dir():
            raise IsADirectoryError(21, "is a folder", str(target))
    return targets
