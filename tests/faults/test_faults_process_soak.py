"""A short soak: memory bounded and flat, as are threads and descriptors; the long ones are by hand.

`python -m tests.faults.soak --help` tells how to run those.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.faults.processes import alone
from tests.faults.soak import ABOVE_BASE, Reading, Report

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="reads memory where Linux tells it"
)

STEEP = "30"  # MiB per minute: of half a minute, readings of an allocator say no more


@pytest.mark.fault("C10", "D14")
@pytest.mark.slow
@pytest.mark.parametrize(
    "load",
    [
        ("--collector", "refused", "--rate", "5000", "--slope", STEEP),
        ("--collector", "silent", "--rate", "500", "--batch", "10", "--slope", STEEP),
        # forty models whose state is still filling up: bounded here, flat only in the long run
        ("--collector", "up", "--rate", "1000", "--churn", "--above", "128", "--slope", "1000"),
    ],
    ids=["refused", "silent", "churn"],
)
def test_memory_threads_and_descriptors_are_bounded(load: tuple[str, ...], tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    arguments = ("--minutes", "0.3", "--every", "1", "--report", str(report))
    done = alone("tests.faults.soak", *load, *arguments, module=True, timeout=300)
    figures = json.loads(report.read_text(encoding="utf-8"))
    assert (done.code, figures["problems"]) == (0, []), done.out
    assert figures["restarts"] == 0
    assert figures["predictions"] > 1000
    print(done.out, file=sys.stderr)


def test_a_leak_is_found() -> None:
    """What grows fails: the check of the soak is checked."""

    def report(rss: float = 0.0, threads: float = 0.0, descriptors: float = 0.0) -> Report:
        readings = [
            Reading(
                10.0 * i,
                100 + rss * i / 6,
                4 + int(threads * i),
                9 + int(descriptors * i),
                1000 * i,
            )
            for i in range(60)
        ]
        return Report(90.0, predictions=59_000, wanted=59_000, readings=readings)

    assert report().problems() == []
    assert report(rss=0.9).problems() == []
    assert "MiB per minute" in report(rss=1.2).problems()[0]
    assert f"at most {ABOVE_BASE}" in report(rss=9.0).problems()[0]
    assert "threads grow" in report(threads=0.1).problems()[0]
    assert "descriptors grow" in report(descriptors=0.1).problems()[0]
