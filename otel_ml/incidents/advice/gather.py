"""An incident and what is known around it in, the flat facts the playbook asks about out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from otel_ml.incidents.advice.since import Since
from otel_ml.incidents.advice.swapped import Key, swapped_with
from otel_ml.incidents.incident import Incident, Member
from otel_ml.types import Stream

if TYPE_CHECKING:  # it imports the rows kept beside this file
    from otel_ml.incidents.whom import Whom

__all__ = ["Rollout", "Setting", "facts_of"]

_OF_THE_COLUMN: Final = (
    *("scale", "unit", "scaled_share", "stuck", "sentinel", "spike_cell", "spike_share"),
    *("spike_value", "clipped", "clipped_share", "coarser", "constant_added", "negated", "grew"),
    *("moved_from", "moved_to", "exchanged", "unseen_share", "offset_sd", "spread_ratio"),
)  # facts any stream of a source may know
_OF_FEATURES: Final = ("input_drift", "data_quality")
_MOVED: Final = {
    "scores_moved": ("score_drift",),
    "predictions_moved": ("prediction_drift",),
    "performance_moved": ("performance",),
    "calibration_moved": ("calibration",),
    "duplicates_moved": ("duplicates",),
    "clients_moved": ("client_drift",),
    "volume_moved": ("volume",),
    "schema_moved": ("schema",),
    "latency_moved": ("latency",),
    "errors_moved": ("errors",),
}
_OUT: Final = "out_of_distribution"
_NEAR_ROWS: Final = 500  # a roll-out this far from the change point may still be its cause
_FIRST_ROWS: Final = 100
_GRADUAL: Final = 2.0
_WHOLE: Final = {
    "performance": "performance",
    "calibration": "calibration",
    "score_drift": "score",
}
_NEARLY: Final = 0.75  # of the rise in the worst group: then it is no matter of the group


@dataclass(frozen=True, slots=True)
class Rollout:
    """Something that was rolled out.

    Parameters
    ----------
    row
        Rows seen when it happened.
    kind
        What it was.
    text
        What to call it, such as ``version 2.1``.
    """

    row: int
    kind: Literal["version", "model", "deployment"]
    text: str


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known around an incident.

    Parameters
    ----------
    since
        Counts of all sources since the change, or None.
    whom
        The slice that holds most of the change, or None.
    rollouts
        What was rolled out.
    earlier
        Incidents that are closed.
    """

    since: Since | None = None
    whom: Whom | None = None
    rollouts: Sequence[Rollout] = ()
    earlier: Sequence[Incident] = ()


def facts_of(incident: Incident, streams: Sequence[Stream], setting: Setting) -> dict[str, Any]:
    """Return the facts the playbook asks about, named as in `FACTS`.

    Parameters
    ----------
    incident
        With its members, the culprit first.
    streams
        All streams of the model.
    setting
        What is known around it.
    """
    culprit = incident.culprit
    stream = streams[culprit.stream]
    effects = _effects(incident, streams, setting.since)
    facts: dict[str, Any] = dict(culprit.effect)
    same = [e for (source, _, _), e in effects.items() if source == stream.source]
    for effect in same:
        for name in _OF_THE_COLUMN:
            if name in effect:
                facts.setdefault(name, effect[name])
    facts |= {"monitor": culprit.monitor, "target": culprit.target, "defect": culprit.defect}
    facts |= _moved(incident, streams, setting.since)
    facts |= _features(culprit, streams, effects)
    facts["scale_only"] = "scale" in facts and "unit" not in facts
    if setting.since is not None:
        inputs = [s for s in streams if s.monitor == "input_drift" and s.source != stream.source]
        facts["inputs_stirred"] = setting.since.stirred(inputs)
    facts["inputs_known"] = any(s.monitor == "input_drift" for s in streams)
    lower, upper = incident.change_row_interval
    facts["change_width"] = upper - lower
    facts["from_start"] = incident.change_row <= _FIRST_ROWS and lower <= 0
    facts["seen_before"] = sum(i.culprit.target == culprit.target for i in setting.earlier)
    growth = None if setting.since is None else setting.since.growth(stream)
    if growth is not None:
        facts |= {"growth": growth, "gradual": growth >= _GRADUAL}
    if culprit.monitor in _WHOLE and "=" in culprit.target:
        facts["group"] = culprit.target
        facts["performance_moved_overall_more"] = _overall(incident, streams, setting.since)
    if setting.whom is not None:
        facts |= setting.whom.facts()
    facts |= _rollout(incident, setting.rollouts)
    swapped = swapped_with(stream, streams, effects)
    return facts if swapped is None else facts | {"swapped_with": swapped}


