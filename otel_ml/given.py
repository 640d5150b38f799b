"""What a caller gives to an engine in, a batch whose parts belong together out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from otel_ml.errors import DataError
from otel_ml.profile.frames import to_columns
from otel_ml.profile.outputs import as_scores
from otel_ml.types import Batch

__all__ = ["batch_of", "check_batch"]

_BY_ROW: Final = ("predictions", "scores", "ids", "aliases", "clients", "versions")
_FIELDS: Final = frozenset(f.name for f in dataclasses.fields(Batch)) - {"n", "features"}


def batch_of(features: Mapping[str, Any], columns: Mapping[str, Any]) -> Batch:
    """Return what a caller gave as a batch.

    Parameters
    ----------
    features
        Columns by name.
    columns
        Further fields of `Batch`.

    Raises
    ------
    DataError
        If a field is unknown or cannot be read.
    """
    table = to_columns(features)
    fields: dict[str, Any] = {k: v for k, v in columns.items() if v is not None}
    unknown = sorted(set(fields) - _FIELDS)
    if unknown:
        raise DataError(
            f"{unknown[0]!r} is no field of a batch",
            remedy=f"known are {', '.join(sorted(_FIELDS))}",
        )
    n = table.n
    if "scores" in fields:
        fields["scores"] = as_scores(np.asarray(fields["scores"]))
    if "predictions" in fields:
        fields["predictions"] = np.asarray(fields["predictions"])
    for name in ("predictions", "scores"):
        if not table.data and name in fields and np.ndim(fields[name]):
            n = len(fields[name])
    for name in ("event_times", "durations", "sizes"):
        if name in fields:
            try:
                kind = np.int64 if name == "sizes" else np.float64
                fields[name] = np.atleast_1d(np.asarray(fields[name], dtype=kind))
            except (TypeError, ValueError) as error:
                raise DataError(
                    f"{name} are not numbers ({error})", remedy="give numbers"
                ) from error
    slices = to_columns(fields.pop("slices", {}), where="slices")
    return Batch(n, table.data, slices=slices.data, **fields)


def check_batch(batch: Batch) -> None:
    """Refuse a batch whose parts do not belong together, before anything of it is counted."""
    parts: list[tuple[str, Any]] = [(f"feature {k!r}", v) for k, v in batch.features.items()]
    parts += [(f"slice {k!r}", v) for k, v in batch.slices.items()]
    parts += [(name, getattr(batch, name)) for name in (*_BY_ROW, "event_times")]
    for name, part in parts:
        if part is not None and len(part) != batch.n:
            raise DataError(
                f"{name}: {len(part)} values for {batch.n} rows", remedy="give one value per row"
            )
    if batch.predictions is not None and batch.predictions.ndim != 1:
        raise DataError(f"predictions of shape {batch.predictions.shape}", remedy="give shape (n,)")
