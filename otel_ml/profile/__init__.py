"""Mergeable, bounded summaries of traffic, and the reference it is compared with."""

from __future__ import annotations

from otel_ml.profile.cells import CategoryCells, Cells, NumericCells
from otel_ml.profile.labels import Joined, LabelJoin
from otel_ml.profile.outcomes import OVERALL, GroupLayout, Groups
from otel_ml.profile.profile import Layout, Profile
from otel_ml.profile.reference import PREDICTION, SCORE, Reference
from otel_ml.profile.windows import Windows

__all__ = [
    "OVERALL",
    "PREDICTION",
    "SCORE",
    "CategoryCells",
    "Cells",
    "GroupLayout",
    "Groups",
    "Joined",
    "LabelJoin",
    "Layout",
    "NumericCells",
    "Profile",
    "Reference",
    "Windows",
]
