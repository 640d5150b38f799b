"""Clean rows in; rows broken in part, in their order, their relations or their outputs, out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.picks import (
    by_rank,
    level_of,
    number_column,
    rounded,
    two_columns,
    used,
)
from benchmarks.detection.site import OUTPUTS, QUALITY, SHIFT, Site, Truth


def correlation(site: Site) -> Truth:
    """Shuffle a numeric column among rows: its law stays, what goes with it does not.

    A relation has two ends: the column and the one it goes with most closely are both right.
    """
    table = site.case.table
    partners = {n: _closest(site, n) for n in table.numeric}
    close = [n for n in table.numeric if partners[n][1] > 0.5]
    fit = close or [max(table.numeric, key=lambda n: partners[n][1])]
    name = str(site.pick.choice(fit))
    site.change(name, site.rng.permutation(site.held(name)))
    return Truth(
        frozenset({name, partners[name][0], "correlation"}),
        ("correlation_change", "upstream_join_failure"),
    )


def _closest(site: Site, name: str) -> tuple[str, float]:
    """Return the column that explains most of a numeric one, and the root of that share."""
    pool = site.case.table.pool
    values = np.nan_to_num(pool[name])
    found = {}
    for other, held in pool.items():
        if other == name:
            continue
        if held.dtype != object:
            found[other] = abs(float(np.corrcoef(values, np.nan_to_num(held))[0, 1]))
            continue
        _, at = np.unique(held.astype(str), return_inverse=True)
        means = np.bincount(at, values) / np.bincount(at)
        found[other] = float(means[at].std() / values.std())
    best = max(found, key=found.__getitem__)
    return best, found[best]


def label_flip(site: Site) -> Truth:
    """Change a quarter of the labels; inputs and outputs stay as they are."""
    labels = site.rows.labels[site.part]
    if site.case.table.task == "binary":
        flip = site.rng.random(site.n) < 0.25
        site.rows.labels[site.part] = np.where(flip, 1 - labels, labels)
    else:
        site.rows.labels[site.part] = labels + 0.3 * site.case.table.pool_labels.std()
    return Truth(
        QUALITY,
        ("concept_drift", "label_problem", "performance_drop"),
        from_labels=True,
    )


def _logit_change(scale: float, shift: float, task: str, spread: float) -> Any:
    def apply(scores: NDArray[np.float64]) -> NDArray[np.float64]:
        if task != "binary":
            middle = float(np.median(scores))
            return middle + scale * (scores - middle) + 0.5 * shift * spread
        held = np.clip(scores, 1e-6, 1 - 1e-6)
        return np.asarray(1 / (1 + np.exp(-(scale * np.log(held / (1 - held)) + shift))))

    return apply


def distortion(site: Site) -> Truth:
    """Make outputs overconfident: log odds are 1.8 times what they were."""
    spread = float(site.case.table.pool_labels.std())
    change = _logit_change(1.8, 0.0, site.case.table.task, spread)
    return Truth(
        OUTPUTS | QUALITY,
        ("calibration_shift", "score_shift", "model_rollout"),
        outputs=change,
    )


def score_shift(site: Site) -> Truth:
    """Let another model answer: log odds move by 0.6, inputs stay."""
    spread = float(site.case.table.pool_labels.std())
    change = _logit_change(1.0, 0.6, site.case.table.task, spread)
    return Truth(OUTPUTS, ("score_shift", "model_rollout"), outputs=change)


def replay(site: Site) -> Truth:
    """Send the 1,000 rows before again and again."""
    block = min(1000, site.onset) or site.n
    start = max(site.onset - block, 0)
    source = start + np.arange(site.n) % block
    for name, held in site.rows.columns.items():
        site.change(name, held[source])
    site.rows.labels[site.part] = site.rows.labels[source]
    site.rows.clients[site.part] = site.rows.clients[source]
    return Truth(frozenset({"duplicates"}), ("duplicate_traffic", "retry_storm"))


def retries(site: Site) -> Truth:
    """Send thirty per cent of the rows up to five times within a moment."""
    again = np.where(site.rng.random(site.n) < 0.3, site.rng.integers(2, 6, site.n), 1)
    source = site.onset + np.repeat(np.arange(site.n), again)[: site.n]
    for name, held in site.rows.columns.items():
        site.change(name, held[source])
    site.rows.labels[site.part] = site.rows.labels[source]
    site.rows.clients[site.part] = site.rows.clients[source]
    site.rows.times[site.part] = site.rows.times[source] + 1e-3 * (
        np.arange(site.n) - np.searchsorted(source, source)
    )
    site.rows.times = np.sort(site.rows.times)
    return Truth(
        frozenset({"duplicates", "volume"}),
        ("retry_storm", "duplicate_traffic"),
    )


def vanished(site: Site) -> Truth:
    """Stop sending a column."""
    name = used(site.case, site.pick)
    held = site.held(name)
    site.change(name, np.full(site.n, None if held.dtype == object else np.nan))
    site.rows.gone[name] = site.onset
    return Truth(
        frozenset({name, "schema"}),
        ("schema_change",),
    )


def one_client(site: Site) -> Truth:
    """Let the largest client send a column 1.5 standard deviations too high."""
    name = number_column(site.case, site.pick)
    client = "client-00"
    spread = float(np.nanstd(site.case.table.pool[name]))
    held = site.held(name)
    moved = rounded(held + 1.5 * spread, site.case.table.pool[name], site.rng)
    site.change(name, np.where(site.rows.clients[site.part] == client, moved, held))
    return Truth(frozenset({name, client}), ("client_change", *SHIFT), name)


def one_segment(site: Site) -> Truth:
    """Drop a column in thirty per cent of the rows of one level of another."""
    group, level, _ = level_of(site.case, site.pick, 0.1, 0.5)
    name = used(site.case, site.pick, full=True, other=group)
    held = site.held(name).copy()
    hit = (site.held(group) == level) & (site.rng.random(site.n) < 0.3)
    held[hit] = None if held.dtype == object else np.nan
    site.change(name, held)
    return Truth(
        frozenset({name, f"{group}={level}"}),
        ("missing_values",),
        name,
    )


def two_moved(site: Site) -> Truth:
    """Move an important and an unimportant column by half a normal score."""
    first, second = two_columns(site.case, site.pick)
    scale = site.case.importance
    if scale[second] > scale[first]:
        first, second = second, first
    sign = 1.0 if site.pick.random() < 0.5 else -1.0
    for name in (first, second):
        site.change(name, by_rank(site, name, np.array(0.5 * sign)))
    return Truth(frozenset({first}), SHIFT, other=second)


def ignored(site: Site) -> Truth:
    """Move a column the model does not use by one standard deviation."""
    site.change("further0000", site.held("further0000") + 1.0)
    return Truth(frozenset({"further0000"}), SHIFT, "further0000")
