"""The effects of all features that moved in, the one that exchanged its values with another out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from otel_ml.types import Stream

__all__ = ["Key", "swapped_with"]

Key: TypeAlias = tuple[str, str, str]  # source, monitor, defect

_SAME_LAW_SD: Final = 0.3


def swapped_with(
    stream: Stream, streams: Sequence[Stream], effects: Mapping[Key, Mapping[str, Any]]
) -> str | None:
    """Return the feature that exchanged its law with the culprit's, by mean and spread."""
    laws: dict[str, tuple[float, float, float, float]] = {}
    for (source, monitor, _), e in effects.items():
        if monitor == "input_drift" and "sd_after" in e:
            laws[source] = (e["before"], e["sd_before"], e["after"], e["sd_after"])
    mine = laws.get(stream.source)
    if mine is not None:
        for source, other in laws.items():
            apart = abs(mine[0] - other[0]) > 0.5 * min(mine[1], other[1])
            scale = not _near(mine[1], other[1], 0.3)
            if source == stream.source or not (apart or scale):
                continue
            if _same(mine[2:], other[:2]) and _same(other[2:], mine[:2]):
                return source
    return _swapped_categories(stream, streams, effects)


def _swapped_categories(
    stream: Stream, streams: Sequence[Stream], effects: Mapping[Key, Mapping[str, Any]]
) -> str | None:
    """Return the categorical feature whose values the culprit has now, and the other way round.

    Values the other feature's reference does not know arrive as ``unseen`` on both sides, and the
    share of those is what the laws foretell.
    """
    laws = {s.source: s for s in streams if s.monitor == "data_quality" and s.defect == "unseen"}
    mine = laws.get(stream.source)
    unseen = {
        source: e["unseen_share"] for (source, _, _), e in effects.items() if "unseen_share" in e
    }
    if mine is None or stream.source not in unseen:
        return None
    for source, other in laws.items():
        if source == stream.source or source not in unseen:
            continue
        into, out = _foreign(other, mine), _foreign(mine, other)
        if max(into, out) >= 0.05 and (
            abs(unseen[stream.source] - into) < 0.05 and abs(unseen[source] - out) < 0.05
        ):
            return source
    return None


def _foreign(given: Stream, known: Stream) -> float:
    """Return the share of one feature's values that another one's reference does not know."""
    total = float(np.asarray(given.law).sum())
    names = set(known.cells[:-3])
    return sum(
        float(p) for c, p in zip(given.cells[:-3], given.law[:-3], strict=True) if c not in names
    ) / max(total, 1e-12)


def _same(a: Sequence[float], b: Sequence[float]) -> bool:
    return abs(a[0] - b[0]) <= _SAME_LAW_SD * b[1] and _near(a[1], b[1], 0.35)


def _near(a: float, b: float, tolerance: float) -> bool:
    return min(a, b) > 0 and abs(float(np.log(a / b))) <= tolerance
