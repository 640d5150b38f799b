"""The list of faults: each a change of rows, the rows within which it has to be found, its end.

What is picked (the column, the level, the factor) depends on the seed alone, so the same fault can
be put into a second stream to learn its law.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from benchmarks.detection.moves import (
    mean_shift,
    missing,
    new_category,
    spread_change,
    stuck,
    subpopulation,
    swapped,
    unit_change,
    words,
)
from benchmarks.detection.relations import (
    correlation,
    distortion,
    ignored,
    label_flip,
    one_client,
    one_segment,
    replay,
    retries,
    score_shift,
    two_moved,
    vanished,
)
from benchmarks.detection.site import Apply


@dataclass(frozen=True)
class Fault:
    """A fault of the benchmark.

    Parameters
    ----------
    name
        Its name in tables.
    apply
        Puts it in.
    group
        ``main`` counts in the totals; the others are shown by themselves.
    horizon
        Rows within which it has to be found.
    lasts
        Rows after which it ends, 0 for never.
    after
        Clean rows after its end.
    width
        Columns the model does not use.
    seeds
        One run each.
    """

    name: str
    apply: Apply
    group: str = "main"
    horizon: int = 8000
    lasts: int = 0
    after: int = 0
    width: int = 0
    seeds: range = range(5000, 5024)


FAULTS: Final = {
    f.name: f
    for f in (
        Fault("mean shift 0.25 sd", mean_shift(0.25)),
        Fault("mean shift 0.5 sd", mean_shift(0.5)),
        Fault("mean shift 1 sd", mean_shift(1.0)),
        Fault("spread x 1.5", spread_change(1.5)),
        Fault("spread x 0.7", spread_change(0.7)),
        Fault("ramp to 1 sd over 4,000 rows", mean_shift(1.0, over=4000)),
        Fault("subpopulation x 3", subpopulation),
        Fault("missing 2 %", missing(0.02)),
        Fault("missing 10 %", missing(0.1)),
        Fault("unit change, all rows", unit_change(1.0)),
        Fault("unit change, 30 % of rows", unit_change(0.3)),
        Fault("new category 5 %", new_category),
        Fault("stuck value", stuck),
        Fault("words in a numeric column", words),
        Fault("two columns swapped", swapped),
        Fault("correlation only", correlation),
        Fault("labels flip", label_flip),
        Fault("score distortion", distortion),
        Fault("score shift", score_shift),
        Fault("replay of 1,000 rows", replay),
        Fault("retry storm", retries),
        Fault("column vanishes", vanished),
        Fault("one client only", one_client),
        Fault("one segment only", one_segment),
        Fault("two moved alike", two_moved),
        Fault("two moved alike, more seeds", two_moved, "pairs", seeds=range(8000, 8168)),
        Fault("ignored column moves", ignored, group="ignored", width=1),
        Fault("ends: mean shift 1 sd", mean_shift(1.0), "ends", lasts=2000, after=20_000),
        Fault("ends: missing 10 %", missing(0.1), "ends", lasts=2000, after=20_000),
        Fault("boiling frog", mean_shift(0.5, over=30_000), "slow", horizon=38_000),
        Fault("learned from 1 % faulty", mean_shift(0.5), "learned"),
    )
}
