"""Options in, the table of named causes and the raw records out."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

RESULTS: Final = Path(__file__).with_name("results")
TUNED_ON: Final = ("loans",)
HELD_OUT: Final = ("people", "cells")


def main() -> int:
    """Run what is asked for and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.advice",
        description="Inject faults, and see whether the incident names their cause.",
    )
    parser.add_argument("--seeds", type=int, default=20, help="of each fault (default: 20)")
    parser.add_argument("--first-seed", type=int, default=100, help="default: 100")
    parser.add_argument(
        "--world", action="append", default=[], help=f"default: {', '.join(HELD_OUT)}"
    )
    parser.add_argument("--kind", action="append", default=[], help="default: all")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--out", type=Path, default=RESULTS / "held_out.json")
    parser.add_argument("--verbose", action="store_true", help="print each wrong one")
    asked = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from benchmarks.advice.faults import KINDS
    from benchmarks.advice.run import needed

    kinds = asked.kind or list(KINDS)
    worlds = asked.world or list(HELD_OUT)
    tasks = [
        (world, kind, seed)
        for world in worlds
        for kind in kinds
        if needed(kind, world)
        for seed in range(asked.first_seed, asked.first_seed + asked.seeds)
    ]
    records = _all(tasks, asked.jobs)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(r) for r in records)
    asked.out.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(table(records))
    if asked.verbose:
        for r in records:
            if r["place"] != 1:
                print(*(r[k] for k in ("world", "kind", "seed", "delay", "culprit", "causes")))
    return 0


def _one(task: tuple[str, str, int]) -> dict[str, object] | None:
    from benchmarks.advice.run import run

    record = run(*task)
    return None if record is None else record.to_json()


def _all(tasks: Sequence[tuple[str, str, int]], jobs: int) -> list[dict[str, object]]:
    if jobs == 1:
        found: Iterable[dict[str, object] | None] = map(_one, tasks)
        return [r for r in found if r is not None]
    with ProcessPoolExecutor(jobs) as pool:
        return [r for r in pool.map(_one, tasks, chunksize=4) if r is not None]


def table(records: Sequence[dict[str, object]]) -> str:
    """Return shares of runs with the injected cause named first and among the first three.

    Parameters
    ----------
    records
        As written to the file.
    """
    lines = [
        "| fault | runs | found | first | first three | culprit | for whom | median delay |",
        "|---|---|---|---|---|---|---|---|",
    ]
    kinds = list(dict.fromkeys(str(r["kind"]) for r in records))
    for kind in [*kinds, ""]:
        held = [r for r in records if kind in ("", r["kind"])]
        found = [r for r in held if r["found"]]
        n = max(len(found), 1)

        def share(name: str, rows: Sequence[dict[str, object]] = found, n: int = n) -> str:
            return f"{sum(bool(r[name]) for r in rows) / n:.0%}"

        first = sum(r["place"] == 1 for r in found) / n
        three = sum(r["place"] in (1, 2, 3) for r in found) / n
        delays = sorted(int(str(r["delay"])) for r in held)
        lines.append(
            f"| {kind or '**all**'} | {len(held)} | {len(found)} | {first:.0%} | {three:.0%} "
            f"| {share('target_right')} | {share('whom_right')} | {delays[len(delays) // 2]} |"
        )
    early = sum(bool(r["early"]) for r in records)
    lines += ["", f"Shares are of the runs found. An incident before the fault: {early} runs."]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
