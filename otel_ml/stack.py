"""Calls that are alike in, one batch with the rows of all of them out.

A server that answers single rows makes thousands of calls a second, each of one row. What costs the
same for one row as for a thousand is done once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby, islice
from operator import attrgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.frame import (
    BY_HAND,
    DURATION,
    FEATURES,
    GIVEN,
    ID,
    INLINE,
    METHOD,
    MODEL,
    MORE,
    OUTPUT,
    REQUEST,
    ROW,
    Frame,
)
from otel_ml.intake import convert
from otel_ml.types import Batch, Captured, FloatArray, IntArray

__all__ = ["Stack", "alike", "convert_stack", "stack"]

_NONE: Final = type(None)
_shape_of, _dtype_of = attrgetter("shape"), attrgetter("dtype")


@dataclass(frozen=True, slots=True)
class Stack:
    """Calls that are converted together.

    Parameters
    ----------
    call
        One call with the rows of all.
    sizes
        Rows of each, shape ``(calls,)``.
    durations
        Seconds each took, shape ``(calls,)``.
    ids, aliases, clients
        Of each, or None where no call has one.
    """

    call: Captured
    sizes: IntArray
    durations: FloatArray
    ids: Sequence[str | None] | None
    aliases: Sequence[str | None] | None
    clients: Sequence[str | None] | None


def alike(calls: Sequence[Frame | Captured]) -> Iterator[Sequence[Frame | Captured]]:
    """Yield neighbouring calls that can be stacked; any other one by itself."""
    if len(calls) > 1 and set(map(type, calls)) == {list}:
        fields = _fields(calls)  # type: ignore[arg-type]  # none but frames
        if (
            len(set(map(id, fields[MODEL]))) == 1
            and len(set(fields[METHOD])) == 1
            and len(set(map(type, fields[FEATURES]))) == 1
            and _one_type(fields[OUTPUT])
            and set(map(type, fields[MORE])) == {_NONE}
        ):
            yield calls
            return
    for kind, group in groupby(calls, _kind):
        if kind is None:
            for call in group:
                yield [call]
        else:
            yield list(group)


def _fields(frames: Sequence[Frame]) -> list[tuple[Any, ...]]:
    """Return what frames hold by its place, but for the values of rows."""
    return list(islice(zip(*frames, strict=False), ROW))


def _one_type(outputs: Sequence[object]) -> bool:
    kinds = set(map(type, outputs))
    return len(kinds) == 1 and (tuple not in kinds or len(set(map(_output_type, outputs))) == 1)


def _output_type(output: object) -> object:
    return tuple(map(type, output)) if type(output) is tuple else type(output)


def _kind(call: Frame | Captured) -> tuple[Any, ...] | None:
    """Return what calls must share to be stacked; None where a call stands by itself."""
    if type(call) is not list or call[MORE] is not None:
        return None
    return id(call[MODEL]), call[METHOD], type(call[FEATURES]), _output_type(call[OUTPUT])


def features_together(frames: Sequence[Frame]) -> list[Any]:
    """Return what calls that are `alike` were asked about: single rows as they are, else inputs."""
    if frames[0][FEATURES] is INLINE:
        return [frame[ROW:] for frame in frames]
    return [frame[FEATURES] for frame in frames]


def stack(frames: Sequence[Frame], held: Sequence[Any]) -> Stack | None:
    """Return calls that are `alike` as one; None where their rows cannot be put together.

    Parameters
    ----------
    frames
        Calls of one model's method on one type of input.
    held
        What they were asked about, as `features_together` returns it.
    """
    fields = _fields(frames)
    first = frames[0]
    features: tuple[Any, list[int]] | None
    features = (held, [1] * len(frames)) if first[FEATURES] is INLINE else _stacked(held)
    if features is None:
        return None
    if first[METHOD] == BY_HAND:
        return _stacked_by_hand(fields, *features)
    outputs = _stacked(fields[OUTPUT])
    if outputs is None or features[1] != outputs[1]:
        return None
    requests = fields[REQUEST]
    aliases: list[str | None] = [None if r is None else r.alias for r in requests]
    clients: list[str | None] = [None if r is None else r.client for r in requests]
    ids: tuple[str | None, ...] = fields[ID]
    return Stack(
        Captured(first[MODEL], first[METHOD], features[0], outputs[0], 0),
        np.array(outputs[1], dtype=np.int64),
        np.array(fields[DURATION], dtype=np.float64) / 1e9,
        ids if any(ids) else None,
        aliases if any(aliases) else None,
        clients if any(clients) else None,
    )


def _stacked_by_hand(fields: Sequence[Any], features: Any, sizes: list[int]) -> Stack | None:
    """Return calls that were reported by hand as one."""
    extra: dict[str, Any] = {}
    for name, values in zip(GIVEN, zip(*fields[OUTPUT], strict=True), strict=True):
        if values[0] is None:
            continue
        found = _stacked(values)
        if found is None or found[1] != sizes:
            return None
        extra[name] = found[0]
    known = np.array(fields[DURATION], dtype=np.float64)
    if len(set((known >= 0).tolist())) > 1:
        return None
    return Stack(
        Captured(fields[MODEL][0], BY_HAND, features, None, 0, extra=extra),
        np.array(sizes, dtype=np.int64),
        known[known >= 0] / 1e9,
        None,
        None,
        None,
    )


def _stacked(values: Sequence[Any]) -> tuple[Any, list[int]] | None:
    """Return arrays or lists of rows as one, and the rows of each."""
    kind = type(values[0])
    if kind is np.ndarray:
        arrays: Sequence[NDArray[Any]] = values
        shapes = set(map(_shape_of, arrays))
        if len(set(map(_dtype_of, arrays))) != 1 or len({shape[1:] for shape in shapes}) != 1:
            return None
        if not {len(shape) for shape in shapes} <= {1, 2}:
            return None
        return np.concatenate(arrays), list(map(len, arrays))
    if kind is list and all(values):
        rows = list(chain.from_iterable(values))
        kinds = set(map(type, rows))
        if len(kinds) == 1 and kinds <= {list, tuple, float, int, str}:
            return rows, list(map(len, values))
    return None


def convert_stack(
    stack: Stack,
    *,
    names: Sequence[str] = (),
    positive: str | None = None,
    ignore: Sequence[str] = (),
    hide: Callable[[str], str] = str,
) -> Batch | None:
    """Convert calls that were put together.

    Parameters
    ----------
    stack
        The calls.
    names, positive, ignore
        As for `convert`.
    hide
        Makes the pseudonym of a client.

    Returns
    -------
    Batch or None
        None where something is odd about any of them: then each has to be converted by itself.
    """
    found = convert(stack.call, names=names, positive=positive, ignore=ignore)
    batch, rows = found.batch, stack.sizes.tolist()
    if batch is None or found.unreadable or not batch.features or batch.n != sum(rows):
        return None
    if batch.scores is None and batch.predictions is None:
        return None
    if stack.call.method == BY_HAND:
        durations = stack.durations if len(stack.durations) else None
        return replace(batch, durations=durations, sizes=stack.sizes)
    ids = stack.ids
    if ids is None and stack.aliases is not None:
        ids = stack.aliases  # nobody was told another one
    if ids is not None and not all(ids):
        return None
    clients = None
    if stack.clients is not None:
        hidden = [None if c is None else hide(c) for c in stack.clients]
        clients = [c for c, n in zip(hidden, rows, strict=True) for _ in range(n)]
    return replace(
        batch,
        ids=None if ids is None else list(_row_ids(ids, rows)),  # type: ignore[arg-type]  # all are texts
        aliases=None if stack.aliases is None else _row_ids(stack.aliases, rows),
        clients=clients,
        durations=stack.durations,
        sizes=stack.sizes,
    )


def _row_ids(bases: Sequence[str | None], rows: Sequence[int]) -> Sequence[str | None]:
    """Return the id of each row: that of its call, with its place where the call has several."""
    if sum(rows) == len(rows):
        return bases
    return [
        base if base is None or n == 1 else f"{base}-{i}"
        for base, n in zip(bases, rows, strict=True)
        for i in range(n)
    ]
