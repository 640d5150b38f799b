"""When a stream changed, and an incident, in; whether the one belongs to the other out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from otel_ml.incidents.history import ChangePoint
from otel_ml.types import Stream

__all__ = ["SLACK_ROWS", "belongs", "downstream", "echoes", "follows"]

SLACK_ROWS: Final = 100
"""Two evaluations: change points this close are one change."""

_FOLLOW_ROWS: Final = 500  # rows after its cause by which a consequence has begun
_DOWNSTREAM: Final[Mapping[str, int]] = {
    "inputs": 0,
    "quality": 0,
    "outputs": 1,
    "performance": 2,
    "fairness": 2,
}


def downstream(family: str) -> int | None:
    """Return how far from the inputs a family is; None where it has no place in the line."""
    return _DOWNSTREAM.get(family)


def follows(stream: Stream, culprit: Stream) -> bool:
    """Tell whether a change of the culprit can be the reason for one of the stream."""
    level, above = downstream(stream.family), downstream(culprit.family)
    if level is None or above is None:
        return False
    # groups overlap, so what makes one of them worse makes others and the whole worse
    return level > above or level == above == _DOWNSTREAM["performance"]


def belongs(
    stream: Stream, change: ChangePoint, culprit: Stream, interval: tuple[int, int]
) -> bool:
    """Tell whether a stream that changed belongs to an open incident.

    Parameters
    ----------
    stream, change
        The stream, and where it left its reference: in rows of the predictions, however late
        their labels came.
    culprit, interval
        The incident's first member, and where that one changed.

    Notes
    -----
    It does if it is about the same source, changed at the same time, or is further down the line
    from inputs to errors and changed soon after. What changes much later has another reason.
    """
    if culprit.source == stream.source:
        return True
    if downstream(stream.family) is None or downstream(culprit.family) is None:
        return False
    lower, upper = interval
    slack = _FOLLOW_ROWS if follows(stream, culprit) else SLACK_ROWS
    if downstream(stream.family) == downstream(culprit.family) == _DOWNSTREAM["performance"]:
        return change.upper >= lower - SLACK_ROWS  # slower to show in one group than in another
    return change.upper >= lower - SLACK_ROWS and change.lower <= upper + slack


def echoes(
    stream: Stream, change: ChangePoint, culprit: Stream, interval: tuple[int, int], end: int
) -> bool:
    """Tell whether a stream's evidence may be of an incident that is over.

    Parameters
    ----------
    stream, change, culprit, interval
        As for `belongs`.
    end
        Row at which the incident ended.
    """
    if follows(stream, culprit):
        return change.upper >= interval[0] - SLACK_ROWS and change.lower <= end
    return belongs(stream, change, culprit, interval)
