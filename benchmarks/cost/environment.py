"""Nothing in, the environment variables in which a row is measured out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from benchmarks.cost.models import BY_HAND, WATCHED
from benchmarks.cost.predictions import reference_file

__all__ = ["environment", "prepare"]

_ONE_THREAD: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_OFF: Final = ("OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER", "OTEL_TRACES_EXPORTER")


def prepare(folder: Path) -> Path:
    """Write references and a configuration that names them; return the latter."""
    entries = []
    for model in (WATCHED, BY_HAND):
        path = reference_file(folder / f"{model.replace(' ', '-')}.json", model)
        entries.append(f'  - name: "{model}"\n    reference: "{path}"\n')
    config = folder / "otel-ml.yaml"
    config.write_text("models:\n" + "".join(entries), encoding="utf-8")
    return config


def environment(config: Path, **more: str) -> dict[str, str]:
    """Return the variables of this process without those of OpenTelemetry, and our own.

    Nothing is exported unless a variable in ``more`` says so.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    kept |= dict.fromkeys(_ONE_THREAD, "1") | dict.fromkeys(_OFF, "none")
    kept["OTEL_ML_CONFIG_FILE"] = str(config)
    return kept | more
