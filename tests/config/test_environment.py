from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from otel_ml.config import environment

# Runs opentelemetry-instrument with our module as the only entry point of its group.
RUN = """
import sys
from importlib.metadata import EntryPoint
import opentelemetry.instrumentation.auto_instrumentation as auto
ours = EntryPoint(
    "otel_ml", "otel_ml.config.environment", "opentelemetry_environment_variables"
)
auto.entry_points = lambda group: [ours] if group == ours.group else []
sys.argv = ["opentelemetry-instrument", *sys.argv[1:]]
auto.run()
"""


def test_every_constant_is_a_flag_of_opentelemetry_instrument() -> None:
    flags: list[str] = []
    wanted: dict[str, str] = {}
    for name in sorted(vars(environment)):
        if name.startswith("OTEL_"):
            wanted[name] = f"v-{name}"
            flags += [f"--{name.removeprefix('OTEL_').lower()}", wanted[name]]
    shown = ";".join(f"printf '%s\\n' \"${name}\"" for name in wanted)
    done = subprocess.run(
        [sys.executable, "-c", RUN, *flags, "sh", "-c", shown],
        capture_output=True,
        text=True,
        timeout=60,
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("OTEL_")},
            "PYTHONPATH": str(Path(environment.__file__).parents[2]),
        },
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == list(wanted.values())


def test_the_project_names_this_module_as_the_entry_point() -> None:
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    project = tomllib.loads(
        (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    )
    points = project["project"]["entry-points"]["opentelemetry_environment_variables"]
    for name, value in points.items():
        loaded = EntryPoint(name, value, "opentelemetry_environment_variables").load()
        assert loaded is environment
