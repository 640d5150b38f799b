"""The members of an incident in, the same with the culprit first out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from otel_ml.incidents.advice.implied import Effects, Sensitivities, implied_change
from otel_ml.incidents.advice.inside import only_inside, share_of_rows
from otel_ml.incidents.advice.since import Since
from otel_ml.incidents.incident import Member
from otel_ml.types import Stream

__all__ = ["rank_members"]

_NOTHING: Final[Mapping[str, Any]] = {}
_OF_CELLS: Final = ("input_drift", "data_quality")
_OUT: Final = "out_of_distribution"
_GROUPED: Final = ("score_drift", "calibration", "performance")
_COMPARABLE: Final = 0.5  # of the strongest member's evidence per row
_LABELLED: Final = ("calibration", "performance")
_SLACK_ROWS: Final = 100
_LEVEL: Final[Mapping[str, int]] = {
    "data_quality": 0,
    "input_drift": 0,
    "schema": 0,
    "score_drift": 3,
    "prediction_drift": 4,
    "calibration": 5,
    "performance": 5,
}


def rank_members(
    members: Sequence[Member],
    streams: Sequence[Stream],
    sensitivity: Sensitivities = _NOTHING,
    *,
    effects: Effects = _NOTHING,
    since: Since | None = None,
    changes: Mapping[int, tuple[int, int]] | None = None,
    shifts: Mapping[str, float] = _NOTHING,
) -> list[Member]:
    """Return the members with the culprit first.

    Parameters
    ----------
    members
        Streams of one incident.
    streams, sensitivity, effects, since
        As for `assess`.
    changes
        Interval of the change point of each stream, in rows, by position of the stream; a member
        without one is taken to have changed with the others.
    shifts
        Shift of each input that moved by itself, in standard deviations, as far as shifts explain
        what happened.

    Notes
    -----
    What changed by itself comes before what follows from it: an input or a defect before the
    relations it breaks, those before outputs, those before errors, and errors before what
    scores mean: that tells more cells apart, so it has the larger evidence of the two whatever
    happened. Inputs whose shifts explain the others come first among inputs, in the order of the
    harm they imply, unless a defect explains them. Where residuals given the other features are
    watched and some moved, an input whose own residual did not is a follower too. Among equals the
    evidence of one row decides; members within a factor of two of the strongest, of the same
    change, are in the order of the harm they imply, but for residuals: a relation broke where it
    broke most. All rows come before a group, unless the rows outside of it are as they were; of
    several such groups the one comes first that explains most of it, by its evidence and its share
    of the rows; and the scores of one group are no reason for the errors of others.
    """
    residuals = {m.target for m in members if m.monitor == "joint_drift" and m.target != _OUT}
    own = {m.target for m in members if m.monitor in _OF_CELLS}
    defects = {m.target for m in members if m.defect}
    if defects:
        shifts = _NOTHING

    # what moved in all rows moved in its groups as well
    groups = [m for m in members if m.monitor in _GROUPED and _scope(m)]
    inside = {m.stream: None if since is None else only_inside(m, streams, since) for m in groups}
    shares = {
        m.stream: share_of_rows(m, streams, since) for m in groups if since and inside[m.stream]
    }
    wrong = any(m.monitor == "performance" for m in members)
    judged = {_scope(m) for m in members if m.monitor in _LABELLED}

    def level(member: Member) -> float:
        base: float = _LEVEL.get(member.monitor, 0)
        if (alone := inside.get(member.stream)) is not None:
            base += -0.25 if alone else 0.25
        if member.target in shifts and member.monitor == "input_drift":
            base = 0
        elif member.monitor == "joint_drift":
            base = 2 if own else 0
        elif member.monitor == "calibration" and wrong:
            base += 0.1
        elif member.monitor == "score_drift" and _scope(member) and _scope(member) not in judged:
            base = _LEVEL["performance"] + 1 if judged else base
        elif member.monitor == "input_drift" and residuals & own and member.target not in defects:
            base = 0 if member.target in residuals else 1
        return base

    def strength(member: Member) -> float:
        effect = member.effect
        found = float(effect.get("information", effect.get("total_variation", 0.0)))
        return found * shares.get(member.stream, 1.0)

    first = min((level(m) for m in members), default=0)
    leading = [m for m in members if level(m) == first]
    strongest = max(leading, key=strength, default=None)

    def comparable(member: Member) -> bool:
        if strongest is None or level(member) != first:
            return False
        if member.monitor == "joint_drift":
            return member is strongest
        near = strength(member) >= _COMPARABLE * strength(strongest)
        known = changes or {}
        here, there = known.get(member.stream), known.get(strongest.stream)
        if here is None or there is None:
            return near
        same = here[0] <= there[1] + _SLACK_ROWS and here[1] >= there[0] - _SLACK_ROWS
        return near and same

    def place(member: Member) -> tuple[float, ...]:
        found = implied_change(member, streams, sensitivity, effects, since)
        harm = -1.0 if found is None else found[0]
        if member.target in shifts and level(member) == 0:
            usage = sensitivity.get(member.target, 0.0) * abs(shifts[member.target])
            return (0.0, -1.0, 0.0, -usage, -strength(member))
        if comparable(member):
            unsure = member in groups and inside[member.stream] is None
            return (level(member), 0.0, float(unsure), -harm, -strength(member))
        return (level(member), 1.0, 0.0, -strength(member), -harm)

    return sorted(members, key=place)


def _scope(member: Member) -> str:
    """Return the group a member is about, nothing for all rows."""
    return member.target if "=" in member.target else ""
