"""Did the inputs or outputs change? Reference counts in, one stream per feature and output out.

Asked of the valid cells only: missing, unseen and unreadable values are questions of data quality.
Under no change, or change within the effect floor, each stream's evidence is an e-detector: its
mean never exceeds the number of evaluations.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from otel_ml.monitors.evidence import (
    Bets,
    category_bets,
    joined,
    location_bets,
    smoothed,
    spread_bets,
    tolerance,
)
from otel_ml.profile import (
    CLIENTS,
    DISTANCE,
    PREDICTION,
    RESIDUAL,
    SCORE,
    SCORE_OF,
    CategoryCells,
    Cells,
    NumericCells,
    Reference,
    typical_design,
)
from otel_ml.types import FloatArray, IntArray, Stream

__all__ = [
    "DEPENDENT_CLIENTS",
    "asked",
    "client_drift",
    "input_drift",
    "joint_drift",
    "output_drift",
]

# shares of a stream's evidence; the rest goes to changes of any shape
_LOCATION: Final = 0.55
_SPREAD: Final = 0.25
_CATEGORIES: Final = 0.7
_JOINT_SHARE: Final = 0.4  # a residual asks the same feature again, with more error of its own
_ROWS_PER_COLUMN: Final = 3.0  # independent rows of the reference for each column of a joint model
_ROWS: Final = "rows:"
_GROUP_SHARE: Final = 0.5
DEPENDENT_CLIENTS: Final = 10.0  # clients that come in long runs say nothing about drift


def input_drift(reference: Reference, min_effect: float) -> Iterator[Stream]:
    """Yield one stream per feature.

    Parameters
    ----------
    reference
        What production is compared with.
    min_effect
        Total variation below which drift never alarms.
    """
    for name in reference.features:
        yield from _stream(reference, name, "input_drift", "inputs", name, min_effect)


def joint_drift(reference: Reference, min_effect: float) -> Iterator[Stream]:
    """Yield one stream per residual of a feature given the others, and one for the distance.

    They see what no single feature shows: values that no longer belong together. How features
    belong together takes more independent rows to learn than there are columns; where rows depend
    on each other, a reference may hold far fewer of them than it has rows.
    """
    if reference.joint is None:
        return
    rows = int(reference.profile.counts.sum(axis=1).max(initial=0))
    if rows / typical_design(reference.designs) < _ROWS_PER_COLUMN * len(reference.joint.precision):
        return
    for name in reference.layout.index:
        if name.startswith(RESIDUAL):
            target = name.removeprefix(RESIDUAL)
        elif name == DISTANCE:
            target = DISTANCE.removeprefix(_ROWS)
        else:
            continue
        yield from _stream(
            reference, name, "joint_drift", "inputs", target, min_effect, _JOINT_SHARE
        )


def output_drift(reference: Reference, min_effect: float) -> Iterator[Stream]:
    """Yield streams for the score, the score within each group, and the predictions."""
    for name, monitor in ((SCORE, "score_drift"), (PREDICTION, "prediction_drift")):
        if name in reference.layout.index:
            yield from _stream(reference, name, monitor, "outputs", name, min_effect)
    groups = [name for name in reference.layout.index if name.startswith(SCORE_OF)]
    for name in groups:
        target = name.removeprefix(SCORE_OF)
        share = _GROUP_SHARE / len(groups)
        yield from _stream(reference, name, "score_drift", "outputs", target, min_effect, share)


def client_drift(reference: Reference, min_effect: float) -> Iterator[Stream]:
    """Yield a stream for who asks, unless clients come in runs too long to say anything."""
    if CLIENTS in reference.layout.index and reference.design(CLIENTS) <= DEPENDENT_CLIENTS:
        target = CLIENTS.removeprefix(_ROWS)
        yield from _stream(reference, CLIENTS, "client_drift", "security", target, min_effect)


def _stream(
    reference: Reference,
    name: str,
    monitor: str,
    family: str,
    target: str,
    min_effect: float,
    share: float = 1.0,
) -> Iterator[Stream]:
    cells: Cells = reference.layout.sources[reference.layout.index[name]]
    counts = reference.profile.of(name)
    valid = asked(cells, counts)
    design = reference.design(name)
    rows = float(counts[valid].sum()) / design
    if rows == 0 or len(valid) < 2:
        return
    p = smoothed(counts[valid], design)
    if isinstance(cells, NumericCells):
        parts = [
            (location_bets(p, rows, min_effect), _LOCATION),
            (spread_bets(p, rows, min_effect), _SPREAD),
        ]
    else:
        parts = [(category_bets(p, counts[valid], rows, min_effect), _CATEGORIES)]
    bets, weights = weighted(parts, len(p))
    yield Stream(
        monitor,
        family,
        target,
        name,
        "rows",
        spread_over(p, valid, cells.size),
        spread_over(bets.scores, valid, cells.size),
        spread_over(bets.ends, valid, cells.size),
        weights,
        cells.labels,
        radius=tolerance(p, rows, max(min_effect, 1e-6)),
        design=design,
        share=share,
    )


def weighted(parts: list[tuple[Bets, float]], cells: int) -> tuple[Bets, FloatArray]:
    """Return all bets, and the weight of each: those of a part share the part's weight."""
    weights = [np.full(len(b.scores), w / max(len(b.scores), 1)) for b, w in parts]
    return joined([b for b, _ in parts], cells), np.concatenate(weights)


def spread_over(values: FloatArray, where: IntArray, size: int) -> FloatArray:
    """Return values of some cells over all cells of the source, zero elsewhere."""
    out = np.zeros((*values.shape[:-1], size))
    out[..., where] = values
    return out


def asked(cells: Cells, counts: IntArray) -> IntArray:
    """Return the cells a change of law is asked of: valid ones, `other` only where it exists."""
    valid = np.arange(cells.valid)
    if isinstance(cells, CategoryCells) and not cells.rare and not cells.open_ended:
        valid = valid[:-1] if not counts[cells.valid - 1] else valid
    return valid
