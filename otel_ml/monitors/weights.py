"""Streams in, how the budget is shared between them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from otel_ml.types import FloatArray, Stream

__all__ = ["FAMILY_WEIGHTS", "stream_weights"]

# how much of the budget each question gets, where it is asked at all; written down, not tuned
FAMILY_WEIGHTS: Final[Mapping[str, float]] = {
    "inputs": 0.35,
    "outputs": 0.20,
    "quality": 0.20,
    "performance": 0.10,
    "fairness": 0.05,
    "security": 0.05,
    "latency": 0.05,
}


def stream_weights(streams: Sequence[Stream]) -> FloatArray:
    """Return the share of each stream in the budget, shape ``(streams,)``."""
    members: dict[str, float] = {}
    for stream in streams:
        members[stream.family] = members.get(stream.family, 0.0) + stream.share
    # families without a stream give their share to the others
    total = sum(FAMILY_WEIGHTS[family] for family in members)
    return np.array(
        [FAMILY_WEIGHTS[s.family] / total * s.share / members[s.family] for s in streams]
    )
