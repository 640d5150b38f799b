"""Are rows sent more than once? Repeats of the reference, or of the first rows, in, a stream out.

An excess alarms, a lack does not. Some repeats are in the nature of most traffic; what is asked is
whether there are more of them than there were, at least three in a hundred rows more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from otel_ml.monitors.evidence import joined, rate_bets, upper_rate
from otel_ml.profile.repeats import REPEATS, REPEATS_SOURCE
from otel_ml.types import IntArray, Stream

__all__ = ["DUPLICATES", "duplicates"]

DUPLICATES: Final = "duplicates"
_NEAR_SLACK: Final = 0.03
_REPLAY_SLACK: Final = 0.005  # the same rows in the same order do not come about by chance
_RISES: Final = (0.03, 0.1, 0.3, 0.6, 0.9)


def duplicates(counts: Sequence[int] | IntArray, design: float) -> Stream:
    """Return the stream that asks whether repeats have become frequent.

    Parameters
    ----------
    counts
        Rows by kind of repeat, shape ``(3,)``.
    design
        How many rows say as much about it as one independent row.
    """
    seen = np.array(counts, dtype=np.float64)
    rows = float(seen.sum()) / design
    law = (seen + 0.5) / (seen.sum() + 0.5 * len(seen))
    kinds = np.arange(len(REPEATS))
    bets = []
    for kind, slack in ((1, _NEAR_SLACK), (2, _REPLAY_SLACK)):
        top = upper_rate(float(seen[kind]) / design, rows, slack, z=2.0)
        bets.append(rate_bets(law, kinds == kind, top, [top + rise for rise in _RISES]))
    found = joined(bets, len(REPEATS))
    return Stream(
        DUPLICATES,
        "security",
        DUPLICATES,
        REPEATS_SOURCE,
        "rows",
        law,
        *found,
        np.full(len(found.scores), 1 / max(len(found.scores), 1)),
        REPEATS,
        yes=kinds > 0,
        design=design,
    )
