"""Measured lines in, a record with what they were measured on out, and back."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from benchmarks.cost.line import Line

__all__ = ["RESULTS", "Record", "keep", "kept", "machine"]

RESULTS: Final = Path(__file__).resolve().parent / "results"
PACKAGES: Final = (
    "otel-ml",
    "numpy",
    "opentelemetry-sdk",
    "opentelemetry-instrumentation-fastapi",
    "prometheus-client",
    "fastapi",
    "uvicorn",
    "scikit-learn",
    "pandas",
)


@dataclass(frozen=True)
class Record:
    """The last kept run of one row.

    Parameters
    ----------
    row
        Its name.
    date
        Day of the run, UTC.
    seconds
        It took.
    machine
        What it ran on, by what: processor, cores, Python, packages.
    lines
        What was measured.
    """

    row: str
    date: str
    seconds: float
    machine: Mapping[str, str]
    lines: Sequence[Line]


def machine() -> dict[str, str]:
    """Return what a run depends on."""
    found = {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "Python": platform.python_version(),
    }
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return name[1].strip() if name else platform.machine()


def keep(row: str, lines: Sequence[Line], seconds: float, folder: Path = RESULTS) -> Path:
    """Write the record of a row in place of the last one."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{row}.json"
    held: dict[str, Any] = {
        "row": row,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "seconds": round(seconds, 1),
        "machine": machine(),
        "lines": [line.to_json() for line in lines],
    }
    path.write_text(json.dumps(held, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def kept(order: Sequence[str], folder: Path = RESULTS) -> list[Record]:
    """Return the records of a folder, in the order of the rows."""
    found = []
    for row in order:
        path = folder / f"{row}.json"
        if path.is_file():
            held = json.loads(path.read_text(encoding="utf-8"))
            lines = [Line.from_json(line) for line in held.pop("lines")]
            found.append(Record(**held, lines=lines))
    return found