def _effects(
    incident: Incident, streams: Sequence[Stream], since: Since | None
) -> Mapping[Key, Mapping[str, Any]]:
    """Return the effects of members, and of streams of features that moved without joining."""
    out: dict[Key, Mapping[str, Any]] = {
        (streams[m.stream].source, m.monitor, m.defect): m.effect for m in incident.members
    }
    if since is not None:
        for s in streams:
            key = (s.source, s.monitor, s.defect)
            if s.monitor in _OF_FEATURES and key not in out and since.moved(s):
                out[key] = since.described(s)
    return out


def _moved(incident: Incident, streams: Sequence[Stream], since: Since | None) -> dict[str, Any]:
    members = {(m.monitor, m.target) for m in incident.members}
    moved = {streams[m.stream].monitor for m in incident.members}
    if since is not None:
        late = [s for s in streams if s.monitor not in moved and s.clock == "rows"]
        moved |= {s.monitor for s in late if s.monitor not in _OF_FEATURES and since.moved(s)}
    culprit = incident.culprit
    facts: dict[str, Any] = {
        name: bool(moved.intersection(monitors)) for name, monitors in _MOVED.items()
    }
    residuals = {target for monitor, target in members if monitor == "joint_drift"}
    if since is not None:
        residuals |= {s.target for s in streams if s.monitor == "joint_drift" and since.moved(s)}
    facts["out_of_distribution_moved"] = _OUT in residuals
    facts["joint_moved"] = bool(residuals - {_OUT})
    facts["residual_moved"] = culprit.target in residuals
    facts["joint_only"] = culprit.monitor == "joint_drift" and not any(
        m in _OF_FEATURES for m, _ in members
    )
    facts["outputs_moved"] = facts["scores_moved"] or facts["predictions_moved"]
    volume = [m.effect for m in incident.members if m.monitor == "volume"]
    if volume and not volume[0].get("rate") and volume[0].get("before"):
        facts["volume_ratio"] = round(volume[0]["after"] / volume[0]["before"], 4)
    return facts


def _features(
    culprit: Member, streams: Sequence[Stream], effects: Mapping[Key, Mapping[str, Any]]
) -> dict[str, Any]:
    own = streams[culprit.stream].source
    moved, missing, stuck, shifted = set(), set(), set(), set()
    defects = set()
    for (source, monitor, defect), effect in effects.items():
        if monitor not in _OF_FEATURES:
            continue
        moved.add(source)
        if defect:
            defects.add((source, defect))
        if defect == "missing":
            missing.add(source)
        if effect.get("stuck"):
            stuck.add(source)
        if effect.get("stuck") or (effect.get("spike_share") and not effect.get("grew")):
            shifted.add(source)
    watched = {s.source for s in streams if s.monitor in _OF_FEATURES}
    return {
        "features_moved": len(moved),
        "features_share": round(len(moved) / max(len(watched), 1), 4),
        "features_missing": len(missing),
        "features_stuck": len(stuck),
        "features_shifted": len(shifted),
        "inputs_moved": bool(moved - {own}),
        "defect_too": any(source == own for source, _ in defects),
        "others_missing": bool(missing - {own}),
        "missing_too": own in missing and culprit.defect != "missing",
    }


def _rollout(incident: Incident, rollouts: Sequence[Rollout]) -> dict[str, Any]:
    lower, upper = incident.change_row_interval
    near = [r for r in rollouts if lower - _NEAR_ROWS <= r.row <= upper + _NEAR_ROWS // 5]
    if not near:
        return {}
    nearest = min(near, key=lambda r: abs(r.row - incident.change_row))
    return {
        "rollout": nearest.text,
        "rollout_kind": nearest.kind,
        "rollout_rows": incident.change_row - nearest.row,
    }


def _overall(incident: Incident, streams: Sequence[Stream], since: Since | None) -> bool:
    """Tell whether all rows changed nearly as much as the culprit's group."""
    culprit = incident.culprit
    whole = (culprit.monitor, _WHOLE[culprit.monitor])
    sizes = [_size(m) for m in incident.members if (m.monitor, m.target) == whole]
    if since is not None and not sizes:
        same = [s for s in streams if (s.monitor, s.target) == whole]
        found = [since.described(s) for s in same]
        sizes = [_size(replace(culprit, effect=effect)) for effect in found if effect]
    return bool(sizes) and sizes[0] >= _NEARLY * _size(culprit)


def _size(member: Member) -> float:
    if member.monitor == "performance":
        return _rise(member.effect)
    return float(member.effect.get("total_variation", 0.0))


def _rise(effect: Mapping[str, Any]) -> float:
    return float(effect["after"] - effect["before"]) if "after" in effect else 0.0
