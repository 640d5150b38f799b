"""A task in, its record out: what the engine and the windows did on one and the same stream."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from benchmarks.detection import oracle, windows
from benchmarks.detection.drive import LABEL_DELAY, Run, Seen, reference_of
from benchmarks.detection.faults import FAULTS, Fault
from benchmarks.detection.models import Case, case
from benchmarks.detection.picks import loosest_column, moved_by_rank, number_column
from benchmarks.detection.places import engine_id
from benchmarks.detection.plan import Task, kind_of
from benchmarks.detection.site import Site, Truth
from benchmarks.detection.streams import KINDS, Rows, Traffic

_CHUNK: Final = 10_000
_WINDOWED: Final = 4  # null runs of a condition on which windows are watched, too


def measure(task: Task) -> dict[str, Any]:
    """Return the record of a task."""
    started = time.process_time()
    found = _fault(task) if task.part == "fault" else _null(task)
    return {
        "task": asdict(task),
        "engine": engine_id(),
        "all_seconds": round(time.process_time() - started, 2),
        **found,
    }


def score(held: Case, rows: Rows) -> Rows:
    """Return the rows with what the model says about them."""
    rows.scores = held.model.predict(rows.columns)
    return rows


def start(task: Task, held: Case, traffic: Traffic) -> tuple[Run, Rows]:
    """Return an engine that has its reference, or has learned it, and the rows of that."""
    rows = score(held, traffic.draw(task.reference_rows))
    if task.reference == "learned":
        run = Run(held, None, batch=task.batch)
        run.feed(rows)
        return run, rows
    if task.reference == "shuffled":
        shuffled = rows.take(np.random.default_rng(task.seed).permutation(len(rows)))
        return Run(held, reference_of(held, shuffled), batch=task.batch), rows
    return Run(held, reference_of(held, rows), batch=task.batch), rows


def _null(task: Task) -> dict[str, Any]:
    held = case(task.case)
    traffic = Traffic(held, kind_of(task), task.seed, reference_rows=task.reference_rows)
    run, reference = start(task, held, traffic)
    known = run.seen.rows
    pick = np.random.default_rng([task.seed, 5])
    column = loosest_column(held)
    watched = task.part == "null" and task.seed % 1000 < _WINDOWED
    seen: list[windows.Window] = []
    chunk = max(1000, min(_CHUNK, 2_000_000 // (task.width + 20)))
    for first in range(0, task.rows, chunk):
        rows = traffic.draw(min(chunk, task.rows - first))
        if task.floor:
            pool, size = held.table.pool[column], np.array(task.floor)
            rows.columns[column] = moved_by_rank(pool, rows.columns[column], size, pick)
        run.feed(score(held, rows))
        if watched:
            seen += windows.watch(reference, rows)
    kept = list(run.seen.incidents.values())
    found: dict[str, Any] = {
        "rows": run.seen.rows - known,
        "seconds": round(run.seen.seconds, 3),
        "opened": len(kept),
        "paged": sum(i["paged"] or i.get("later", i)["paged"] for i in kept),
        "incidents": [
            {k: i[k] for k in ("opened_row", "paged", "causes")} | {"members": i["members"][:3]}
            for i in kept[:20]
        ],
    }
    if watched:
        found["windows"] = {
            "rows": windows.WINDOW * len(seen),
            **{rule: len(at) for rule, at in windows.alarms(held, seen).items()},
        }
    return found


def faulty_stream(
    task: Task, held: Case, traffic: Traffic, fault: Fault
) -> tuple[Rows, int, int, Truth]:
    """Return rows, the first faulty row, the end of the fault, and the truth about it."""
    rng = np.random.default_rng([task.seed, 7])
    onset = int(rng.integers(2000, 4001))
    stop = onset + (fault.lasts or fault.horizon)
    rows = traffic.draw(stop + fault.after)
    site = Site(held, traffic, rows, onset, stop, np.random.default_rng([task.seed, 11]), rng)
    truth = fault.apply(site)
    score(held, rows)
    if truth.outputs is not None:
        rows.scores[site.part] = truth.outputs(rows.scores[site.part])
    return rows, onset, stop, truth


def laws(task: Task, held: Case, fault: Fault, column: str) -> oracle.Laws:
    """Return the laws of the column that a fault moves, measured on 60,000 rows of either."""
    traffic = Traffic(held, KINDS["iid"], 77)
    kind = kind_of(task)
    traffic.kind = type(kind)(width=kind.width)
    traffic.loads = np.zeros((10, kind.width))
    clean, rows = traffic.draw(60_000), traffic.draw(60_000)
    pick, rng = np.random.default_rng([task.seed, 11]), np.random.default_rng(78)
    fault.apply(Site(held, traffic, rows, 0, len(rows), pick, rng))
    return oracle.laws_of(clean.columns[column], rows.columns[column])


def _fault(task: Task) -> dict[str, Any]:
    held, fault = case(task.case), FAULTS[task.condition]
    traffic = Traffic(held, kind_of(task), task.seed, reference_rows=max(task.reference_rows, 5000))
    if fault.group == "learned":
        run, reference = _learn_from_faulty(task, held, traffic)
    else:
        run, reference = start(task, held, traffic)
    known = run.seen.rows
    rows, onset, stop, truth = faulty_stream(task, held, traffic, fault)
    if truth.from_labels:  # nothing can be seen before the first of them arrives
        onset += LABEL_DELAY
    run.feed(rows, until=None if fault.lasts else known + onset)
    found = judged(run.seen, truth, known + onset, known + stop, fault)
    if fault.group in {"main", "ignored"} and task.kind == "iid" and truth.column:
        both = laws(task, held, fault, truth.column)
        at = oracle.alarm(both, rows.columns[truth.column], onset)
        found["kl"] = round(both.kl, 5)
        found["known_law_delay"] = (stop if at is None else at) - onset
    if fault.group == "main":
        found["windows"] = _windowed(held, reference, rows, onset, stop, truth)
    return found | {"right": sorted(truth.right), "seconds": round(run.seen.seconds, 3)}


def _learn_from_faulty(task: Task, held: Case, traffic: Traffic) -> tuple[Run, Rows]:
    rows = traffic.draw(task.reference_rows)
    column = number_column(held, np.random.default_rng([task.seed, 11]))
    rows.columns[column][: task.reference_rows // 100] *= 1000.0
    run = Run(held, None, batch=task.batch)
    run.feed(score(held, rows))
    return run, rows


def judged(seen: Seen, truth: Truth, onset: int, stop: int, fault: Fault) -> dict[str, Any]:
    """Return how the incidents compare with the truth.

    An incident counts that opened after the onset, or that was open and got a right member since.
    """
    limit = onset + fault.horizon
    kept = list(seen.incidents.values())
    best: tuple[int, dict[str, Any]] | None = None
    for incident in kept:
        last = incident.get("later", incident)
        rows = [incident["opened_row"]] if incident["opened_row"] > onset else []
        rows += [m[4] for m in last["members"] if m[1] in truth.right and m[4] > onset]
        if rows and min(rows) <= limit and (best is None or min(rows) < best[0]):
            best = (min(rows), incident)
    found: dict[str, Any] = {
        "onset": onset,
        "found": best is not None,
        "delay": fault.horizon if best is None else best[0] - onset,
        "before": sum(i["opened_row"] <= onset for i in kept),
    }
    if best is not None:
        incident = best[1]
        last = incident.get("later", incident)
        names = [m[1] for m in incident["members"]]
        soon = [m[1] for m in incident.get("soon", incident)["members"]]
        lasting = [m[1] for m in last["members"]]
        found |= {
            "first": names[0],
            "first_right": names[0] in truth.right,
            "first_right_soon": soon[0] in truth.right,
            "first_right_later": lasting[0] in truth.right,
            "among": bool(truth.right.intersection(lasting)),
            "members": len(lasting),
            "paged": incident["paged"] or last["paged"],
            "cause_first": bool(incident["causes"]) and incident["causes"][0] in truth.causes,
            "cause_first_later": bool(last["causes"]) and last["causes"][0] in truth.causes,
            "cause_three": bool(set(incident["causes"]) & set(truth.causes)),
            "cause_three_later": bool(set(last["causes"]) & set(truth.causes)),
            "causes": incident["causes"],
            "change_error": incident["change_row"] - onset,
        }
    if fault.lasts:
        open_then = [i for i in kept if onset < i["opened_row"] <= stop]
        found["closed"] = bool(open_then) and all(
            i.get("later", i)["closed_row"] is not None for i in open_then
        )
        found["echoes"] = sum(i["opened_row"] > stop for i in kept)
    return found


def _windowed(
    held: Case, reference: Rows, rows: Rows, onset: int, stop: int, truth: Truth
) -> dict[str, Any]:
    """Return what windows say; the one in which the fault begins counts as after it."""
    first = onset - onset % windows.WINDOW
    part = rows.take(slice(first, stop))
    found: dict[str, Any] = {}
    for rule, at in windows.alarms(held, windows.watch(reference, part)).items():
        delay = first + at[0][0] - onset if at else stop - onset
        found[rule] = [bool(at), delay, bool(at) and at[0][1] in truth.right]
    return found
