"""Outcomes in, one plain document out; its shape is ``schema.json``."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any, Final

from otel_ml._version import __version__
from otel_ml.selftest.battery import Outcome

__all__ = ["SCHEMA", "document"]

SCHEMA: Final = "otel-ml/selftest/1"
_PACKAGES: Final = ("opentelemetry-sdk", "numpy", "requests", "protobuf", "grpcio")


def document(
    outcomes: Sequence[Outcome], *, mode: str, started: float, seconds: float
) -> dict[str, Any]:
    """Return the report.

    Parameters
    ----------
    outcomes
        In the order in which they came.
    mode
        ``quick``, ``full`` or ``only``.
    started
        Seconds since the Unix epoch.
    seconds
        How long it took.

    Returns
    -------
    dict of str to object
        Plain JSON values; the shape is ``otel_ml/selftest/schema.json``.
    """
    verdicts = Counter(outcome.trial.verdict for outcome in outcomes)
    return {
        "schema": SCHEMA,
        "ok": not verdicts["FAIL"],
        "mode": mode,
        "started_at": datetime.fromtimestamp(started, timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "versions": {"otel-ml": __version__, **_versions()},
        "machine": {
            "python": platform.python_version(),
            "system": platform.platform(terse=True),
            "processors": os.cpu_count(),
        },
        "counts": {name.lower(): verdicts[name] for name in ("PASS", "FAIL", "SKIP")},
        "faults": [_fault(outcome) for outcome in outcomes],
    }


def _fault(outcome: Outcome) -> dict[str, Any]:
    fault, trial = outcome.fault, outcome.trial
    return {
        "id": fault.id,
        "title": fault.title,
        "promise": fault.promise,
        "verdict": trial.verdict,
        "reason": trial.reason,
        "seconds": round(outcome.seconds, 2),
        "checks": [asdict(check) for check in trial.checks],
        "latency": trial.latency or None,
        "accounting": trial.accounting,
        "memory_growth_bytes": trial.memory,
        "recovery_seconds": None if trial.recovery is None else round(trial.recovery, 2),
        "messages": trial.messages,
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
