"""Counts since a change in, whether it is of one group alone out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from otel_ml.incidents.advice.since import Since
from otel_ml.incidents.incident import Member
from otel_ml.types import FloatArray, Stream

__all__ = ["only_inside", "share_of_rows"]

_STILL: Final = 0.35  # of the group's change: rows outside that changed less are as they were
_MIN_ROWS: Final = 50
_ALL: Final = {"error": "error:overall", "calibration": "calibration:overall", "score": "score"}


def only_inside(member: Member, streams: Sequence[Stream], since: Since) -> bool | None:
    """Tell whether the rows outside a group are as they were.

    Parameters
    ----------
    member
        About a group, ``attr=value``.
    streams
        All streams of the model.
    since
        Counts of all sources since the change.

    Returns
    -------
    bool or None
        None where there are too few rows to tell.

    Notes
    -----
    Groups overlap, so what makes one worse makes all rows together worse, and what makes all worse
    makes each group worse. The rows outside, all less those of the group, tell which it was.
    """
    found = _sources(member, streams)
    if found is None:
        return None
    inside, every = found
    held = since.counts[since.sources[inside.source]].astype(np.float64)
    rest = np.maximum(since.counts[since.sources[every.source]] - held, 0)
    if min(held.sum(), rest.sum()) < _MIN_ROWS:
        return None

    share = held.sum() / max(float((held + rest).sum()), 1.0)
    law = inside.law / inside.law.sum()
    of_all = every.law / every.law.sum()
    outside = np.maximum(of_all - share * law, 0.0)
    return _moved(rest, outside / outside.sum()) < _STILL * _moved(held, law)


def share_of_rows(member: Member, streams: Sequence[Stream], since: Since) -> float:
    """Return which share of the rows since the change are of a member's group, 0 to 1.

    Parameters
    ----------
    member, streams, since
        As for `only_inside`.
    """
    found = _sources(member, streams)
    if found is None:
        return 1.0
    held, rows = (float(since.counts[since.sources[s.source]].sum()) for s in found)
    return min(held / max(rows, 1.0), 1.0)


def _sources(member: Member, streams: Sequence[Stream]) -> tuple[Stream, Stream] | None:
    """Return the streams of a member's group and of all rows; None where one is not watched."""
    # right and wrong are judged by their counts; how labels follow scores shows there, too
    kind = "score" if member.monitor == "score_drift" else "error"
    by_source = {s.source: s for s in streams if s.monitor in ("score_drift", "performance")}
    inside, every = by_source.get(f"{kind}:{member.target}"), by_source.get(_ALL[kind])
    return None if inside is None or every is None else (inside, every)


def _moved(counts: FloatArray, law: FloatArray) -> float:
    """Return the total variation between counts and a law, less what chance makes of it."""
    n = max(float(counts[: len(law)].sum()), 1.0)
    noise = float(np.sqrt(2 * law * (1 - law) / (np.pi * n)).sum() / 2)
    return max(float(np.abs(counts[: len(law)] / n - law).sum() / 2) - noise, 0.0)
