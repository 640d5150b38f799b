"""The members of an incident in, how much it hurts and whether to wake somebody out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from otel_ml.incidents.incident import Harm, Member
from otel_ml.types import Severity, Stream

__all__ = ["Sensitivities", "assess"]

Sensitivities: TypeAlias = Mapping[str, float]

_HARMLESS_SCORE: Final = 0.005  # mean change of the score below which drift is only recorded
_CRITICAL_ERRORS: Final = 0.10
_DEFECTS: Final = {
    "missing": "without {}",
    "unseen": "with a value of {} the model never learned",
    "out_of_range": "far outside what the model learned of {}",
    "infinite": "with an infinite {}",
    "not_a_number": "with text in place of {}",
}


def assess(
    members: Sequence[Member], streams: Sequence[Stream], sensitivity: Sensitivities
) -> tuple[Harm, Severity, bool]:
    """Return harm, severity and whether the incident pages.

    Parameters
    ----------
    members
        Streams of the incident, the culprit first.
    streams
        All streams of the model.
    sensitivity
        Mean absolute change of the score when a feature is shuffled, by feature.

    Notes
    -----
    Realised errors weigh most, then moved outputs, then defects; drift of an input the model
    hardly uses is recorded and pages nobody.
    """
    by_family: dict[str, list[Member]] = {}
    for member in members:
        by_family.setdefault(streams[member.stream].family, []).append(member)
    if "performance" in by_family:
        worst = max(by_family["performance"], key=lambda m: m.effect["after"] - m.effect["before"])
        rise = float(worst.effect["after"] - worst.effect["before"])
        severity: Severity = "critical" if rise >= _CRITICAL_ERRORS else "warning"
        text = f"{100 * rise:.1f} more errors in every hundred predictions: {worst.text}"
        return Harm("error_rate", rise, text), severity, True
    if "latency" in by_family:
        first = by_family["latency"][0]
        share = float(first.effect["after"])
        if first.monitor == "latency":
            return Harm("slow_calls", share, first.text), "critical", True
        return Harm("failed_calls", share, first.text), "critical", True
    if "outputs" in by_family:
        first = by_family["outputs"][0]
        moved = float(first.effect["total_variation"])
        text = f"the distribution of {first.target} moved by {moved:.0%}"
        return Harm("score", moved, text), "warning", True
    known = [m for m in members if m.target in sensitivity]
    estimate = max((_implied(m, sensitivity[m.target]) for m in known), default=None)
    if "quality" in by_family:
        first = by_family["quality"][0]
        # how the model takes a defect is not known; what it does not use at all cannot hurt
        harmless = first.target in sensitivity and sensitivity[first.target] < _HARMLESS_SCORE
        share = float(first.effect["after"])
        text = f"{share:.0%} of rows are scored {_DEFECTS[first.defect].format(first.target)}"
        text += "; the model hardly uses it" if harmless else ""
        return Harm("defective_rows", share, text), "info" if harmless else "warning", not harmless
    if estimate is None:
        return Harm("unknown", None, "the model's sensitivity is not known"), "warning", True
    text = f"scores change by about {estimate:.3f} on average"
    if estimate < _HARMLESS_SCORE:
        return Harm("score", estimate, f"{text}: the model hardly uses it"), "info", False
    return Harm("score", estimate, text), "warning", True


def _implied(member: Member, sensitivity: float) -> float:
    """Return the mean change of the score a moved feature implies."""
    moved = member.effect.get("total_variation", member.effect.get("after", 0.0))
    return float(moved) * sensitivity
