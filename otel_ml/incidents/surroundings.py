"""What is known around the incidents of a model: its use of features, its rows, its rollouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.incidents.advice import Playbook, Rollout
from otel_ml.incidents.advice.recent import RecentRows
from otel_ml.incidents.advice.shifted import Relations
from otel_ml.profile.joint import Joint
from otel_ml.types import FloatArray, IntArray

__all__ = ["Surroundings"]

_KEPT: Final = 50  # rollouts remembered
_VERSIONS: Final = 1000  # versions told apart


@dataclass
class Surroundings:
    """What explains incidents, besides their own counts.

    Parameters
    ----------
    recent
        The latest rows, or None where only counts are known.
    effects
        Contribution of each cell of a feature to the score, by feature, shape ``(cells,)``.
    playbook
        Causes to choose from; the built-in ones if None.
    joint
        Regressions of each feature on all others; None where there are none.
    rollouts
        What was rolled out, the oldest first.
    versions
        Versions of the model that have answered.
    """

    recent: RecentRows | None = None
    effects: Mapping[str, FloatArray] = field(default_factory=dict)
    playbook: Playbook | None = None
    joint: Joint | None = None
    rollouts: list[Rollout] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)

    @cached_property
    def relations(self) -> Relations | None:
        """How features belong together, None where that is not known."""
        return None if self.joint is None else Relations.of(self.joint)

    def saw_rows(
        self, rows: IntArray, codes: NDArray[np.int16], extras: Mapping[str, NDArray[Any]]
    ) -> None:
        """Remember rows; parameters as of `RecentRows.add`."""
        if self.recent is not None:
            self.recent.add(rows, codes, extras)

    def saw_versions(self, versions: Sequence[str | None], row: int) -> None:
        """Take note of versions of the model that answer for the first time.

        Parameters
        ----------
        versions
            Of the rows from `row` on.
        row
            Number of the first.
        """
        for i, version in enumerate(versions):
            if version is None or version in self.versions or len(self.versions) >= _VERSIONS:
                continue
            if self.versions:  # the first one was there before
                self.roll_out(Rollout(row + i, "version", f"version {version}"))
            self.versions.add(version)

    def roll_out(self, rollout: Rollout) -> None:
        """Take note of a rollout."""
        self.rollouts = [*self.rollouts, rollout][-_KEPT:]

    def to_json(self) -> dict[str, Any]:
        """Return rows and rollouts as plain JSON values."""
        return {
            "recent": None if self.recent is None else self.recent.to_json(),
            "rollouts": [[r.row, r.kind, r.text] for r in self.rollouts],
            "versions": sorted(self.versions),
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take up what `to_json` wrote."""
        if self.recent is not None and data["recent"] is not None:
            self.recent.restore(data["recent"])
        self.rollouts = [Rollout(int(row), kind, text) for row, kind, text in data["rollouts"]]
        self.versions = {str(version) for version in data["versions"]}
