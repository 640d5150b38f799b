"""Training data in, the frozen profile that production is compared with out.

A reference holds counts, never rows: cells and counts of every feature and output, confusion counts
per group where labels were given, and how sensitive the model is to each feature. No category or
group shared by fewer than *k* rows is named in it; the model's classes always are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otel_ml.profile import io
from otel_ml.profile.build import Given, build_parts
from otel_ml.profile.dependence import typical_design
from otel_ml.profile.joint import Joint
from otel_ml.profile.outcomes import GroupLayout
from otel_ml.profile.outputs import PREDICTION, SCORE
from otel_ml.profile.profile import Layout, Profile
from otel_ml.profile.season import Season
from otel_ml.profile.tables import LabelTable
from otel_ml.types import FloatArray, IntArray, Task

__all__ = ["PREDICTION", "SCORE", "Reference"]


@dataclass(frozen=True)
class Reference:
    """The frozen profile of training data, or of the first traffic.

    Parameters
    ----------
    model_name, model_version
        Which model it belongs to.
    task
        Kind of model.
    features
        Feature names in the order of the model's matrix.
    profile
        Counts of every feature, and of ``score`` and ``prediction`` where they were given.
    group_layout
        Classes and slicing groups, or None without labels or classes.
    outcomes
        Confusion counts, shape ``(groups, predicted, true)``, or None without labels.
    sensitivity
        Mean absolute change of the score when a feature is shuffled, by feature.
    threshold
        Decision threshold on the score of a binary task.
    source
        ``data`` or ``traffic``.
    joint
        Frozen coefficients of what each feature is given the others, or None.
    season
        How laws depend on the hour and the day of the week, where that was seen to repeat.
    designs
        Design effect of each source: how many rows say as much as one independent row.
    effects
        Contribution of each cell of a feature to the score, learned from rows and scores.
    repeats
        Rows that were new, repeated one shortly before, or were sent again in their order long
        after, shape ``(3,)``.
    tables
        Calibration, or errors and bias, of labelled rows.
    """

    model_name: str
    model_version: str | None
    task: Task
    features: tuple[str, ...]
    profile: Profile
    group_layout: GroupLayout | None = None
    outcomes: IntArray | None = None
    sensitivity: Mapping[str, float] = field(default_factory=dict)
    threshold: float = 0.5
    source: str = "data"
    joint: Joint | None = None
    season: Season = field(default_factory=Season)
    designs: Mapping[str, float] = field(default_factory=dict)
    effects: Mapping[str, FloatArray] = field(default_factory=dict)
    repeats: tuple[int, int, int] = (0, 0, 0)
    tables: tuple[LabelTable, ...] = ()

    @property
    def label_layout(self) -> GroupLayout:
        """Classes and groups by which labels are counted."""
        return self.group_layout or GroupLayout((), ())

    @cached_property
    def sha256(self) -> str:
        """Checksum of the canonical form of everything in it."""
        return io.checksum(self.to_json())

    @property
    def id(self) -> str:
        """First 12 hex digits of the checksum."""
        return self.sha256[:12]

    @property
    def layout(self) -> Layout:
        """Sources and cells."""
        return self.profile.layout

    def rows(self, name: str) -> int:
        """Return the reference rows of one source."""
        return self.profile.rows(name)

    def design(self, name: str) -> float:
        """Return the design effect of a source, of an unknown one the median of the others."""
        found = self.designs.get(name)
        return typical_design(self.designs) if found is None else found

    @classmethod
    def build(
        cls,
        features: object,
        *,
        scores: object = None,
        predictions: object = None,
        labels: object = None,
        slices: Mapping[str, Any] | None = None,
        times: object = None,
        clients: object = None,
        categorical: Sequence[str] = (),
        numeric: Sequence[str] = (),
        sensitive: Sequence[str] = (),
        ignore: Sequence[str] = (),
        model_name: str,
        model_version: str | None = None,
        task: Task | None = None,
        positive: str | None = None,
        threshold: float = 0.5,
        sensitivity: Mapping[str, float] | None = None,
        predict: Callable[[Mapping[str, NDArray[Any]]], FloatArray] | None = None,
        min_group: int = 10,
        source: str = "data",
    ) -> Reference:
        """Build a reference from arrays, a mapping of columns or a DataFrame.

        Parameters
        ----------
        features
            Columns by name, a 2-D array (names become ``f0``, ``f1``, …) or a DataFrame (pandas,
            polars, arrow).
        scores
            Probability of the positive class, shape ``(n,)``, or of each class, ``(n, K)``.
        predictions
            Predicted classes or values, shape ``(n,)``; derived from the scores if left out.
        labels
            True classes or values, shape ``(n,)``; without them there is no reference performance.
        slices
            Slicing columns that are not features, by name.
        times
            Event times, seconds since the Unix epoch, shape ``(n,)``. Without them the rows are
            taken to be in the order of time, and no season is learned.
        clients
            Who asked, shape ``(n,)``.
        categorical, numeric
            Features to treat so; the rest is decided by type and number of distinct values.
        sensitive
            Features and slices by which performance and fairness are watched.
        ignore
            Columns to leave out.
        model_name, model_version
            Which model it belongs to.
        task
            Kind of model; inferred from scores, predictions and labels if left out.
        positive
            Positive class of a binary task; the larger of two labels if left out.
        threshold
            Decision threshold on the score.
        sensitivity
            Mean absolute change of the score when a feature is shuffled, by feature.
        predict
            Function from columns to scores, shape ``(n,)``; measures `sensitivity` on up to 2,000
            rows when given.
        min_group
            A category or group shared by fewer rows is never named.
        source
            ``data`` or ``traffic``.

        Returns
        -------
        Reference
            The frozen profile.

        Raises
        ------
        DataError
            If columns have different lengths, a named column is missing, or there are no rows.
        """
        parts = build_parts(
            features,
            Given(
                scores=scores,
                predictions=predictions,
                labels=labels,
                slices=slices or {},
                times=times,
                clients=clients,
                categorical=frozenset(categorical),
                numeric=frozenset(numeric),
                sensitive=tuple(sensitive),
                ignore=tuple(ignore),
                task=task,
                positive=positive,
                threshold=threshold,
                predict=predict,
                sensitivity=sensitivity,
                min_group=min_group,
            ),
        )
        return cls(
            model_name=model_name,
            model_version=model_version,
            task=parts.task,
            features=parts.features,
            profile=parts.profile,
            group_layout=parts.group_layout,
            outcomes=parts.outcomes,
            sensitivity=parts.sensitivity,
            threshold=threshold,
            source=source,
            joint=parts.joint,
            season=parts.season,
            designs=parts.designs,
            effects=parts.effects,
            repeats=parts.repeats,
            tables=parts.tables,
        )

    def save(self, path: str | Path) -> None:
        """Write the reference as one readable, checksummed JSON file, replacing it atomically."""
        io.write(Path(path), self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> Reference:
        """Read a reference file.

        Raises
        ------
        ReferenceError
            If the file is missing, damaged, of another version, or was changed by hand.
        """
        return cls.from_json(io.read(Path(path)), where=str(path))

    def to_json(self) -> dict[str, Any]:
        """Return the reference as plain JSON values."""
        return {
            "model": {"name": self.model_name, "version": self.model_version},
            "task": self.task,
            "threshold": self.threshold,
            "source": self.source,
            "features": list(self.features),
            "cells": self.layout.to_json(),
            "profile": self.profile.to_json(),
            "groups": None if self.group_layout is None else self.group_layout.to_json(),
            "outcomes": None if self.outcomes is None else self.outcomes.tolist(),
            "sensitivity": dict(sorted(self.sensitivity.items())),
            "joint": None if self.joint is None else self.joint.to_json(),
            "season": self.season.to_json(),
            "designs": dict(sorted(self.designs.items())),
            "effects": {k: v.tolist() for k, v in sorted(self.effects.items())},
            "repeats": list(self.repeats),
            "tables": [table.to_json() for table in self.tables],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], *, where: str = "reference") -> Reference:
        """Return the reference that `to_json` wrote."""
        with io.reading(where):
            layout = Layout.from_json(data["cells"])
            groups = None if data["groups"] is None else GroupLayout.from_json(data["groups"])
            outcomes = None
            if data["outcomes"] is not None and groups is not None:
                outcomes = np.array(data["outcomes"], dtype=np.int64).reshape(groups.shape)
            return cls(
                model_name=str(data["model"]["name"]),
                model_version=data["model"]["version"],
                task=data["task"],
                features=tuple(data["features"]),
                profile=Profile.from_json(layout, data["profile"]),
                group_layout=groups,
                outcomes=outcomes,
                sensitivity={str(k): float(v) for k, v in data["sensitivity"].items()},
                threshold=float(data["threshold"]),
                source=str(data["source"]),
                joint=None if data["joint"] is None else Joint.from_json(data["joint"]),
                season=Season.from_json(data["season"]),
                designs={str(k): float(v) for k, v in data["designs"].items()},
                effects={str(k): np.array(v, dtype=np.float64) for k, v in data["effects"].items()},
                repeats=(int(data["repeats"][0]), int(data["repeats"][1]), int(data["repeats"][2])),
                tables=tuple(LabelTable.from_json(item) for item in data["tables"]),
            )
