"""Incidents: grouping, severity by harm, life cycle, and advice."""

from __future__ import annotations

from otel_ml.incidents.advice import Playbook, Rollout
from otel_ml.incidents.advice.playbook import load as load_playbook
from otel_ml.incidents.advice.recent import RecentRows
from otel_ml.incidents.commands import FOR_EVER, Command
from otel_ml.incidents.history import ChangePoint, History
from otel_ml.incidents.incident import Cause, Change, Harm, Incident, Member
from otel_ml.incidents.lifecycle import Evidence, Incidents
from otel_ml.incidents.surroundings import Surroundings

__all__ = [
    "FOR_EVER",
    "Cause",
    "Change",
    "ChangePoint",
    "Command",
    "Evidence",
    "Harm",
    "History",
    "Incident",
    "Incidents",
    "Member",
    "Playbook",
    "RecentRows",
    "Rollout",
    "Surroundings",
    "load_playbook",
]
