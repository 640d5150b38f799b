"""The demo through the real Collector and Prometheus: counts are exact, every panel answers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.stack, pytest.mark.slow]

SCRIPT = Path(__file__).resolve().parents[2] / "collector_config" / "demo_stack.py"


def test_every_fault_is_found_and_every_panel_of_the_dashboards_answers(
    tmp_path: Path, binaries: object
) -> None:
    command = [sys.executable, str(SCRIPT), "--out", str(tmp_path), "--rows-per-second", "600"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=420, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    told = json.loads((tmp_path / "outcome.json").read_text(encoding="utf-8"))
    assert told["ok"]
    assert told["telemetry_violations"] == []
    assert told["paged_before_first_fault"] == 0
    assert all(fault["rightly_named"] for fault in told["faults"])
    assert "0 without an answer" in done.stdout
