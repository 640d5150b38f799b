"""The members of an incident in, its causes, harm and severity out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from otel_ml.incidents.advice import rank
from otel_ml.incidents.harm import Sensitivities, assess
from otel_ml.incidents.incident import Incident, Member
from otel_ml.types import Stream

__all__ = ["explain"]

_OF_THE_COLUMN: Final = ("scale", "unit", "stuck")  # facts any stream of a source may know


def explain(incident: Incident, streams: Sequence[Stream], sensitivity: Sensitivities) -> None:
    """Name causes, harm and severity from all members as they are now.

    Parameters
    ----------
    incident
        Its members are read, the rest is written.
    streams
        All streams of the model.
    sensitivity
        Mean absolute change of the score when a feature is shuffled, by feature.
    """
    incident.causes = rank(_facts(incident, streams))
    incident.harm, incident.severity, paged = assess(incident.members, streams, sensitivity)
    incident.paged = incident.paged or paged


def _facts(incident: Incident, streams: Sequence[Stream]) -> dict[str, Any]:
    """Return the facts the playbook asks about."""
    culprit = incident.culprit
    source = streams[culprit.stream].source
    families = {streams[m.stream].family for m in incident.members}
    same = [m for m in incident.members if streams[m.stream].source == source]
    inputs = {m.target for m in incident.members if m.monitor in ("input_drift", "data_quality")}
    facts: dict[str, Any] = dict(culprit.effect)
    for member in same[1:]:
        for name in _OF_THE_COLUMN:
            if name in member.effect:
                facts.setdefault(name, member.effect[name])
    facts |= {
        "monitor": culprit.monitor,
        "target": culprit.target,
        "defect": culprit.defect,
        "inputs_moved": bool(inputs - {culprit.target}),
        "outputs_moved": "outputs" in families,
        "performance_moved": "performance" in families,
        "defect_too": any(m.defect for m in same),
        "others_missing": any(
            m.defect == "missing" and m.target != culprit.target for m in incident.members
        ),
        "missing_too": any(m.defect == "missing" for m in same[1:]),
        "scale_only": "scale" in facts and "unit" not in facts,
    }
    if culprit.monitor == "performance" and culprit.target != "performance":
        facts["group"] = culprit.target
        facts["performance_moved_overall_more"] = any(
            m.target == "performance" and _rise(m) >= _rise(culprit) for m in incident.members
        )
    return facts


def _rise(member: Member) -> float:
    return float(member.effect["after"] - member.effect["before"])
