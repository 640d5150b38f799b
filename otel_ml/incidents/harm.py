"""The members of an incident in, how much it hurts and whether to wake somebody out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from otel_ml.incidents.advice.implied import Effects, Sensitivities, implied_change
from otel_ml.incidents.advice.order import rank_members
from otel_ml.incidents.advice.since import Since
from otel_ml.incidents.incident import Harm, Member
from otel_ml.types import Severity, Stream

__all__ = ["Effects", "Sensitivities", "assess", "implied_change", "rank_members"]

_NOTHING: Final[Mapping[str, Any]] = {}
_HARMLESS_SCORE: Final = 0.005  # mean change of the score below which drift is only recorded
_CRITICAL_SIZES: Final = 0.5  # share of predictions whose error is of another size
_CRITICAL_ERRORS: Final = 0.10
_REPEATED: Final = 0.10  # share of repeated, or of unusual rows, that is worth a page
_FEWER: Final = 0.5  # of the usual volume: below, callers are missing
_DEFECTS: Final = {
    "missing": "without {}",
    "unseen": "with a value of {} the model never learned",
    "out_of_range": "far outside what the model learned of {}",
    "infinite": "with an infinite {}",
    "not_a_number": "with text in place of {}",
}
_OUTPUTS: Final = ("score_drift", "prediction_drift")
_OUT: Final = "out_of_distribution"
_Verdict: TypeAlias = tuple[Harm, Severity, bool]


def assess(
    members: Sequence[Member],
    streams: Sequence[Stream],
    sensitivity: Sensitivities,
    *,
    effects: Effects = _NOTHING,
    since: Since | None = None,
) -> _Verdict:
    """Return harm, severity and whether the incident pages.

    Parameters
    ----------
    members
        Streams of the incident, the culprit first.
    streams
        All streams of the model.
    sensitivity
        Mean absolute change of the score when a feature is shuffled, by feature.
    effects
        Contribution of each cell of a feature to the score, by feature, shape ``(cells,)``.
    since
        Counts since the change, with which `effects` are weighed; without them, or for a feature
        without effects, the sensitivity times the total variation stands in.

    Notes
    -----
    Realised errors weigh most, then calls that fail or are slow, moved outputs, defects, moved
    inputs, and last what only the traffic did. Drift of an input the model hardly uses is recorded
    and pages nobody, unless an output moved with it. Tentative members do not count.
    """
    members = [m for m in members if not m.tentative] or members
    by_monitor: dict[str, list[Member]] = {}
    for member in members:
        by_monitor.setdefault(member.monitor, []).append(member)
    for monitors, verdict in (
        (("performance",), _errors),
        (("latency", "errors"), _calls),
        (_OUTPUTS, _outputs),
        (("calibration",), _calibration),
        (("schema",), _schema),
    ):
        found = [m for name in monitors for m in by_monitor.get(name, ())]
        if found:
            return verdict(found)
    inputs = [m for m in members if m.monitor in ("data_quality", "input_drift", "joint_drift")]
    verdicts = []
    if inputs:
        verdicts.append(_inputs(inputs, streams, sensitivity, effects, since))
    verdicts += [_traffic(m) for m in members if m.monitor in _TRAFFIC]
    if not verdicts:
        return Harm("unknown", None, "the model's sensitivity is not known"), "warning", True
    urgency = ("info", "warning", "critical")
    return max(verdicts, key=lambda v: (v[2], urgency.index(v[1])))


def _errors(members: Sequence[Member]) -> _Verdict:
    rates = [m for m in members if "after" in m.effect]
    if not rates:  # of a regression: its errors have no rate
        first = members[0]
        moved = float(first.effect["total_variation"])
        return Harm("error_size", moved, first.text), _graded(moved, _CRITICAL_SIZES), True
    worst = max(rates, key=lambda m: m.effect["after"] - m.effect["before"])
    rise = float(worst.effect["after"] - worst.effect["before"])
    text = f"{100 * rise:.1f} more errors in every hundred predictions: {worst.text}"
    return Harm("error_rate", rise, text), _graded(rise, _CRITICAL_ERRORS), True


def _graded(value: float, critical: float) -> Severity:
    return "critical" if value >= critical else "warning"


def _calls(members: Sequence[Member]) -> _Verdict:
    first = members[0]
    share = float(first.effect["after"])
    kind: Any = "slow_calls" if first.monitor == "latency" else "failed_calls"
    return Harm(kind, share, first.text), "critical", True


def _outputs(members: Sequence[Member]) -> _Verdict:
    first = members[0]
    moved = float(first.effect["total_variation"])
    return (
        Harm("score", moved, f"the distribution of {first.target} moved by {moved:.0%}"),
        "warning",
        True,
    )


def _calibration(members: Sequence[Member]) -> _Verdict:
    first = members[0]
    moved = float(first.effect["total_variation"])
    text = "decisions that rest on the score as a probability are off"
    return Harm("score", moved, f"{text}: {first.text}"), "warning", True


def _schema(members: Sequence[Member]) -> _Verdict:
    share = float(members[0].effect.get("after", 1.0))
    text = "rows are scored with columns other than those the model learned"
    return Harm("defective_rows", share, text), "warning", True


def _traffic(member: Member) -> _Verdict:
    """Return the verdict on what says nothing about the model: repeats, volume, clients."""
    effect = member.effect
    if member.monitor == "volume":
        before, after = float(effect.get("before", 0.0)), float(effect.get("after", 0.0))
        if before > 0 and not effect.get("rate") and after < _FEWER * before:
            text = f"about {1 - after / before:.0%} of the usual predictions are not asked for"
            return Harm("unknown", None, text), "warning", True
        return Harm("unknown", None, "the model answers another volume"), "info", False
    if member.monitor == "duplicates":
        share = float(effect.get("after", effect["total_variation"]))
        text = f"{share:.0%} of rows are answered a second time"
        return Harm("defective_rows", share, text), _minor(share), share >= _REPEATED
    text = "the mix of clients is another one; scores and inputs are judged by themselves"
    return Harm("unknown", None, text), "info", False


def _minor(share: float) -> Severity:
    return "warning" if share >= _REPEATED else "info"


_TRAFFIC: Final = ("duplicates", "volume", "client_drift")


def _inputs(
    members: Sequence[Member],
    streams: Sequence[Stream],
    sensitivity: Sensitivities,
    effects: Effects,
    since: Since | None,
) -> _Verdict:
    defects = [m for m in members if m.monitor == "data_quality"]
    ignored = [m for m in members if _hardly_used(m.target, sensitivity, effects)]
    if defects:
        # how the model takes a defect is not known; what it does not use at all cannot hurt
        first = next((m for m in defects if m not in ignored), defects[0])
        # values that are far out make the whole row so
        harmless = all(m in ignored or m.target == _OUT for m in members)
        share = float(first.effect["after"])
        text = f"{share:.0%} of rows are scored {_DEFECTS[first.defect].format(first.target)}"
        text += "; the model hardly uses it" if first in ignored else ""
        return Harm("defective_rows", share, text), "info" if harmless else "warning", not harmless
    unusual = [m for m in members if m.target == _OUT]
    estimates = [
        found
        for m in members
        if (found := implied_change(m, streams, sensitivity, effects, since)) is not None
    ]
    if not estimates and unusual:
        share = float(unusual[0].effect["total_variation"])
        text = f"{share:.0%} of rows are unlike any the model learned from"
        return Harm("defective_rows", share, text), _minor(share), share >= _REPEATED
    if not estimates:
        return Harm("unknown", None, "the model's sensitivity is not known"), "warning", True
    absolute, signed = max(estimates, key=lambda found: found[0])
    text = f"scores change by about {absolute:.3f} on average"
    if signed is not None and abs(signed) >= _HARMLESS_SCORE:
        text += f" ({'up' if signed > 0 else 'down'} {abs(signed):.3f} net)"
    if absolute < _HARMLESS_SCORE:
        return Harm("score", absolute, f"{text}: the model hardly uses it"), "info", False
    return Harm("score", absolute, text), "warning", True


def _hardly_used(target: str, sensitivity: Sensitivities, effects: Effects) -> bool:
    if target in sensitivity:
        return sensitivity[target] < _HARMLESS_SCORE
    if target not in effects or not len(effects[target]):
        return False
    return float(np.ptp(effects[target])) < _HARMLESS_SCORE
