"""What all tests share: patience with a busy machine, and a record of what stands for a fault."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("otel-ml", deadline=None)
settings.load_profile("otel-ml")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that records results for docs/faults.md."""
    parser.addoption(
        "--fault-results",
        type=Path,
        metavar="FILE",
        help="write the results of tests that stand for a fault to FILE, as JSON",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Record results where that is asked for."""
    file = config.getoption("--fault-results")
    if file is None:
        return
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tests.faults.recording import Recorder

    recorder = Recorder(file.resolve(), writes=not hasattr(config, "workerinput"))
    config.pluginmanager.register(recorder, "fault-results")
