"""A moved feature and what the model makes of it in, the change of the score it implies out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from otel_ml.incidents.advice.since import Since
from otel_ml.incidents.incident import Member
from otel_ml.types import FloatArray, Stream

__all__ = ["Effects", "Sensitivities", "implied_change"]

Sensitivities: TypeAlias = Mapping[str, float]
Effects: TypeAlias = Mapping[str, FloatArray]

_NOTHING: Final[Mapping[str, Any]] = {}
_OF_CELLS: Final = ("input_drift", "data_quality")


def implied_change(
    member: Member,
    streams: Sequence[Stream],
    sensitivity: Sensitivities,
    effects: Effects = _NOTHING,
    since: Since | None = None,
) -> tuple[float, float | None] | None:
    """Return the mean absolute change of the score a moved feature implies, and the mean change.

    Parameters
    ----------
    member
        The feature that moved.
    streams, sensitivity, effects, since
        As for `assess`.

    Returns
    -------
    tuple of float, or None
        The second is None where only the sensitivity is known, the whole where nothing is.

    Notes
    -----
    With effects: the change of the law times the effects is the mean change; the least mean
    absolute change that turns one law of effects into the other is the distance of their
    distribution functions.
    """
    target, stream = member.target, streams[member.stream]
    at = None if since is None else since.sources.get(target)
    if target in effects and since is not None and at is not None and member.monitor in _OF_CELLS:
        effect = np.zeros(len(stream.law))
        given = np.asarray(effects[target], dtype=np.float64)[: len(effect)]
        effect[: len(given)] = given
        counts = since.counts[at, : len(stream.law)].astype(np.float64) * (stream.law > 0)
        if counts.sum() > 0:
            moved = counts / counts.sum() - stream.law / stream.law.sum()
            order = np.argsort(effect, kind="stable")
            steps = np.diff(effect[order])
            absolute = float((np.abs(np.cumsum(moved[order])[:-1]) * steps).sum())
            return absolute, float((moved * effect).sum())
    if target not in sensitivity:
        return None
    share = member.effect.get("total_variation", member.effect.get("after", 0.0))
    return float(share) * sensitivity[target], None
