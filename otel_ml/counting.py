"""A batch in, its rows counted an evaluation at a time out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.local import named_columns
from otel_ml.profile import Profile, slots
from otel_ml.profile.coder import Codes, chunk_counts, encode
from otel_ml.state import State
from otel_ml.turns import give_way
from otel_ml.types import Batch, FloatArray, IntArray

__all__ = ["count_batch"]

_CHUNKS: Final = 256  # evaluations counted at once,
_VALUES: Final = 1 << 19  # of so many values: bounded memory whatever the size of the batch


def count_batch(
    state: State, batch: Batch, row: int, now: float, whole: int
) -> Iterator[tuple[int, float]]:
    """Count a batch; yield after every chunk, so that the caller can evaluate in between.

    Parameters
    ----------
    state
        Takes the counts.
    batch
        Its rows.
    row
        Rows seen before it.
    now
        The caller's clock.
    whole
        Rows of a chunk.

    Yields
    ------
    rows
        Rows of the chunk.
    at
        Latest time of the batch, seconds since the Unix epoch.
    """
    state.calls(batch, row, now)
    if _says_nothing(batch):  # rows that were counted without their values
        if batch.n:
            yield batch.n, now
        return
    codes = encode(state.reference, batch)
    give_way()
    times = np.full(batch.n, np.nan) if batch.event_times is None else batch.event_times
    window = _count_windows(state, codes, times, now)
    state.wait_for_labels(batch, codes, row)
    if batch.n == 0:
        return
    slot = slots(times)
    state.around.saw_versions(batch.versions or (), row)
    extras = _extras(batch)
    numbers = np.arange(row, row + batch.n, dtype=np.int64)
    give_way()
    local = state.local.rows(batch, codes)
    give_way()
    if columns := named_columns(*state.local.schema):
        state.incidents.followed.columns = columns
    waiting = state.pending.rows % whole  # more than one chunk where chunks were larger before
    chunk = (np.arange(batch.n, dtype=np.int64) + waiting) // whole
    # a clock far ahead must not date an incident
    at = float(np.max(times[times <= now + state.windows.horizon], initial=-np.inf))
    at = at if math.isfinite(at) else now
    at_once = min(max(_VALUES // (whole * max(codes.codes.shape[1], 1)), 1), _CHUNKS)
    for first in range(0, int(chunk[-1]) + 1, at_once):
        part = (chunk >= first) & (chunk < first + at_once)
        group = chunk[part] - first
        chosen = codes.select(part)
        counts, moments = chunk_counts(state.reference.layout, chosen, group, int(group[-1]) + 1)
        if window is not None:
            whole_part = Profile(state.reference.layout, counts.sum(axis=0), moments.sum(axis=0))
            state.windows.add(window, whole_part)
        more = _local_counts(local[part], group, len(counts), state.width)
        sizes = np.bincount(group, minlength=len(counts))
        ends = np.cumsum(sizes)
        give_way()
        state.damping.look_ahead(chosen.codes, int(sizes.max()))
        give_way()
        full = len(sizes) - bool(sizes[-1] < whole)
        for i, size in enumerate(sizes.tolist()):
            rows = slice(int(ends[i]) - size, int(ends[i]))
            state.seen(chosen.codes[rows], slot[part][rows])
            state.around.saw_rows(
                numbers[part][rows],
                chosen.codes[rows],
                {name: column[part][rows] for name, column in extras.items()},
            )
            state.add(counts[i], moments[i], size, more[i])
            state.pending.coming = counts[i + 1 : full], more[i + 1 : full]
            yield size, at
            give_way()
        state.pending.coming = None
    state.windows.close()


def _says_nothing(batch: Batch) -> bool:
    values = (batch.scores, batch.predictions, batch.ids, batch.clients, batch.versions)
    return not (batch.features or batch.slices) and all(value is None for value in values)


def _local_counts(codes: IntArray, group: IntArray, groups: int, width: int) -> IntArray:
    """Return rows by group, local source and cell, shape ``(groups, sources, width)``."""
    sources = codes.shape[1]
    flat = (group[:, None] * sources + np.arange(sources)) * width + codes
    counts = np.bincount(flat[codes >= 0], minlength=groups * sources * width)
    return counts.reshape(groups, sources, width).astype(np.int64)


def _extras(batch: Batch) -> dict[str, NDArray[Any]]:
    """Return the columns that are no features, by which a change may be told apart."""
    out = {name: column.astype(object) for name, column in batch.slices.items()}
    for name, values in (("client", batch.clients), ("version", batch.versions)):
        if values is not None:
            column = np.empty(batch.n, dtype=object)
            column[:] = list(values)
            out[name] = column
    return out


def _count_windows(state: State, codes: Codes, times: FloatArray, now: float) -> int | None:
    """Add a batch to the event-time windows it belongs to.

    Returns
    -------
    int or None
        The window where it is one for all rows: they are not counted yet.
    """
    if not len(times):
        return None
    position, windows = state.windows.place(times, now)
    kept = position >= 0
    if not kept.any():
        return None
    if len(windows) == 1 and kept.all():
        return int(windows[0])
    layout = state.reference.layout
    part = codes if kept.all() else codes.select(kept)
    counts, sums = chunk_counts(layout, part, position[kept], len(windows))
    for window, counted, summed in zip(windows.tolist(), counts, sums, strict=True):
        state.windows.add(window, Profile(layout, counted, summed))
    state.windows.close()
    return None
