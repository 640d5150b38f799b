"""Mergeable, bounded summaries of traffic, and the reference it is compared with."""

from __future__ import annotations

from otel_ml.profile.cells import CategoryCells, Cells, NumericCells
from otel_ml.profile.dependence import typical_design
from otel_ml.profile.derived import CLIENTS, SCORE_OF, is_derived
from otel_ml.profile.joint import DISTANCE, RESIDUAL
from otel_ml.profile.labels import Joined, LabelJoin
from otel_ml.profile.live_dependence import LiveDependence
from otel_ml.profile.outcomes import OVERALL, GroupLayout, Groups
from otel_ml.profile.profile import Layout, Profile
from otel_ml.profile.reference import PREDICTION, SCORE, Reference
from otel_ml.profile.repeats import REPEATS, REPEATS_SOURCE, Repeats
from otel_ml.profile.season import slots
from otel_ml.profile.windows import Windows

__all__ = [
    "CLIENTS",
    "DISTANCE",
    "OVERALL",
    "PREDICTION",
    "REPEATS",
    "REPEATS_SOURCE",
    "RESIDUAL",
    "SCORE",
    "SCORE_OF",
    "CategoryCells",
    "Cells",
    "GroupLayout",
    "Groups",
    "Joined",
    "LabelJoin",
    "Layout",
    "LiveDependence",
    "NumericCells",
    "Profile",
    "Reference",
    "Repeats",
    "Windows",
    "is_derived",
    "slots",
    "typical_design",
]
