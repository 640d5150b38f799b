"""Batches in, counts of what only one process can tell out: repeats, schema, calls, volume.

These streams need the rows before, the whole batch or the clock, and most of them learn what is
usual from the first traffic. Their counts are of this process and are not merged with others'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from otel_ml.monitors import (
    ERROR_CELLS,
    ERRORS_SOURCE,
    LATENCY_CELLS,
    LATENCY_SOURCE,
    SCHEMA_CELLS,
    SCHEMA_SOURCE,
    VOLUME_CELLS,
    VOLUME_SOURCE,
    Errors,
    Interval,
    Latency,
    Schema,
    Volume,
    duplicates,
    latency,
    schema,
    volume,
)
from otel_ml.profile import REPEATS, REPEATS_SOURCE, Reference, Repeats
from otel_ml.profile.cells import moments
from otel_ml.profile.coder import Codes
from otel_ml.types import Batch, FloatArray, IntArray, Stream

__all__ = ["CALL_SOURCES", "ROW_SOURCES", "Counted", "Local", "named_columns"]

ROW_SOURCES: Final[Mapping[str, tuple[str, ...]]] = {
    REPEATS_SOURCE: REPEATS,
    SCHEMA_SOURCE: SCHEMA_CELLS,
}
CALL_SOURCES: Final[Mapping[str, tuple[str, ...]]] = {
    LATENCY_SOURCE: LATENCY_CELLS.labels,
    ERRORS_SOURCE: ERROR_CELLS,
    VOLUME_SOURCE: VOLUME_CELLS,
}
_NAMES: Final = 5  # of columns that are said
_NAME_CHARS: Final = 60
_REPEAT_ROWS: Final = 1000  # rows that tell how often rows repeat anyway


class Counted(NamedTuple):
    """Counts for one source: shape ``(cells,)``, and moments, shape ``(3,)``."""

    source: str
    counts: IntArray
    moments: FloatArray


class Local:
    """What a process knows of its own rows and calls.

    Parameters
    ----------
    reference
        What production is compared with.
    """

    def __init__(self, reference: Reference) -> None:
        self._repeats = Repeats()
        self._design = reference.design(REPEATS_SOURCE)
        given = np.array(reference.repeats, dtype=np.int64)
        self._usual = given if int(given.sum()) >= _REPEAT_ROWS else np.zeros_like(given)
        self._schema = Schema(reference)
        self._latency = Latency()
        self._errors = Errors()
        self._volume = Volume()
        self._watched: set[str] = set()

    @property
    def schema(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Features the latest batch lacked, and those it had that the reference does not know."""
        return self._schema.missing, self._schema.new

    def streams(self) -> Iterator[Stream]:
        """Yield the streams whose usual state is known by now, each once."""
        for source, known in self._known():
            if known is not None and source not in self._watched:
                stream = known()
                if not stream.empty:
                    self._watched.add(source)
                    yield stream

    def _known(self) -> Iterator[tuple[str, Callable[[], Stream] | None]]:
        """Yield each source, and what makes its stream where its usual state is known."""
        yield SCHEMA_SOURCE, schema
        yield VOLUME_SOURCE, volume
        usual, baseline = self._usual, self._latency.baseline
        enough = int(usual.sum()) >= _REPEAT_ROWS
        yield REPEATS_SOURCE, partial(duplicates, usual, self._design) if enough else None
        slow = None if baseline is None else partial(latency, LATENCY_CELLS, baseline)
        yield LATENCY_SOURCE, slow
        yield ERRORS_SOURCE, self._errors.stream if self._errors.known else None

    def rows(self, batch: Batch, codes: Codes) -> NDArray[np.int64]:
        """Return the cell of each row in each of `ROW_SOURCES`, shape ``(n, 2)``; -1: not asked."""
        out = np.full((batch.n, len(ROW_SOURCES)), -1, dtype=np.int64)
        if not batch.features or batch.n == 0:
            return out
        out[:, 0] = self._repeats.codes(batch.features, batch.n)
        out[:, 1] = self._schema.cell(batch.n, codes.missing_features, codes.new_features)
        if (room := _REPEAT_ROWS - int(self._usual.sum())) > 0:
            self._usual += np.bincount(out[:room, 0], minlength=len(REPEATS))
        return out

    def calls(self, batch: Batch, now: float) -> list[Counted]:
        """Return what the calls of a batch add to `CALL_SOURCES`.

        Parameters
        ----------
        batch
            Its rows, durations and errors.
        now
            When it arrived, seconds since the Unix epoch.
        """
        out = []
        durations = batch.durations
        answered = 0
        if durations is not None and len(durations):
            answered = len(durations)
            counts, compared = self._latency.counts(durations, batch.sizes)
            out.append(Counted(LATENCY_SOURCE, counts, moments(compared)))
        failed = len(batch.errors)
        if (answered or failed) and self._errors.add(answered, failed):
            out.append(Counted(ERRORS_SOURCE, np.array([answered, failed]), np.zeros(3)))
        if batch.n:
            out += _intervals(self._volume.add(batch.n, now))
        return out

    def advance(self, now: float) -> list[Counted]:
        """Return what time that has passed adds: intervals without rows count, too."""
        return _intervals(self._volume.advance(now))

    def to_json(self) -> dict[str, Any]:
        """Return what is held as plain JSON values."""
        return {
            "repeats": self._repeats.to_json(),
            "usual": self._usual.tolist(),
            "schema": self._schema.to_json(),
            "latency": self._latency.to_json(),
            "errors": self._errors.to_json(),
            "volume": self._volume.to_json(),
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take up what `to_json` wrote; the streams known by then are yielded again."""
        self._repeats.restore(data["repeats"])
        self._usual = np.array(data["usual"], dtype=np.int64).reshape(len(REPEATS))
        self._schema.restore(data["schema"])
        self._latency.restore(data["latency"])
        self._errors.restore(data["errors"])
        self._volume.restore(data["volume"])


def _intervals(over: Sequence[Interval]) -> list[Counted]:
    counts = np.zeros(len(VOLUME_CELLS), dtype=np.int64)
    for interval in over:
        counts[interval.cell] += interval.worth
    return [Counted(VOLUME_SOURCE, counts, np.zeros(3))] if counts.any() else []


def named_columns(missing: Sequence[str], new: Sequence[str]) -> str:
    """Return which columns are missing or new in words, the first few of them.

    Examples
    --------
    >>> named_columns(["age"], ["Age"])
    'missing: age; new: Age'
    """
    parts = []
    for word, names in (("missing", missing), ("new", new)):
        if names:
            shown = ", ".join(name[:_NAME_CHARS] for name in names[:_NAMES])
            more = len(names) - _NAMES
            parts.append(f"{word}: {shown}" + (f" and {more} more" if more > 0 else ""))
    return "; ".join(parts)
