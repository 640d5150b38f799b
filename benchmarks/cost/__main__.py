"""Options in, one table and its exit code out: 1 where a budget is missed."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.cost.line import Line, Unavailable
from benchmarks.cost.page import PAGE, filled
from benchmarks.cost.store import RESULTS, keep, kept
from benchmarks.cost.table import missed, table

__all__ = ["ROWS", "main"]

ROOT: Final = Path(__file__).resolve().parents[2]
ROWS: Final = (
    "request_path",
    "total_cpu",
    "instructions",
    "batch_cpu",
    "batch_path",
    "memory",
    "export_size",
    "server",
    "gil",
    "import_time",
)
_LONGEST: Final = 900.0  # seconds of one row: a guard against hanging


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cost",
        description="Measure what monitoring costs, each figure beside its anchor.",
    )
    parser.add_argument(
        "verb", nargs="?", default="run", choices=("run", "report"),
        help="run: measure and print; report: print the table of the records",
    )  # fmt: skip
    parser.add_argument("--only", action="append", default=[], choices=ROWS, help="rows to measure")
    parser.add_argument("--quick", action="store_true", help="a look: the figures say little")
    parser.add_argument("--keep", action="store_true", help="keep the records, fill the page")
    parser.add_argument("--page", action="store_true", help="write the report into docs/cost.md")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the records")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)  # where its lines go
    asked = parser.parse_args(arguments)
    if asked.child is not None:
        return _child(asked.only[0], asked.quick, asked.child)
    if asked.keep and asked.quick:
        parser.error("--keep: the figures of --quick say too little")
    if asked.verb == "report":
        measured = {record.row: list(record.lines) for record in kept(ROWS, asked.results)}
        absent: list[str] = []
    else:
        measured, absent = _run(asked.only or ROWS, asked.quick, asked.results, asked.keep)
    print(table(measured))
    if asked.page or asked.keep:
        text = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(filled(text, kept(ROWS, asked.results)), encoding="utf-8")
    return _judged(measured, absent)


def _judged(measured: dict[str, list[Line]], absent: Sequence[str]) -> int:
    """Say what is missed or was not measured; return the exit code."""
    for text in absent:
        print(f"not measured: {text}", file=sys.stderr)
    over = [(row, line) for row, lines in measured.items() for line in missed(lines)]
    for row, line in over:
        beside = f" beside {line.anchor}" if line.anchor else ""
        print(f"over its budget: {row}, {line.what}{beside}", file=sys.stderr)
    return 1 if over or absent else 0


def _run(
    rows: Sequence[str], quick: bool, results: Path, keeping: bool
) -> tuple[dict[str, list[Line]], list[str]]:
    """Measure rows; return their lines, and why others have none."""
    from benchmarks.cost.environment import prepare

    measured: dict[str, list[Line]] = {}
    absent = []
    with tempfile.TemporaryDirectory(prefix="otel-ml-cost-") as name:
        folder = Path(name)
        config = prepare(folder)
        for row in rows:
            started = time.perf_counter()
            try:
                measured[row] = measure(row, quick, folder, config)
            except (Unavailable, subprocess.CalledProcessError) as why:
                absent.append(f"{row}: {why}")  # the others are still worth measuring
                continue
            took = time.perf_counter() - started
            print(f"{row}: {took:.0f} s", file=sys.stderr, flush=True)
            if keeping:
                keep(row, measured[row], took, results)
    return measured, absent


def measure(row: str, quick: bool, folder: Path, config: Path) -> list[Line]:
    """Measure one row in a process of its own, so that none disturbs another.

    Raises
    ------
    Unavailable
        If something that the row needs is not there.
    """
    from benchmarks.cost.environment import environment

    out = folder / f"{row}.json"
    command = [sys.executable, "-m", "benchmarks.cost", "--only", row, "--child", str(out)]
    command += ["--quick"] if quick else []
    subprocess.run(command, cwd=ROOT, env=environment(config), check=True, timeout=_LONGEST)
    held = json.loads(out.read_text(encoding="utf-8"))
    if isinstance(held, str):
        raise Unavailable(held)
    return [Line.from_json(line) for line in held]


def _child(row: str, quick: bool, out: Path) -> int:
    try:
        lines = importlib.import_module(f"benchmarks.cost.rows.{row}").measure(quick)
    except Unavailable as why:
        held: object = str(why)
    else:
        held = [line.to_json() for line in lines]
    out.write_text(json.dumps(held), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
