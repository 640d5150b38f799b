"""A batch in, one cell code per row and source out, ready to be counted in any grouping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otel_ml.profile.cells import MOMENT_LIMIT
from otel_ml.profile.derived import derive, is_derived
from otel_ml.profile.outputs import PREDICTION, SCORE, decided
from otel_ml.profile.profile import Layout, Profile
from otel_ml.profile.reference import Reference
from otel_ml.profile.values import category_keys, numeric_values
from otel_ml.turns import give_way
from otel_ml.types import Batch, FloatArray

__all__ = ["Codes", "chunk_counts", "decisions", "encode", "top_score"]


@dataclass(frozen=True)
class Codes:
    """Cell codes of a batch.

    Parameters
    ----------
    codes
        Shape ``(n, S)``; -1 where the batch says nothing about the source.
    values
        Finite values of numeric sources, NaN elsewhere, shape ``(n, S)``.
    predictions
        Predicted class keys, shape ``(n,)``, object, or None.
    missing_features
        Features of the reference that the batch does not have.
    new_features
        Features of the batch that the reference does not know.
    """

    codes: NDArray[np.int16]
    values: FloatArray
    predictions: NDArray[Any] | None
    missing_features: tuple[str, ...] = ()
    new_features: tuple[str, ...] = ()

    def select(self, rows: NDArray[np.bool_]) -> Codes:
        """Return the codes of some rows."""
        kept = None if self.predictions is None else self.predictions[rows]
        return Codes(
            self.codes[rows], self.values[rows], kept, self.missing_features, self.new_features
        )


def top_score(reference: Reference, scores: FloatArray) -> FloatArray:
    """Return the score that is watched: of the positive class, or of the top class, ``(n,)``."""
    if scores.ndim == 1:
        return scores
    if scores.shape[1] == 1:
        return scores[:, 0]
    return scores[:, 1] if reference.task == "binary" else np.asarray(scores.max(axis=1))


def decisions(reference: Reference, batch: Batch) -> NDArray[Any] | None:
    """Return the predicted class keys, or values, deriving them from scores where needed."""
    if reference.task == "regression":
        given = batch.predictions if batch.predictions is not None else batch.scores
        return None if given is None else numeric_values(given.reshape(batch.n))[0]
    if batch.predictions is not None:
        return category_keys(batch.predictions)
    if batch.scores is None or reference.group_layout is None:
        return None
    classes = reference.group_layout.classes
    return decided(classes, batch.scores, reference.threshold, reference.task)


def encode(reference: Reference, batch: Batch) -> Codes:
    """Return the cell codes of a batch under a reference's layout."""
    layout = reference.layout
    # columns lie together in memory: that is how they are written and read
    by_source = np.full((len(layout.sources), batch.n), -1, dtype=np.int16)
    found_values = np.full(by_source.shape, np.nan)
    codes, values = by_source.T, found_values.T
    predictions = decisions(reference, batch)
    columns: dict[str, NDArray[Any]] = dict(batch.features)
    if batch.scores is not None:
        columns[SCORE] = top_score(reference, batch.scores)
    if predictions is not None:
        columns[PREDICTION] = predictions
    absent = []
    written = layout.bounds.fill(columns, by_source, found_values)
    for j, cells in enumerate(layout.sources):
        if cells.name in written or is_derived(cells.name):
            continue
        column = columns.get(cells.name)
        if column is None:
            if cells.name not in (SCORE, PREDICTION) and batch.features:
                absent.append(cells.name)
            continue
        codes[:, j], found = cells.codes(column)
        if found is not None:
            values[:, j] = found
        give_way()
    sliced = {**batch.features, **batch.slices}
    derive(layout, reference.joint, reference.group_layout, codes, values, sliced, batch.clients)
    known = layout.index
    return Codes(
        codes,
        values,
        predictions,
        tuple(absent),
        tuple(name for name in batch.features if name not in known),
    )


def chunk_counts(
    layout: Layout, codes: Codes, group: NDArray[np.int64], groups: int
) -> tuple[NDArray[np.int64], FloatArray]:
    """Count rows by group, source and cell, and add up their moments.

    Parameters
    ----------
    layout
        Sources and cells.
    codes
        Of a batch.
    group
        Group of each row, ``0 … groups - 1``, shape ``(n,)``.
    groups
        Number of groups.

    Returns
    -------
    counts
        Shape ``(groups, S, width)``.
    moments
        Shape ``(groups, S, 3)``.
    """
    s, width = len(layout.sources), layout.width
    flat = (group[:, None] * s + np.arange(s)) * width + codes.codes
    known = codes.codes >= 0
    flat = flat.ravel("K") if known.all() else flat[known]
    counts = np.bincount(flat, minlength=groups * s * width)
    return counts.reshape(groups, s, width).astype(np.int64), _moments(layout, codes, group, groups)


def _moments(layout: Layout, codes: Codes, group: NDArray[np.int64], groups: int) -> FloatArray:
    """Return number, sum and sum of squares by group and source, shape ``(groups, S, 3)``."""
    s = len(layout.sources)
    sums = np.zeros((groups, s, 3))
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    # as chunks are; windows need not be
    in_order = len(starts) == np.count_nonzero(np.bincount(group))
    if in_order and len(group):
        # most often every numeric column has a number in every row
        numeric = layout.bounds.places
        held = codes.values[:, numeric]
        one = np.add.reduceat(held, starts, axis=0)
        two = np.add.reduceat(np.square(held), starts, axis=0)
        if np.isfinite(two).all() and two.max(initial=0.0) < MOMENT_LIMIT:
            sizes = np.diff(starts, append=len(group))
            rows = group[starts][:, None]
            sums[rows, numeric, 0] = sizes[:, None]
            sums[rows, numeric, 1], sums[rows, numeric, 2] = one, two
            return sums
    values = np.clip(codes.values, -MOMENT_LIMIT, MOMENT_LIMIT)
    finite = ~np.isnan(values)
    filled = np.where(finite, values, 0.0)
    for k, part in enumerate((finite.astype(np.float64), filled, np.square(filled))):
        if in_order and len(group):
            sums[group[starts], :, k] = np.add.reduceat(part, starts, axis=0)
        else:
            np.add.at(sums[:, :, k], group, part)
    return sums


def profile_of(reference: Reference, columns: Mapping[str, NDArray[Any]]) -> Profile:
    """Return the profile of a table of features under a reference's layout."""
    n = len(next(iter(columns.values()))) if columns else 0
    codes = encode(reference, Batch(n, columns))
    counts, sums = chunk_counts(reference.layout, codes, np.zeros(n, dtype=np.int64), 1)
    return Profile(reference.layout, counts[0], sums[0])
