"""The latest rows and a change in, the slice of traffic that holds most of it out.

A fault that hits everybody and one that hits a single client look alike in the counts. What tells
them apart are rows: whether those the change affected lie in one slice (a value of another feature,
a client, a version, a replica) and whether rows outside of it are as they were.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.incidents.advice.recent import RecentRows
from otel_ml.profile.profile import Layout
from otel_ml.stats.special import normal_quantile
from otel_ml.types import FloatArray, IntArray, Stream

__all__ = ["RecentRows", "Whom", "for_whom"]

_MIN_ROWS: Final = 60  # affected and not: fewer show nothing
_MIN_SLICE: Final = 20
_MOST_SHARE: Final = 0.75  # a slice this large is nearly everybody
_ERROR: Final = 0.005  # chance of naming a slice where there is none, over all slices
_COVERAGE: Final = 0.75  # of the excess that must lie in the slice
_STILL: Final = 0.05  # total variation outside the slice: rows there are as they were
_GROWN: Final = 1.5
_LIFT: Final = 4.0  # excess in the slice over that outside
_PRIOR_ROWS: Final = 20.0
_VALUES: Final = 64  # values of a column looked at, the most frequent ones
_KINDS: Final = ("client", "version", "replica")


@dataclass(frozen=True, slots=True)
class Whom:
    """The slice that holds most of a change.

    Parameters
    ----------
    kind
        ``feature``, ``client``, ``version``, ``replica`` or ``slice``.
    name, value
        Column and value; of a feature, the name of its cell.
    coverage
        Share of the affected rows that lie in it, 0 to 1.
    share
        Share of all rows since the change that lie in it, 0 to 1.
    """

    kind: str
    name: str
    value: str
    coverage: float
    share: float

    @property
    def text(self) -> str:
        """The slice as a sentence."""
        return (
            f"{self.name} = {self.value}: {self.coverage:.0%} of the affected rows, "
            f"{self.share:.0%} of all"
        )

    def facts(self) -> dict[str, Any]:
        """Return the slice as facts of the playbook."""
        return {
            "whom": self.text,
            "whom_kind": self.kind,
            "whom_name": self.name,
            "whom_value": self.value,
            "whom_coverage": round(self.coverage, 4),
            "whom_share": round(self.share, 4),
        }

    def to_json(self) -> dict[str, Any]:
        """Return the slice in the shape of the command line's JSON."""
        return {
            "kind": self.kind,
            "name": self.name,
            "value": self.value,
            "coverage": round(self.coverage, 4),
            "share": round(self.share, 4),
            "text": self.text,
        }


def for_whom(recent: RecentRows, stream: Stream, change_row: int) -> Whom | None:
    """Return the slice that holds most of a change, or None where everybody shares it.

    Parameters
    ----------
    recent
        The latest rows, from before the change as well.
    stream
        What changed; of a source that `recent` has codes of.
    change_row
        First row after the change.

    Notes
    -----
    Affected are rows in the cells that grew. Of each slice the share of affected rows since the
    change is compared with the same share before, inside and outside. A slice is named where the
    excess is there and not elsewhere: three quarters of it, four times as dense, and clear by a
    normal test whose level of 0.005 is divided by the number of slices. Where everybody is hit
    and features are moderately dependent, a slice is named in fewer than 1 of 100 changes. A
    feature that nearly decides the one that moved (being a child decides much of age) can be named
    all the same: up to 3 in 10 offsets of all values in `benchmarks/advice`.
    """
    at = recent.layout.index.get(stream.source)
    if at is None:
        return None
    codes = recent.codes[:, at]
    known = (codes >= 0) & (codes < len(stream.law))
    after = known & (recent.rows >= change_row)
    before = known & ~after
    n = int(after.sum())
    affected = None if n < _MIN_ROWS else _affected(stream, codes[after])
    if affected is None:
        return None
    hit = np.zeros(len(codes), dtype=bool)
    hit[known] = affected[codes[known]]
    usual = float(stream.law[affected].sum() / stream.law.sum())
    best: tuple[float, Whom] | None = None
    candidates = list(_slices(recent, at, after))
    if not candidates:
        return None
    clear = normal_quantile(1 - _ERROR / sum(size for _, _, _, size in candidates))
    for kind, name, (values, labels), size in candidates:
        found = _clearest(
            values, size, (after, before, hit), usual, clear, feature=kind == "feature"
        )
        if found is None or (best is not None and found[0] <= best[0]):
            continue
        inside = values == found[1]
        if stream.yes is not None or _only_inside(codes, len(stream.law), inside, after, before):
            _, value, coverage, share = found
            best = (found[0], Whom(kind, name, labels[value], coverage, share))
    return None if best is None else best[1]


def _affected(stream: Stream, codes: NDArray[np.int16]) -> NDArray[np.bool_] | None:
    """Return the cells that grew, shape ``(cells,)``, or None where none clearly did."""
    if stream.yes is not None:
        return stream.yes
    n = len(codes)
    p = stream.law / stream.law.sum()
    gain = np.bincount(codes, minlength=len(p))[: len(p)] / n - p
    grew = (gain > 2 * np.sqrt(np.maximum(p, 1 / n) / n)) & (p + gain > 0)
    grew &= gain > 0.1 * max(float(gain.max()), 0.0)
    return grew if grew.any() else None


