"""Neighbouring batches of one model in, fewer and larger ones with the same rows out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.types import Batch

__all__ = ["join_batches", "split_batch"]

_MOST_VALUES: Final = 1 << 19  # that are coded at once: bounded memory whatever the batch


def join_batches(batches: Iterable[Batch], most: int = 4096) -> Iterable[Batch]:
    """Join neighbouring batches with the same columns, so that single rows are counted together."""
    held: list[Batch] = []
    rows = 0
    for batch in batches:
        if held and (rows + batch.n > most or not _alike(held[0], batch)):
            yield _joined(held)
            held, rows = [], 0
        held.append(batch)
        rows += batch.n
    if held:
        yield _joined(held)


def _alike(a: Batch, b: Batch) -> bool:
    return (
        a.features.keys() == b.features.keys()
        and a.slices.keys() == b.slices.keys()
        and all(
            (getattr(a, f) is None) == (getattr(b, f) is None)
            for f in ("predictions", "scores", "ids", "aliases", "clients", "event_times")
        )
        and (a.scores is None or b.scores is None or a.scores.shape[1:] == b.scores.shape[1:])
        and (
            a.predictions is None
            or b.predictions is None
            or a.predictions.dtype.kind == b.predictions.dtype.kind
        )
    )


def _joined(batches: Sequence[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    first = batches[0]

    def stacked(get: Callable[[Batch], NDArray[Any] | None]) -> NDArray[Any] | None:
        parts = [p for p in map(get, batches) if p is not None]
        if not parts:
            return None
        kinds = {p.dtype.kind for p in parts}
        if len(kinds) > 1 and not kinds <= set("fiub"):  # nothing that numpy would join as it is
            parts = [p.astype(object) for p in parts]
        return np.concatenate(parts)

    def listed(get: Callable[[Batch], Sequence[Any] | None]) -> list[Any] | None:
        parts = [p for p in map(get, batches) if p is not None]
        return [item for part in parts for item in part] if parts else None

    features = {k: stacked(lambda b, k=k: b.features[k]) for k in first.features}  # type: ignore[misc]
    slices = {k: stacked(lambda b, k=k: b.slices[k]) for k in first.slices}  # type: ignore[misc]
    return replace(
        first,
        n=sum(b.n for b in batches),
        features={k: v for k, v in features.items() if v is not None},
        slices={k: v for k, v in slices.items() if v is not None},
        predictions=stacked(lambda b: b.predictions),
        scores=stacked(lambda b: b.scores),
        ids=listed(lambda b: b.ids),
        aliases=listed(lambda b: b.aliases),
        clients=listed(lambda b: b.clients),
        event_times=stacked(lambda b: b.event_times),
        durations=stacked(lambda b: b.durations),
        sizes=stacked(lambda b: b.sizes),
        errors=tuple(e for b in batches for e in b.errors),
        invalid=sum(b.invalid for b in batches),
    )


def split_batch(batch: Batch) -> Iterator[Batch]:
    """Split a batch of very many values; its calls are those of the first part."""
    most = max(_MOST_VALUES // max(len(batch.features), 1), 1)
    if batch.n <= most:
        yield batch
        return
    for start in range(0, batch.n, most):
        rows = slice(start, start + most)
        by_row: dict[str, Any] = {
            name: None if (held := getattr(batch, name)) is None else held[rows] for name in _BY_ROW
        }
        by_row["features"] = {k: v[rows] for k, v in batch.features.items()}
        by_row["slices"] = {k: v[rows] for k, v in batch.slices.items()}
        part = replace(batch, n=min(most, batch.n - start), **by_row)
        yield (
            part if start == 0 else replace(part, durations=None, sizes=None, errors=(), invalid=0)
        )


_BY_ROW: Final = (
    "predictions", "scores", "ids", "aliases", "clients", "versions", "event_times",
)  # fmt: skip
