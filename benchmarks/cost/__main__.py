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

from benchmarks.cost.line import Line
from benchmarks.cost.table import missed, table

ROOT: Final = Path(__file__).resolve().parents[2]
ROWS: Final = (
    "request_path",
    "total_cpu",
    "batch_cpu",
    "batch_path",
    "memory",
    "export_size",
    "instructions",
    "server",
    "gil",
)
_LONGEST: Final = 900.0  # seconds of one row: a guard against hanging


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cost",
        description="Measure what monitoring costs, each figure beside its anchor.",
    )
    parser.add_argument("--only", action="append", default=[], choices=ROWS, help="rows to measure")
    parser.add_argument("--quick", action="store_true", help="a look: the figures say little")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)  # where its lines go
    asked = parser.parse_args(arguments)
    if asked.child is not None:
        return _child(asked.only[0], asked.quick, asked.child)
    measured: dict[str, list[Line]] = {}
    with tempfile.TemporaryDirectory(prefix="otel-ml-cost-") as name:
        from benchmarks.cost.environment import prepare

        folder = Path(name)
        config = prepare(folder)
        for row in asked.only or ROWS:
            started = time.perf_counter()
            measured[row] = run(row, asked.quick, folder, config)
            took = time.perf_counter() - started
            print(f"{row}: {took:.0f} s", file=sys.stderr, flush=True)
    print(table(measured))
    over = missed(line for lines in measured.values() for line in lines)
    for line in over:
        print(f"over its budget: {line.what}", file=sys.stderr)
    return 1 if over else 0


def run(row: str, quick: bool, folder: Path, config: Path) -> list[Line]:
    """Measure one row in a process of its own, so that none disturbs another."""
    from benchmarks.cost.environment import environment

    out = folder / f"{row}.json"
    command = [sys.executable, "-m", "benchmarks.cost", "--only", row, "--child", str(out)]
    command += ["--quick"] if quick else []
    subprocess.run(command, cwd=ROOT, env=environment(config), check=True, timeout=_LONGEST)
    return [Line.from_json(held) for held in json.loads(out.read_text(encoding="utf-8"))]


def _child(row: str, quick: bool, out: Path) -> int:
    lines = importlib.import_module(f"benchmarks.cost.rows.{row}").measure(quick)
    out.write_text(json.dumps([line.to_json() for line in lines]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
