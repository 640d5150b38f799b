"""Cells of single columns in, cells of what follows from several of them out.

Residuals of features given the others, the distance from the reference, the score within each
group and the clients are sources like any other: counted, merged, monitored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.profile.cells import CategoryCells, Cells, NumericCells
from otel_ml.profile.joint import Joint
from otel_ml.profile.outcomes import GroupLayout
from otel_ml.profile.outputs import PREDICTION, SCORE
from otel_ml.profile.profile import Layout
from otel_ml.turns import give_way
from otel_ml.types import FloatArray

__all__ = ["CLIENTS", "RESERVED", "SCORE_OF", "derive", "derived_cells", "is_derived"]

CLIENTS: Final = "rows:clients"
SCORE_OF: Final = "score:"
RESERVED: Final = (
    "rows:",
    "residual:",
    "score:",
    "calls:",
    "intervals:",
    "error:",
    "bias:",
    "calibration:",
)
_JOINT_BINS: Final = 12
_GROUP_ROWS: Final = 500  # scored reference rows of a group below which its own law is too unsure
_MOST_GROUPS: Final = 24


def is_derived(name: str) -> bool:
    """Tell whether a source follows from other columns."""
    return name.startswith(RESERVED)


def derived_cells(
    joint: Joint | None,
    joint_values: FloatArray | None,
    score: Cells | None,
    scored: NDArray[np.bool_],
    groups: GroupLayout | None,
    group_codes: Sequence[NDArray[np.uint8]],
    clients: NDArray[Any] | None,
    min_group: int,
) -> list[Cells]:
    """Return the cells of all derived sources of a reference.

    Parameters
    ----------
    joint
        Frozen coefficients of the residuals, or None.
    joint_values
        Their values on the reference, shape ``(n, names)``.
    score
        Cells of the score, or None.
    scored
        Rows that have one, shape ``(n,)``.
    groups
        Slicing attributes.
    group_codes
        Group of each row by attribute, shape ``(n,)`` each.
    clients
        Who asked, shape ``(n,)``, or None.
    min_group
        A client with fewer rows is never named.
    """
    out: list[Cells] = []
    if joint is not None and joint_values is not None:
        for name, column in zip(joint.names, joint_values.T, strict=True):
            out.append(NumericCells.build(name, column, bins=_JOINT_BINS))
    if isinstance(score, NumericCells) and groups is not None:
        named: list[tuple[int, str]] = []
        for group, codes in zip(groups.groups, group_codes, strict=True):
            rows = np.bincount(codes[scored], minlength=len(group.labels) + 1)
            named += [
                (int(rows[i]), f"{SCORE_OF}{group.attribute}={label}")
                for i, label in enumerate(group.labels)
                if rows[i] >= _GROUP_ROWS
            ]
        largest = sorted(named, reverse=True)[:_MOST_GROUPS]
        out += [NumericCells(name, score.bounds) for _, name in largest]
    if clients is not None:
        out.append(CategoryCells.build(CLIENTS, clients, min_group=min_group))
    return out


def derive(
    layout: Layout,
    joint: Joint | None,
    groups: GroupLayout | None,
    codes: NDArray[np.int16],
    values: FloatArray,
    columns: Mapping[str, NDArray[Any]],
    clients: Sequence[str | None] | None,
    *,
    held_out: bool = False,
) -> None:
    """Fill in the derived sources of a batch.

    Parameters
    ----------
    layout
        All sources; the derived ones are the last.
    joint, groups
        As of the reference.
    codes, values
        Of all sources, shape ``(n, S)``; the columns of the derived ones are written.
    columns
        Features and slices by name.
    clients
        Who asked, by row, or None.
    held_out
        Whether these are the rows the coefficients were fitted on: each is then judged as if it had
        been left out, or new rows would look different.
    """
    index = layout.index
    first = next((i for i, c in enumerate(layout.sources) if is_derived(c.name)), len(index))
    if joint is not None and len(codes):
        judge = joint.held_out if held_out else joint.values
        found = judge(codes[:, :first], values[:, :first])
        give_way()
        # a batch without any feature says nothing about how they belong together
        inputs = [i for i in range(first) if layout.sources[i].name not in (SCORE, PREDICTION)]
        told = (codes.T[inputs] >= 0).any(axis=0)
        layout.bounds.fill(dict(zip(joint.names, found.T, strict=True)), codes.T, values.T)
        if not told.all():
            places = np.ix_(~told, np.array([index[name] for name in joint.names]))
            codes[places] = -1
            values[places] = np.nan
    if groups is not None and SCORE in index:
        score = index[SCORE]
        for group in groups.groups:
            column = columns.get(group.attribute)
            if column is None:
                continue
            of = group.codes(column)
            for i, label in enumerate(group.labels):
                at = index.get(f"{SCORE_OF}{group.attribute}={label}")
                if at is not None:
                    codes[:, at] = np.where(of == i, codes[:, score], -1)
                    values[:, at] = np.where(of == i, values[:, score], np.nan)
    if clients is not None and CLIENTS in index:
        at = index[CLIENTS]
        held = np.empty(len(codes), dtype=object)
        held[:] = list(clients)
        codes[:, at] = layout.sources[at].codes(held)[0]
