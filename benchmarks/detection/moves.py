"""Clean rows in; rows whose columns moved, lack values or came otherwise, out."""

from __future__ import annotations

import numpy as np

from benchmarks.detection.picks import (
    by_rank,
    by_session,
    level_of,
    number_column,
    rounded,
    two_columns,
    used,
)
from benchmarks.detection.site import SHIFT, Apply, Site, Truth


def mean_shift(size: float, *, over: int = 0) -> Apply:
    """Move a numeric column by `size` standard deviations, at once or over some rows.

    For half of the seeds by adding, which can leave the range; for the others in normal scores,
    which keeps the range whatever the shape of the column.
    """

    def apply(site: Site) -> Truth:
        name = number_column(site.case, site.pick)
        sign = 1.0 if site.pick.random() < 0.5 else -1.0
        ramp = np.minimum(np.arange(site.n) / over, 1.0) if over else np.ones(site.n)
        if site.pick.random() < 0.5:
            site.change(name, by_rank(site, name, sign * size * ramp))
        else:
            pool = site.case.table.pool[name]
            moved = site.held(name) + sign * size * float(np.nanstd(pool)) * ramp
            site.change(name, rounded(moved, pool, site.rng))
        return Truth(frozenset({name}), SHIFT, None if over else name)

    return apply


def spread_change(factor: float) -> Apply:
    """Spread a numeric column around its median by `factor`."""

    def apply(site: Site) -> Truth:
        name = number_column(site.case, site.pick, distinct=20)
        pool = site.case.table.pool[name]
        middle = float(np.nanmedian(pool))
        moved = middle + factor * (site.held(name) - middle)
        site.change(name, rounded(moved, pool, site.rng))
        return Truth(frozenset({name}), SHIFT, name)

    return apply


def subpopulation(site: Site) -> Truth:
    """Let one level of a column grow to three times its share, its rows coming whole."""
    name, level, share = level_of(site.case, site.pick, 0.04, 0.25)
    pool = site.case.table.pool
    members = np.flatnonzero(pool[name] == level)
    swap = by_session(site, 2 * share / (1 - share)) & (site.held(name) != level)
    rows = np.flatnonzero(swap)
    if site.traffic.kind.sessions:
        _, owner = np.unique(site.rows.session[site.part][rows], return_inverse=True)
        chosen = members[site.rng.integers(len(members), size=len(rows))][owner]
    else:
        chosen = members[site.rng.integers(len(members), size=len(rows))]
    for column, values in site.traffic.of_pool(chosen).items():
        held = site.held(column).copy()
        held[rows] = values
        site.change(column, held)
    site.rows.labels[site.onset + rows] = site.case.table.pool_labels[chosen]
    return Truth(
        frozenset({name, f"{name}={level}"}),
        ("subpopulation_growth",),
        name,
    )


def missing(share: float) -> Apply:
    """Drop a share of the values of a column."""

    def apply(site: Site) -> Truth:
        name = used(site.case, site.pick, full=True)
        held = site.held(name).copy()
        held[site.rng.random(site.n) < share] = None if held.dtype == object else np.nan
        site.change(name, held)
        return Truth(frozenset({name}), ("missing_values",), name)

    return apply


def unit_change(share: float) -> Apply:
    """Send a column in another unit in a share of the rows."""

    def apply(site: Site) -> Truth:
        name = number_column(site.case, site.pick, zeros=0.5)
        factor = float(site.pick.choice([2.54, 0.4536, 1000.0]))
        held = site.held(name)
        moved = np.where(site.rng.random(site.n) < share, held * factor, held)
        site.change(name, moved)
        return Truth(frozenset({name}), ("unit_change",), name)

    return apply


def new_category(site: Site) -> Truth:
    """Put a level that was never seen into five per cent of the rows."""
    name = used(site.case, site.pick, kind="category")
    held = site.held(name).copy()
    held[site.rng.random(site.n) < 0.05] = "brand-new"
    site.change(name, held)
    return Truth(frozenset({name}), ("new_category",), name)


def stuck(site: Site) -> Truth:
    """Repeat the last value of a numeric column."""
    name = number_column(site.case, site.pick)
    site.change(name, np.full(site.n, site.rows.columns[name][max(site.onset - 1, 0)]))
    return Truth(frozenset({name}), ("stuck_value",))


def words(site: Site) -> Truth:
    """Send a numeric column as words."""
    name = number_column(site.case, site.pick)
    held = [f"{v:g} units" for v in site.held(name).tolist()]
    site.change(name, np.array(held, dtype=object))
    return Truth(frozenset({name}), ("type_change",))


def swapped(site: Site) -> Truth:
    """Exchange two numeric columns."""
    first, second = two_columns(site.case, site.pick)
    one, other = site.held(first).copy(), site.held(second).copy()
    site.change(first, other)
    site.change(second, one)
    return Truth(frozenset({first, second}), ("swapped_columns",))
