"""Does every row bring the features of the reference? Names of a batch in, a cell of its rows out.

A feature that is gone, one that nobody knows, or both, as when a column is renamed. Columns that
came with complete rows from the beginning (ids, times) are how the model is called, not a change. A
feature that is sometimes missing in the reference may be left out of a few rows as well; it is gone
once that has gone on for longer than missing values explain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from otel_ml.monitors.evidence import rate_bets
from otel_ml.profile import NumericCells, Reference
from otel_ml.types import Stream

__all__ = ["SCHEMA", "SCHEMA_CELLS", "SCHEMA_SOURCE", "Schema", "schema"]

SCHEMA: Final = "schema"
SCHEMA_SOURCE: Final = "rows:schema"
SCHEMA_CELLS: Final = ("ok", "missing feature", "new feature", "both")
_USUAL: Final = 0.001  # share of rows with another schema where nothing has changed
_TOLERATED: Final = 0.01
_RATES: Final = (0.05, 0.3, 0.95)
_DESIGN: Final = 5.0  # rows of a batch share its columns
_FIRST_ROWS: Final = 50  # columns of complete rows so early were always there
_MOST_NAMES: Final = 1000  # remembered of those
_SHOWN: Final = 20  # names given as facts
_UNEXPLAINED: Final = float(np.log(1e-6))


def schema() -> Stream:
    """Return the stream that asks whether rows come with other features."""
    law = np.array([1 - 3 * _USUAL, _USUAL, _USUAL, _USUAL])
    other = np.array([False, True, True, True])
    bets = rate_bets(law, other, _TOLERATED, _RATES)
    return Stream(
        SCHEMA,
        "quality",
        SCHEMA,
        SCHEMA_SOURCE,
        "rows",
        law,
        *bets,
        np.full(len(bets.scores), 1 / len(bets.scores)),
        SCHEMA_CELLS,
        yes=other,
        design=_DESIGN,
    )


class Schema:
    """What the columns of the latest batches say.

    Parameters
    ----------
    reference
        What production is compared with.
    """

    def __init__(self, reference: Reference) -> None:
        self._gain = {name: _missing_log(reference, name) for name in reference.features}
        self._streaks: dict[str, int] = {}
        self._always: set[str] = set()
        self._rows = 0
        self.missing: tuple[str, ...] = ()
        self.new: tuple[str, ...] = ()

    def cell(self, rows: int, missing: Sequence[str], new: Sequence[str]) -> int:
        """Return the cell of the rows of a batch.

        Parameters
        ----------
        rows
            Rows of the batch; it has at least one feature.
        missing
            Features of the reference that it does not have.
        new
            Features it has that the reference does not know.

        Returns
        -------
        int
            Position in `SCHEMA_CELLS`. The names are in `missing` and `new`, twenty at most.
        """
        lacking = [name for name in missing if name in self._gain]
        # a feature that is there again starts anew
        self._streaks = {name: self._streaks.get(name, 0) + rows for name in lacking}
        gone = [n for n, k in self._streaks.items() if k * self._gain[n] < _UNEXPLAINED]
        if not lacking and self._rows < _FIRST_ROWS:
            self._always |= set(new[: max(_MOST_NAMES - len(self._always), 0)])
            self._rows += rows
        unknown = [name for name in new if name not in self._always]
        self.missing, self.new = tuple(gone[:_SHOWN]), tuple(unknown[:_SHOWN])
        return bool(gone) + 2 * bool(unknown)

    def to_json(self) -> dict[str, Any]:
        """Return what is remembered as plain JSON values."""
        return {
            "streaks": dict(self._streaks),
            "always": sorted(self._always),
            "rows": self._rows,
            "missing": list(self.missing),
            "new": list(self.new),
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take up what `to_json` wrote."""
        self._streaks = {str(k): int(v) for k, v in data["streaks"].items() if k in self._gain}
        self._always = {str(name) for name in data["always"]}
        self._rows = int(data["rows"])
        self.missing, self.new = tuple(data["missing"]), tuple(data["new"])


def _missing_log(reference: Reference, name: str) -> float:
    """Return the log probability that a value is missing, per row."""
    cells = reference.layout.sources[reference.layout.index[name]]
    counts = reference.profile.of(name)
    # the last three cells of numbers are defects, the last one of categories is `missing`
    missing = int(counts[cells.valid if isinstance(cells, NumericCells) else cells.size - 1])
    rate = (missing + 0.5) / (int(counts.sum()) + 1)
    return float(np.log(rate)) / max(reference.design(name), 1.0)
