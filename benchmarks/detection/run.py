"""Tasks in, their records in files out: in parallel, resumable, old engines' ones replaced."""

from __future__ import annotations

import multiprocessing
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from benchmarks.detection import store
from benchmarks.detection.measure import measure
from benchmarks.detection.models import case
from benchmarks.detection.places import engine_id
from benchmarks.detection.plan import Task
from benchmarks.detection.windows import limits


def run(tasks: list[Task], folder: Path, *, jobs: int) -> int:
    """Measure what is not measured yet.

    Parameters
    ----------
    tasks
        What to measure.
    folder
        Where the records are; one file per part.
    jobs
        Processes.

    Returns
    -------
    int
        Tasks that failed.
    """
    files = {part: folder / f"{part}.jsonl" for part in {t.part for t in tasks}}
    done: set[str] = set()
    for path in files.values():
        records = store.read(path)
        fresh = [r for r in records if r["engine"] == engine_id()]
        if len(fresh) < len(records):
            print(f"{path.name}: {len(records) - len(fresh)} records of another engine dropped")
            store.keep(path, fresh)
        done |= {Task(**r["task"]).key for r in fresh}
    wanted = [t for t in tasks if t.key not in done]
    print(f"engine {engine_id()}: {len(tasks) - len(wanted)} of {len(tasks)} tasks are measured")
    for name in sorted({t.case for t in wanted}):
        limits(case(name))  # once, before processes race for it
    failed, started = 0, time.perf_counter()
    # the longest first, so that no process works alone at the end
    wanted.sort(key=lambda t: -(t.rows * (20 + t.width) * (20 if t.batch == 1 else 1)))
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for i, (task, record) in enumerate(pool.imap_unordered(_safely, wanted), start=1):
            if isinstance(record, str):
                failed += 1
                print(f"\nfailed: {task}\n{record}", file=sys.stderr)
            else:
                store.append(files[task.part], record)
            if sys.stderr.isatty() or i % 100 == 0 or i == len(wanted):
                spent = time.perf_counter() - started
                print(f"\r{i}/{len(wanted)}, {spent:.0f} s", end="\n", file=sys.stderr)
    return failed


def _safely(task: Task) -> tuple[Task, dict[str, Any] | str]:
    try:
        return task, measure(task)
    except Exception:
        return task, traceback.format_exc()
