"""Is the data broken? Reference counts in, one yes/no stream per feature and defect out.

Each asks whether a defect (missing, unseen category, out of range, infinite, not a number) is more
frequent than the reference's own rate, with its sampling error, plus a small slack.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from otel_ml.monitors.evidence import UNSURE, rate_bets, smoothed, upper_rate
from otel_ml.profile import CategoryCells, NumericCells, Reference, typical_design
from otel_ml.types import Stream

__all__ = ["data_quality"]

_SLACK: Final = 0.03  # of the effect floor: a defect matters sooner than a shift of the law
_RATES: Final = (0.01, 0.03, 0.1, 0.4)
# how often each is what broke; shares of the family's budget, not thresholds
_SHARES: Final = {"missing": 1.0, "unseen": 1.0, "out_of_range": 0.5, "not_a_number": 0.5}
_RARE_DEFECT: Final = 0.25
_RARE: Final = 0.05  # share of the rows up to which a defect comes in clusters
_CLUSTER: Final = 1.5, 8.0  # a session that repeats a rare value does so more often than the mean
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
        Effect floor of the model; a thirtieth of it is the slack of a defect.
    """
    slack, clusters = max(_SLACK * min_effect, 1e-4), _clusters(reference)
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
            yes = np.isin(np.arange(cells.size), where)
            design = reference.design(name) + (clusters if events <= _RARE * rows else 0.0)
            law = smoothed(counts, design)
            expected = events / design
            if defect == "unseen" and isinstance(cells, CategoryCells):
                # few independent rows of many values: each of them may bring a new one
                expected = min(expected + cells.seen_once(design), rows / design)
            top = upper_rate(expected, rows / design, slack, z=UNSURE)
            bets = rate_bets(law, yes, top, [top + rate for rate in _RATES])
            if not len(bets.scores):
                continue
            yield Stream(
                "data_quality",
                "quality",
                name,
                name,
                "rows",
                law,
                bets.scores,
                bets.ends,
                np.full(len(bets.scores), 1 / len(bets.scores)),
                cells.labels,
                defect,
                yes,
                design=design,
                share=_SHARES.get(defect, _RARE_DEFECT),
            )


def _clusters(reference: Reference) -> float:
    """Return by how many rows more than the design effect says those of a rare value count as one.

    The design effect is a mean over all sessions. Nearly none of them holds a rare value, and the
    one that does repeats it as often as it is long.
    """
    factor, most = _CLUSTER
    return factor * min(typical_design(reference.designs) - 1, most)
