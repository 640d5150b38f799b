"""Reports of tests in, the recorded result of every test that stands for a fault out.

`pytest --fault-results FILE` keeps what FILE holds of other tests, so a run of some is enough to
bring it up to date. Results are per test function: its parameters are counted.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

import pytest

__all__ = ["SCHEMA", "Recorder"]

SCHEMA: Final = "otel-ml/fault-results/1"
PROPERTY: Final = "faults"
PACKAGES: Final = ("otel-ml", "opentelemetry-sdk", "numpy", "scikit-learn", "pandas", "pytest")


class Recorder:
    """Collects outcomes and writes them at the end; a plugin of pytest.

    Parameters
    ----------
    file
        Where to.
    writes
        Whether this is the process that sees every report; with xdist only one does.
    """

    def __init__(self, file: Path, *, writes: bool) -> None:
        self._file = file
        self._writes = writes
        self._outcomes: dict[str, dict[str, str]] = {}
        self._seconds: dict[str, float] = {}
        self._faults: dict[str, set[str]] = {}

    def pytest_collection_modifyitems(self, items: Sequence[pytest.Item]) -> None:
        """Attach the faults of each test to its reports, which may travel to another process."""
        for item in items:
            named = [name for mark in item.iter_markers("fault") for name in mark.args]
            if named:
                item.user_properties.append((PROPERTY, sorted(set(named))))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the report of one phase of one test."""
        named: Any = dict(report.user_properties).get(PROPERTY)
        if not named:
            return
        test = report.nodeid.partition("[")[0]
        self._faults.setdefault(test, set()).update(named)
        self._seconds[test] = self._seconds.get(test, 0.0) + report.duration
        outcomes = self._outcomes.setdefault(test, {})
        if report.skipped:
            outcomes[report.nodeid] = "skipped"
        elif report.failed or (report.when == "call" and report.nodeid not in outcomes):
            outcomes[report.nodeid] = report.outcome

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the file."""
        if not self._writes or not self._outcomes:
            return
        found: dict[str, Any] = {}
        if self._file.exists():
            found = json.loads(self._file.read_text(encoding="utf-8"))["tests"]
        day = datetime.now(timezone.utc).date().isoformat()
        for test, outcomes in self._outcomes.items():
            counts = list(outcomes.values())
            found[test] = {
                "faults": sorted(self._faults[test]),
                **{name: counts.count(name) for name in ("passed", "failed", "skipped")},
                "seconds": round(self._seconds[test], 1),
                "date": day,
            }
        document = {
            "schema": SCHEMA,
            "date": day,
            "versions": versions(),
            "tests": dict(sorted(found.items())),
        }
        self._file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def versions() -> dict[str, str]:
    """Return what was tested, and with what."""
    found = {"python": platform.python_version(), "system": sys.platform}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
