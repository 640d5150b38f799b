"""The benchmark's streams in, what other tools say about them out, one environment per tool."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection import store, windows
from benchmarks.detection.faults import FAULTS
from benchmarks.detection.measure import faulty_stream, score
from benchmarks.detection.models import CASES, case
from benchmarks.detection.places import HERE, cache_folder
from benchmarks.detection.plan import Task, kind_of
from benchmarks.detection.streams import Rows, Traffic

_KINDS: Final = ("iid", "mild sessions")
_NOTHING_SENT: Final = {"DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}


@dataclass(frozen=True)
class Peer:
    """A tool: the packages of its environment, and the script that runs there."""

    name: str
    needs: tuple[str, ...]
    script: str


PEERS: Final = (
    Peer("evidently", ("evidently", "pandas<3"), "with_evidently.py"),
    Peer("nannyml", ("nannyml", "pandas<3", "statsmodels"), "with_nannyml.py"),
    Peer("alibi-detect", ("alibi-detect",), "with_alibi_detect.py"),
    Peer("river-adwin", ("river",), "with_river.py"),
    Peer("river-page-hinkley", ("river",), "with_river.py"),
)


def run(folder: Path, *, quick: bool, only: tuple[str, ...] = ()) -> None:
    """Measure the peers and keep the records in ``peers.jsonl``.

    Parameters
    ----------
    folder
        Where the records go.
    quick
        One seed of each fault instead of six, and a quarter of the rows without fault.
    only
        Names of peers; all if empty.
    """
    streams = cache_folder() / ("peers-quick" if quick else "peers")
    streams.mkdir(exist_ok=True)
    held = [_write(streams, task) for task in _tasks(quick)]
    path = folder / "peers.jsonl"
    for peer in PEERS:
        if only and peer.name not in only:
            continue
        kept = [r for r in store.read(path) if r["peer"] != peer.name]
        store.keep(path, kept)
        python = _environment(peer)
        if python is None:
            for kind in _KINDS:
                store.append(path, {"peer": peer.name, "kind": kind, "missing": "does not install"})
            continue
        script = HERE / "peers" / peer.script
        quiet = os.environ | _NOTHING_SENT
        subprocess.run([python, str(script), str(streams), peer.name], check=True, env=quiet)
        for facts in held:
            store.append(path, _judge(peer.name, streams, facts))


def _tasks(quick: bool) -> list[Task]:
    found = []
    for kind in _KINDS:
        for i in range(2 if quick else 8):
            found.append(Task("null", kind, CASES[i % len(CASES)], 1000 + i, kind, rows=20_000))
        for i in range(1 if quick else 6 if kind == "iid" else 2):
            for fault in FAULTS.values():
                if fault.group == "main":
                    found.append(Task("fault", fault.name, CASES[i], 5000 + i, kind))
    return found


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype != object:
        return values.astype(np.float64)
    return np.array(["" if v is None else str(v) for v in values.tolist()])


def _write(folder: Path, task: Task) -> dict[str, Any]:
    """Write a stream unless it is there, and return what is known of it."""
    name = "".join(c if c.isalnum() else "-" for c in f"{task.kind} {task.condition} {task.seed}")
    facts_path = folder / f"{name}.facts"
    if facts_path.is_file():
        return dict(json.loads(facts_path.read_text()))
    held = case(task.case)
    traffic = Traffic(held, kind_of(task), task.seed, reference_rows=task.reference_rows)
    reference = score(held, traffic.draw(task.reference_rows))
    facts: dict[str, Any] = {"name": name, "kind": task.kind, "fault": ""}
    if task.part == "fault":
        fault = FAULTS[task.condition]
        rows, onset, stop, truth = faulty_stream(task, held, traffic, fault)
        first = onset - onset % windows.WINDOW
        rows = rows.take(slice(first, stop))
        facts |= {
            "fault": fault.name,
            "onset": onset - first,
            "right": sorted(truth.right),
            "horizon": fault.horizon,
        }
    else:
        rows = score(held, traffic.draw(task.rows))
    facts["rows"] = len(rows)
    _save(folder / f"{name}.npz", reference, rows, onset=int(facts.get("onset", -1)))
    facts_path.write_text(json.dumps(facts))
    return facts


def _save(path: Path, reference: Rows, rows: Rows, *, onset: int) -> None:
    arrays: dict[str, Any] = {"onset": np.array(onset)}
    known, now = windows.columns_of(reference), windows.columns_of(rows)
    for name, held in known.items():
        arrays[f"ref:{name}"] = _plain(held)
        values = now[name]
        if held.dtype != object and values.dtype == object:
            values = np.full(len(values), np.nan)  # words are no number to any of them
        arrays[f"now:{name}"] = _plain(values)
    np.savez(path, **arrays)


def _environment(peer: Peer) -> str | None:
    """Return the interpreter of a peer's environment, made if needed; None if it cannot be."""
    folder = cache_folder() / f"with-{peer.needs[0]}"
    python = folder / "bin" / "python"
    ready = folder / ".ready"
    if ready.is_file():
        return str(python)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    done = subprocess.run(
        [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            *peer.needs,
        ],
        check=False,
    )
    if done.returncode:
        return None
    ready.touch()
    return str(python)


def _judge(peer: str, folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
    said = json.loads((folder / f"{facts['name']}.{peer}.json").read_text())
    if isinstance(said, dict):
        print(f"{peer} failed on {facts['name']}: {said['error'].splitlines()[-1]}")
    record = {"peer": peer, "kind": facts["kind"], "fault": facts["fault"], "rows": facts["rows"]}
    if isinstance(said, dict):
        return {**record, "error": said["error"].splitlines()[-1]}
    if not facts["fault"]:
        return {**record, "alarms": len(said)}
    late = [a for a in said if a[0] > facts["onset"]]
    return {
        **record,
        "found": bool(late),
        "delay": late[0][0] - facts["onset"] if late else facts["horizon"],
        "first_right": bool(late) and late[0][1] in facts["right"],
    }
