"""The real stack as fixtures: ``binaries`` once per session, ``stack`` once per module."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

COLLECTOR_CONFIG = Path(__file__).resolve().parents[2] / "collector_config"
sys.path.insert(0, str(COLLECTOR_CONFIG))

import stack as stack_module  # noqa: E402


@pytest.fixture(scope="session")
def config_dir() -> Path:
    """Return the folder of the shipped configurations."""
    return COLLECTOR_CONFIG


@pytest.fixture(scope="session")
def binaries() -> stack_module.Binaries:
    """Build the stack, or take it from the cache."""
    try:
        return stack_module.ensure_built()
    except stack_module.StackError as error:
        if shutil.which("go") or os.environ.get("CI") == "true":
            pytest.fail(f"The stack cannot be built.\n{error}", pytrace=False)
        pytest.skip(f"The stack is not built and Go is missing.\n{error}")


@pytest.fixture(scope="module")
def stack(
    binaries: stack_module.Binaries, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[stack_module.Stack]:
    """Run Prometheus and the Collector for the length of a test module."""
    with stack_module.Stack(tmp_path_factory.mktemp("stack")) as running:
        yield running
