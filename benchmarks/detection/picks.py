"""A case and a generator in, the column, level or rows that a fault hits out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.models import Case

if TYPE_CHECKING:
    from benchmarks.detection.site import Site

_MATTERS = 0.02  # of the importance of the most important column


def used(
    case: Case, pick: np.random.Generator, *, kind: str = "", full: bool = False, other: str = ""
) -> str:
    """Return a column the model uses.

    Parameters
    ----------
    case
        Data set and model.
    pick
        Decides.
    kind
        ``number``, ``category`` or either.
    full
        Only one that is never missing.
    other
        A column it must not be.
    """
    table = case.table
    names = {"number": table.numeric, "category": table.categorical}.get(
        kind, table.numeric + table.categorical
    )
    top = max(case.importance.values())
    fit = [
        n
        for n in names
        if case.importance[n] >= _MATTERS * top
        and n != other
        and not (full and _missing(table.pool[n]))
    ]
    fit = fit or [max((n for n in names if n != other), key=case.importance.__getitem__)]
    return str(fit[int(pick.integers(len(fit)))])


def _missing(held: NDArray[Any]) -> bool:
    if held.dtype == object:
        return any(v is None for v in held.tolist())
    return bool(np.isnan(held).any())


def number_column(
    case: Case, pick: np.random.Generator, *, distinct: int = 10, zeros: float = 0.9
) -> str:
    """Return a numeric column the model uses that has enough distinct values and few zeros."""
    table, top = case.table, max(case.importance.values())
    fit = [
        n
        for n in table.numeric
        if case.importance[n] >= _MATTERS * top
        and len(np.unique(table.pool[n])) >= distinct
        and np.mean(table.pool[n] == 0) <= zeros
    ]
    fit = fit or [max(table.numeric, key=case.importance.__getitem__)]
    return str(fit[int(pick.integers(len(fit)))])


def two_columns(case: Case, pick: np.random.Generator) -> tuple[str, str]:
    """Return two numeric columns, one at least twice as important as the other if there are."""
    names = case.table.numeric
    scale = case.importance
    pairs = [
        (a, b)
        for a in names
        for b in names
        if a != b and scale[a] >= 2 * scale[b] and len(np.unique(case.table.pool[b])) >= 10
    ]
    pairs = pairs or [(a, b) for a in names for b in names if scale[a] > scale[b]]
    first, second = pairs[int(pick.integers(len(pairs)))]
    return first, second


def level_of(
    case: Case, pick: np.random.Generator, least: float, most: float
) -> tuple[str, str, float]:
    """Return a categorical column, one of its levels, and that level's share of the rows."""
    found = []
    for name in case.table.categorical:
        held = case.table.pool[name].tolist()
        for level in sorted({v for v in held if v is not None}):
            share = float(np.mean([v == level for v in held]))
            if least <= share <= most:
                found.append((name, str(level), share))
    names = sorted({f[0] for f in found})
    name = names[int(pick.integers(len(names)))]
    of_name = [f for f in found if f[0] == name]
    return of_name[int(pick.integers(len(of_name)))]


def rounded(
    values: NDArray[np.float64], like: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return values with as many decimals as others have, rounded up or down by chance."""
    known = like[np.isfinite(like)][:2000]
    for decimals in range(4):
        scale = 10.0**decimals
        if np.allclose(known * scale, np.round(known * scale), atol=1e-6):
            return np.floor(values * scale + rng.random(len(values))) / scale
    return values


def by_session(site: Site, share: float) -> NDArray[np.bool_]:
    """Return which rows are hit when a share of the sessions is."""
    _, owner = np.unique(site.rows.session[site.part], return_inverse=True)
    hit = site.rng.random(int(owner.max()) + 1) < share
    return np.asarray(hit[owner])


def loosest_column(case: Case) -> str:
    """Return the numeric column that the others explain least, by least squares.

    A shift of a column that others determine is a large change of what is left of it, however
    small it is beside the column's own spread.
    """
    pool, n = case.table.pool, 4000
    blocks = {}
    for name, held in pool.items():
        if held.dtype == object:
            levels, at = np.unique(held[:n].astype(str), return_inverse=True)
            blocks[name] = np.eye(len(levels))[at]
        else:
            blocks[name] = np.nan_to_num(held[:n].astype(np.float64))[:, None]
    left = {}
    for name in case.table.numeric:
        y = blocks[name][:, 0]
        x = np.column_stack([np.ones(len(y)), *(b for k, b in blocks.items() if k != name)])
        fit = x @ np.linalg.lstsq(x, y, rcond=None)[0]
        left[name] = float(((y - fit) ** 2).sum() / ((y - y.mean()) ** 2).sum())
    return max(left, key=left.__getitem__)


def by_rank(site: Site, name: str, size: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a column moved by some normal scores."""
    return moved_by_rank(site.case.table.pool[name], site.held(name), size, site.rng)


def moved_by_rank(
    pool: NDArray[np.float64],
    held: NDArray[np.float64],
    size: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return values moved by some normal scores among those of the pool, shape ``(n,)``."""
    from scipy.special import ndtr, ndtri

    known = np.sort(pool[np.isfinite(pool)])
    low = np.searchsorted(known, held, side="left")
    high = np.searchsorted(known, held, side="right")
    rank = low + rng.random(len(held)) * np.maximum(high - low, 1)
    share = ndtr(ndtri(np.clip(rank / len(known), 1e-6, 1 - 1e-6)) + size)
    moved = known[np.minimum((share * len(known)).astype(np.int64), len(known) - 1)]
    return np.where(np.isfinite(held), moved, held)
