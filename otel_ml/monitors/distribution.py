"""Did the inputs or outputs change? Reference counts in, one stream per feature and output out.

Asked of the valid cells only: missing, unseen and unreadable values are questions of data quality.
Under no change, or change within the effect floor, each stream's evidence is an e-detector: its
mean never exceeds the number of evaluations.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from otel_ml.monitors.evidence import increments, location_spread, smoothed, spikes, tolerance
from otel_ml.profile import PREDICTION, SCORE, CategoryCells, Cells, NumericCells, Reference
from otel_ml.types import IntArray, Stream

__all__ = ["input_drift", "output_drift"]


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
        stream = _stream(reference, name, "input_drift", "inputs", min_effect)
        if stream is not None:
            yield stream


def output_drift(reference: Reference, min_effect: float) -> Iterator[Stream]:
    """Yield a stream for the score and one for the predictions, where the reference has them."""
    for name, monitor in ((SCORE, "score_drift"), (PREDICTION, "prediction_drift")):
        if name in reference.layout.index:
            stream = _stream(reference, name, monitor, "outputs", min_effect)
            if stream is not None:
                yield stream


def _stream(
    reference: Reference, name: str, monitor: str, family: str, min_effect: float
) -> Stream | None:
    cells: Cells = reference.layout.sources[reference.layout.index[name]]
    counts = reference.profile.of(name)
    valid = asked(cells, counts)
    rows = int(counts[valid].sum())
    if rows == 0 or len(valid) < 2:
        return None
    p = smoothed(counts[valid])
    laws = spikes(p)
    if isinstance(cells, NumericCells):
        laws = np.concatenate([location_spread(p), laws])
    found = increments(p, laws, tolerance(p, rows, min_effect))
    logs = np.zeros((len(found), cells.size))
    logs[:, valid] = found
    law = np.zeros(cells.size)
    law[valid] = p
    return Stream(monitor, family, name, name, "rows", law, logs, cells.labels)


def asked(cells: Cells, counts: IntArray) -> IntArray:
    """Return the cells a change of law is asked of: valid ones, `other` only where it exists."""
    valid = np.arange(cells.valid)
    if isinstance(cells, CategoryCells) and not cells.rare and not cells.open_ended:
        valid = valid[:-1] if not counts[cells.valid - 1] else valid
    return valid