def _only_inside(
    codes: NDArray[np.int16],
    cells: int,
    inside: NDArray[np.bool_],
    after: NDArray[np.bool_],
    before: NDArray[np.bool_],
) -> bool:
    """Tell whether the law moved in a slice and hardly outside of it.

    Where all rows of a feature move by the same amount, those that reach the cells that grew may
    well lie in one slice of another feature; the rows outside moved as far.
    """
    moved = []
    for rows in (inside, ~inside):
        counts = [np.bincount(codes[rows & t], minlength=cells)[:cells] for t in (after, before)]
        n, m = (max(int(c.sum()), 1) for c in counts)
        p = np.minimum((counts[1] + 1e-9) / m, 1.0)
        noise = float(np.sqrt(2 * p * (1 - p) / np.pi * (1 / n + 1 / m)).sum() / 2)
        moved.append(max(float(np.abs(counts[0] / n - p).sum() / 2) - noise, 0.0))
    return moved[1] <= min(moved[0] / _LIFT, _STILL)


_Slice = tuple[str, str, tuple[IntArray, tuple[str, ...]], int]


def _slices(recent: RecentRows, at: int, after: NDArray[np.bool_]) -> Iterator[_Slice]:
    """Yield kind, name, value of each row with the values' names, and number of values."""
    for j, cells in enumerate(recent.layout.sources):
        if j != at and cells.name in _inputs(recent.layout):
            values = recent.codes[:, j].astype(np.int64)
            yield "feature", cells.name, (values, cells.labels), len(cells.labels)
    for name, column in recent.extras.items():
        texts = np.array(["" if v is None else str(v) for v in column.tolist()], dtype=object)
        found, values = np.unique(texts.astype(str), return_inverse=True)
        counted = np.bincount(values[after], minlength=len(found)) * (found != "")
        order = np.argsort(-counted, kind="stable")[:_VALUES]
        order = order[counted[order] > 0]
        position = np.full(len(found), -1, dtype=np.int64)
        position[order] = np.arange(len(order))
        if len(order) > 1:
            kind = name if name in _KINDS else "slice"
            yield kind, name, (position[values], tuple(found[order].tolist())), len(order)


def _inputs(layout: Layout) -> frozenset[str]:
    """Return the sources that can be slices: features, not outputs or what is derived of them."""
    return frozenset(
        c.name
        for c in layout.sources
        if c.name not in ("score", "prediction") and ":" not in c.name
    )


def _clearest(
    values: IntArray,
    size: int,
    masks: tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]],
    usual: float,
    clear: float,
    *,
    feature: bool,
) -> tuple[float, int, float, float] | None:
    """Return log likelihood, value, coverage and share of the clearest slice of one column.

    Each slice is taken against all other rows. `usual` is the share of affected rows in the
    reference, with which shares before the change are smoothed.
    """
    after, before, hit = masks
    given = values >= 0

    def counted(rows: NDArray[np.bool_]) -> FloatArray:
        return np.bincount(values[rows & given], minlength=size)[:size].astype(np.float64)

    n_in, y_in = counted(after), counted(after & hit)
    n_out, y_out = n_in.sum() - n_in, y_in.sum() - y_in
    was_n, was_y = counted(before), counted(before & hit)
    out_n, out_y = was_n.sum() - was_n, was_y.sum() - was_y
    b_in, b_out = _rate(was_y, was_n, usual), _rate(out_y, out_n, usual)
    possible = (n_in >= _MIN_SLICE) & (n_out >= _MIN_SLICE)
    possible &= n_in <= _MOST_SHARE * max(float(n_in.sum()), 1.0)
    if feature:
        # a value that became more frequent with the change was hit by it, too
        possible &= n_in / max(float(n_in.sum()), 1.0) <= _GROWN * (was_n + 5) / (was_n.sum() + 5)
    if not possible.any():
        return None
    rows_in, rows_out = np.maximum(n_in, 1.0), np.maximum(n_out, 1.0)
    # what a change of the same share of rows everywhere would give, and how far inside is above it
    total, base = y_in.sum(), n_in * b_in + n_out * b_out
    share = np.clip((total - base) / np.maximum(n_in.sum() - base, 1.0), 0.0, 1.0)
    expected = b_in + share * (1 - b_in)
    spread = np.maximum(expected * (1 - expected), 0.25 / rows_in) / rows_in
    spread += np.maximum(b_in * (1 - b_in), 0.01) / (was_n + _PRIOR_ROWS)
    z = (y_in / rows_in - expected) / np.sqrt(spread * rows_in.sum() / np.maximum(n_out, 1.0))
    excess_in = y_in - n_in * b_in
    excess_out = np.maximum(y_out - n_out * b_out, 0.0)
    coverage = excess_in / np.maximum(excess_in + excess_out, 1e-9)
    lift = (excess_in / rows_in) / np.maximum(excess_out / rows_out, 1e-9)
    named = possible & (z > clear) & (coverage >= _COVERAGE) & (lift >= _LIFT) & (excess_in > 5)
    if not named.any():
        return None
    # of overlapping slices the one that leaves least unexplained: its own share, none outside
    inside = np.clip(y_in / rows_in, 1e-9, 1 - 1e-9)
    fit = _likelihood(y_in, n_in, inside) + _likelihood(y_out, n_out, b_out)
    best = int(np.argmax(np.where(named, fit, -math.inf)))
    if fit[best] == -math.inf:
        return None
    all_rows = float(n_in.sum())
    return (
        float(fit[best]),
        best,
        float(min(coverage[best], 1.0)),
        float(n_in[best]) / all_rows,
    )


def _rate(yes: FloatArray, n: FloatArray, usual: float) -> FloatArray:
    """Return shares, smoothed by the reference's own."""
    return np.asarray((yes + _PRIOR_ROWS * usual) / (n + _PRIOR_ROWS))


def _likelihood(yes: FloatArray, n: FloatArray, rate: FloatArray) -> FloatArray:
    held = np.clip(rate, 1e-6, 1 - 1e-6)
    return np.asarray(yes * np.log(held) + (n - yes) * np.log1p(-held))
