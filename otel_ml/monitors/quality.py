"""Is the data broken? Reference counts in, one yes/no stream per feature and defect out.

Each asks whether a defect (missing, unseen category, out of range, infinite, not a number) is more
frequent than the reference's own rate, with its sampling error, plus a small slack.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from otel_ml.monitors.evidence import rate_increments, smoothed, upper_rate
from otel_ml.profile import CategoryCells, NumericCells, Reference
from otel_ml.types import Stream

__all__ = ["data_quality"]

_SLACK: Final = 0.01  # one row in a hundred more than before is not worth an incident
_NUMERIC: Final = {
    "missing": ("missing",),
    "out_of_range": ("below_range", "above_range"),
    "infinite": ("infinite",),
    "not_a_number": ("not_a_number",),
}
_CATEGORICAL: Final = {"missing": ("missing",), "unseen": ("unseen",)}


def data_quality(reference: Reference, min_effect: float) -> Iterator[Stream]:
    """Yield one stream per feature and defect.

    Parameters
    ----------
    reference
        What production is compared with.
    min_effect
        Effect floor of the model; the slack of a defect is never larger than it.
    """
    slack = min(_SLACK, max(min_effect, 1e-3))
    for name in reference.features:
        cells = reference.layout.sources[reference.layout.index[name]]
        counts = reference.profile.of(name)
        rows = int(counts.sum())
        if rows == 0:
            continue
        defects = _NUMERIC if isinstance(cells, NumericCells) else _CATEGORICAL
        for defect, labels in defects.items():
            if defect == "unseen" and isinstance(cells, CategoryCells) and cells.open_ended:
                continue
            # defect cells are the last ones, so a category that happens to be called "missing"
            # is not taken for the defect
            where = [len(cells.labels) - 1 - cells.labels[::-1].index(label) for label in labels]
            if defect == "out_of_range":
                where = [0, cells.valid - 1]
            events = int(counts[where].sum())
            pair = rate_increments(upper_rate(events, rows, slack))
            if not len(pair):
                continue
            logs = np.repeat(pair[:, :1], cells.size, axis=1)
            logs[:, where] = pair[:, 1:]
            law = smoothed(counts)
            yes = np.isin(np.arange(cells.size), where)
            yield Stream(
                "data_quality", "quality", name, name, "rows", law, logs, cells.labels, defect, yes
            )
