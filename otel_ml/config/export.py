"""What can be configured about delivery: one more of the dataclasses of `otel_ml.config.model`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from otel_ml.config.option import not_empty, option

__all__ = ["ExportSettings"]


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """What is done so that telemetry arrives; where it goes is said by the variables of OTLP."""

    spool: Path | None = field(
        default=None,
        metadata=option(
            "Private directory in which telemetry is committed before it is sent. What a process "
            "could not deliver, or was killed with, is sent by the next one that starts with this "
            "directory, under the identity it had; several processes may share it. At most what "
            "came after the last export (`OTEL_METRIC_EXPORT_INTERVAL`, 60 s) is then lost with a "
            "process. Metrics arrive once in effect; an event may arrive twice where a process "
            "ends between its being accepted and its being forgotten. Not given: it is kept in "
            "memory only.",
            env="OTEL_ML_SPOOL_DIR",
            check=not_empty,
        ),
    )
    spool_bytes: int = field(
        default=64 * 1024 * 1024,
        metadata=option(
            "Bytes all files in `spool` may take together; beyond it the oldest that ended "
            "processes left are lost and counted.",
            minimum=1024 * 1024,
            maximum=2**40,
        ),
    )
