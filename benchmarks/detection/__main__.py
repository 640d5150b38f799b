"""Options in, the tables of a run, or of the records that are there, out."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchmarks.detection.places import RESULTS


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.detection",
        description="Measure false incidents and the detection of faults.",
    )
    parser.add_argument(
        "verb", nargs="?", default="run", choices=("run", "report", "peers", "cost"),
        help="run: measure what is not measured yet, then report; peers: other tools, each in its "
        "own environment; cost: time and memory",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="a twentieth, in folder quick")
    parser.add_argument(
        "--only", action="append", default=[],
        help="null, factorial, fault, or the beginning of a condition; of peers: their names",
    )  # fmt: skip
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--results", type=Path, help="folder of the records")
    parser.add_argument(
        "--page", action="store_true", help="write the tables of the report into docs/detection.md"
    )
    asked = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # the processes share the cores
    folder: Path = asked.results or (RESULTS / "quick" if asked.quick else RESULTS)
    failed = 0
    if asked.verb == "cost":
        from benchmarks.detection.cost import report as costs

        print(costs())
        return 0
    if asked.verb == "run":
        from benchmarks.detection.plan import tasks
        from benchmarks.detection.run import run

        wanted = tasks(quick=asked.quick, only=tuple(asked.only))
        failed = run(wanted, folder, jobs=asked.jobs)
    if asked.verb == "peers":
        from benchmarks.detection.peers.host import run as compare

        compare(folder, quick=asked.quick, only=tuple(asked.only))
    from benchmarks.detection.report import report

    if asked.page:
        from benchmarks.detection.page import PAGE, filled

        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), folder), encoding="utf-8")
        return 1 if failed else 0
    print(report(folder))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
