"""What can be configured: frozen dataclasses in, and out of their fields everything else.

Each field carries its meaning, bounds and environment variable; the loader, the JSON Schema and the
reference page are all derived from them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from otel_ml.config.export import ExportSettings
from otel_ml.config.option import header, header_or_empty, not_empty, option
from otel_ml.config.units import parse_period

__all__ = [
    "BudgetSettings",
    "CaptureSettings",
    "ExportSettings",
    "ModelSettings",
    "Settings",
    "Task",
]

Task: TypeAlias = Literal["binary", "multiclass", "regression"]


@dataclass(frozen=True, slots=True)
class BudgetSettings:
    """How many false incidents a team puts up with."""

    false_incidents: float = field(
        default=1.0,
        metadata=option(
            "False incidents accepted per model and period. The variable takes the period, too: "
            "`1/30d` or `1/100000rows`.",
            env="OTEL_ML_FALSE_INCIDENTS",
            above=0.0,
            maximum=1e6,
        ),
    )
    per: str = field(
        default="30d",
        metadata=option(
            "The period: `30d`, `24h` or, in predictions, `100000rows`.", check=parse_period
        ),
    )
    rows_per_day: float | None = field(
        default=None,
        metadata=option(
            "Ceiling of the traffic expected, in predictions per day; it turns a period of time "
            "into a number of evaluations. Not given: it is learned from the first traffic.",
            above=0.0,
            maximum=1e13,
        ),
    )


@dataclass(frozen=True, slots=True)
class CaptureSettings:
    """What is taken from the serving process."""

    offline: bool = field(
        default=False,
        metadata=option(
            "Also take predictions made outside a server's request, as in batch scoring scripts.",
            env="OTEL_ML_CAPTURE_OFFLINE",
        ),
    )
    client_headers: tuple[str, ...] = field(
        default=(),
        metadata=option(
            "Request headers that identify the caller, the first one present wins. Only a keyed "
            "hash of the value is kept. Empty: callers are not told apart.",
            env="OTEL_ML_CLIENT_HEADERS",
            check=header,
        ),
    )
    request_id_headers: tuple[str, ...] = field(
        default=("x-request-id",),
        metadata=option(
            "Request headers whose value is kept as a second id under which labels may arrive.",
            check=header,
        ),
    )
    response_header: str = field(
        default="x-prediction-id",
        metadata=option(
            "Response header that tells the caller the prediction id. Empty: none is set.",
            env="OTEL_ML_RESPONSE_HEADER",
            check=header_or_empty,
        ),
    )
    queue_size: int = field(
        default=10_000,
        metadata=option(
            "Calls held between the request path and the worker; beyond it they are dropped and "
            "counted.",
            minimum=1,
            maximum=10_000_000,
        ),
    )
    flush_on_sigterm: bool = field(
        default=False,
        metadata=option(
            "Export what is left before SIGTERM or SIGHUP ends the process, within three seconds; "
            "for scripts and pools, since servers end in order. Handlers there are run as before.",
            env="OTEL_ML_FLUSH_ON_SIGTERM",
        ),
    )


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """What is known about one model."""

    name: str = field(
        default="",
        metadata=option(
            "Name in all telemetry. Required where several models are listed; empty: the load "
            "path's stem, else the class name.",
            env="OTEL_ML_MODEL_NAME",
        ),
    )
    version: str | None = field(
        default=None,
        metadata=option(
            "Version in all telemetry. Not given: omitted, never invented.",
            env="OTEL_ML_MODEL_VERSION",
            check=not_empty,
        ),
    )
    match: str | None = field(
        default=None,
        metadata=option(
            "Class name, or stem of the path the model was loaded from, to which this entry "
            "applies. Not given: any model, where it is the only entry.",
            check=not_empty,
        ),
    )
    reference: Path | None = field(
        default=None,
        metadata=option(
            "Reference profile, as written by `otel-ml init`. Not given: the first traffic becomes "
            "the reference.",
            env="OTEL_ML_REFERENCE",
            check=not_empty,
        ),
    )
    task: Task | None = field(
        default=None, metadata=option("What the model predicts. Not given: inferred.")
    )
    positive: str | None = field(
        default=None,
        metadata=option(
            "Label of the positive class of a binary model. Not given: the model's second class.",
            check=not_empty,
        ),
    )
    threshold: float = field(
        default=0.5,
        metadata=option(
            "Probability of the positive class from which a binary model decides for it.",
            minimum=0.0,
            maximum=1.0,
        ),
    )
    sensitive: tuple[str, ...] = field(
        default=(),
        metadata=option(
            "Columns by which fairness is watched.", env="OTEL_ML_SENSITIVE", check=not_empty
        ),
    )
    slices: tuple[str, ...] = field(
        default=(),
        metadata=option(
            "Columns by which performance is split without a fairness question.", check=not_empty
        ),
    )
    ignore: tuple[str, ...] = field(
        default=(),
        metadata=option("Columns that are neither profiled nor watched.", check=not_empty),
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of a process.

    Parameters
    ----------
    config_error
        What was wrong with the configuration, where these are the defaults used in its place.
    source
        The file they came from, ``OTEL_CONFIG_FILE`` for the declarative file or arguments, or
        None where there is neither.
    """

    enabled: bool = field(
        default=True, metadata=option("Whether anything is captured at all.", env="OTEL_ML_ENABLED")
    )
    state_dir: Path | None = field(
        default=None,
        metadata=option(
            "Private directory for labels, commands and snapshots. Not given: nothing is written.",
            env="OTEL_ML_STATE_DIR",
            check=not_empty,
        ),
    )
    playbook: Path | None = field(
        default=None,
        metadata=option(
            "Playbook with causes of your own: YAML, as described in `docs/advice.md`. A cause "
            "with the id of a built-in one replaces the keys it gives, any other is added. Not "
            "given: the built-in causes alone.",
            env="OTEL_ML_PLAYBOOK",
            check=not_empty,
        ),
    )
    models: tuple[ModelSettings, ...] = field(
        default=(),
        metadata=option("One entry per model. Every model served is watched, listed or not."),
    )
    budget: BudgetSettings = field(
        default_factory=BudgetSettings,
        metadata=option("False incidents accepted; every alarm threshold follows from it."),
    )
    capture: CaptureSettings = field(
        default_factory=CaptureSettings, metadata=option("What is taken from the process.")
    )
    export: ExportSettings = field(
        default_factory=ExportSettings,
        metadata=option("What is done so that telemetry arrives."),
    )
    min_effect: float = field(
        default=0.02,
        metadata=option(
            "Total variation distance from the reference below which input drift never alarms.",
            env="OTEL_ML_MIN_EFFECT",
            minimum=0.0,
            maximum=0.99,
        ),
    )
    learn_rows: int = field(
        default=2000,
        metadata=option(
            "Predictions that become the reference where none is given.",
            env="OTEL_ML_LEARN_ROWS",
            minimum=10,
            maximum=10_000_000,
        ),
    )
    min_group: int = field(
        default=10,
        metadata=option(
            "Smallest group, and smallest support of a category, that is ever exported.",
            minimum=1,
            maximum=1_000_000,
        ),
    )
    label_ttl_rows: int = field(
        default=100_000,
        metadata=option(
            "Predictions after which one that is still without its label is forgotten.",
            minimum=1,
            maximum=100_000_000,
        ),
    )
    salt: str | None = field(
        default=None,
        repr=False,
        metadata=option(
            "Key of the hash by which callers are told apart; give all workers the same. Not "
            "given: made anew by each process.",
            env="OTEL_ML_SALT",
            check=not_empty,
            secret=True,
        ),
    )
    config_error: str | None = None
    source: str | None = None
