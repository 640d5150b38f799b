"""The work folder: in, a path; out, a trained model and a configuration in it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from otel_ml.demo.data import example_folder
from otel_ml.demo.reference import MODEL_NAME, SENSITIVE
from otel_ml.errors import OtelMlError

__all__ = [
    "BUDGET",
    "Paths",
    "ServerError",
    "check_installed",
    "environment",
    "tail",
    "train",
    "write_config",
]

BUDGET: Final[dict[str, Any]] = {"false_incidents": 1, "per": "100000rows"}
MIN_EFFECT: Final = 0.06
TRAIN_LIMIT: Final = 180.0
"""Guard against hanging, in seconds."""


class ServerError(OtelMlError):
    """Training, or the server, failed; the end of its output is in the message."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Where things are in the work folder.

    Parameters
    ----------
    root
        The work folder.
    """

    root: Path

    @property
    def state(self) -> Path:
        """Private folder for labels and commands."""
        return self.root / "state"

    @property
    def config(self) -> Path:
        """Configuration of otel-ml."""
        return self.root / "otel-ml.yaml"

    @property
    def reference(self) -> Path:
        """Profile of the training data."""
        return self.root / "reference.json"

    @property
    def training(self) -> Path:
        """Table of the training data."""
        return self.root / "training.npz"

    @property
    def model(self) -> Path:
        """The model file that is served."""
        return self.root / "model.joblib"

    @property
    def bad_model(self) -> Path:
        """The version that should not have been rolled out."""
        return self.root / "model-v2.joblib"

    @property
    def latency(self) -> Path:
        """Latency of the simulated feature store, milliseconds."""
        return self.root / "feature-store-latency-ms"

    @property
    def log(self) -> Path:
        """Output of the server."""
        return self.root / "server.log"

    def prepare(self) -> None:
        """Make the folders, and remove what an earlier run has left."""
        self.root.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.state, ignore_errors=True)
        self.state.mkdir(mode=0o700)
        for path in (self.log, self.latency):
            path.unlink(missing_ok=True)


def check_installed() -> None:
    """Refuse to start where something is missing.

    Raises
    ------
    ServerError
        The ``[demo]`` extra, or the package itself, is not installed in this environment.
    """
    wanted = {
        "opentelemetry-distro": "opentelemetry.distro",
        "scikit-learn": "sklearn",
        "fastapi": "fastapi",
        "uvicorn": "uvicorn",
    }
    absent = [name for name, module in wanted.items() if not _importable(module)]
    if absent:
        raise ServerError(
            f"the demo needs {', '.join(absent)}, which this environment lacks",
            remedy="pip install 'otel-ml[demo]'",
        )
    if not importlib.metadata.entry_points(group="opentelemetry_instrumentor", name="ml"):
        raise ServerError(
            "otel-ml is not installed, only importable: opentelemetry-instrument cannot find it",
            remedy="pip install 'otel-ml[demo]', or in a clone: pip install -e '.[demo]'",
        )


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def train(paths: Paths, seed: int) -> dict[str, Any]:
    """Train the model in a process of its own; return what it says about itself."""
    command = [sys.executable, str(example_folder() / "train.py"), str(paths.root)]
    done = subprocess.run(
        [*command, "--seed", str(seed)],
        cwd=paths.root,
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=TRAIN_LIMIT,
        check=False,
    )
    if done.returncode:
        raise ServerError(f"training failed:\n{tail(done.stderr)}", remedy="Read the error above.")
    (paths.root / "model-v1.joblib").write_bytes(paths.model.read_bytes())
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def write_config(paths: Paths) -> None:
    """Write the configuration: one model, its reference, the budget, the effect floor."""
    settings = {
        "models": [
            {
                "name": MODEL_NAME,
                "reference": paths.reference.name,
                "positive": "1",
                "sensitive": list(SENSITIVE),
            }
        ],
        "budget": BUDGET,
        "min_effect": MIN_EFFECT,
    }
    paths.config.write_text(yaml.safe_dump(settings, sort_keys=False))


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a child process: the user's without theirs of OTel, and `more`."""
    # The user's own OTEL_* settings would send the demo's telemetry to their backend.
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    return {
        **kept,
        "OMP_NUM_THREADS": "1",  # more threads for one row only wait for each other
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        **more,
    }


def tail(text: str, lines: int = 25) -> str:
    """Return the last lines of a text."""
    return "\n".join(text.splitlines()[-lines:])
