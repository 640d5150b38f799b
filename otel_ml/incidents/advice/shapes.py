"""The law of a column before and its counts after a change in, the shape of the change out.

Shapes are what tells causes apart that move a distribution equally far: rows drawn to one value,
values that stop at a limit, cells that ran empty, one category's share taken over by another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.types import FloatArray

__all__ = ["categorical_shape", "moment_shape", "numeric_shape", "one_value", "sentinel_of"]

_MIN_ROWS: Final = 50
_MIN_SHARE: Final = 0.05  # of the rows: below, noise has the same shape
_MOST_SHARE: Final = 0.9  # above, nearly all rows moved: no part of them was replaced
_CLEAR: Final = 6.0  # log likelihood by which a shape must beat "all others lost in proportion"
_OUTSIDE: Final = 0.004  # share of the reference outside its own range, at both ends
_ONE_VALUE: Final = 0.02  # variance of the gained rows, in squares of their distance
_PEAK: Final = 4.0  # standard errors by which a cell must have grown
_FREE: Final = 2.0  # log likelihood that one parameter is worth
_EMPTY: Final = 0.2  # a cell is empty where a fifth of its rows is left, at most
_SENTINELS: Final = (
    *(sign * float("9" * n) for n in range(1, 8) for sign in (1, -1)),
    *(-1.0, -2.0, 0.0, 1e6, 1e9, -1e6, -1e9),
    *(32767.0, -32768.0, 65535.0, 2147483647.0, -2147483648.0, 4294967295.0),
)


def moment_shape(before: tuple[float, float], after: tuple[float, float]) -> dict[str, Any]:
    """Return what mean and standard deviation say: offset, spread, a turned sign.

    Parameters
    ----------
    before, after
        Mean and standard deviation.

    Returns
    -------
    dict
        ``offset_sd`` and ``spread_ratio``; ``constant_added`` and ``negated`` where they hold.
    """
    if not before[1] > 0:
        return {}
    offset = (after[0] - before[0]) / before[1]
    ratio = after[1] / before[1]
    facts: dict[str, Any] = {"offset_sd": round(offset, 4), "spread_ratio": round(ratio, 4)}
    same_spread = 0.75 <= ratio <= 1.33
    turned = abs(after[0] + before[0]) < 0.3 * before[1] and abs(before[0]) > 0.3 * before[1]
    if 0.6 <= ratio <= 1.6 and turned:
        facts["negated"] = True
    elif same_spread and abs(offset) >= 0.15:
        facts["constant_added"] = True
    return facts


def one_value(
    share: float, before: tuple[float, float], after: tuple[float, float], n: float
) -> tuple[float, float | None]:
    """Return the mean of the rows a mixture gained, and how far off it can be.

    Parameters
    ----------
    share
        Share of the rows gained, above 0.
    before, after
        Mean and standard deviation of the old rows and of the mixture.
    n
        Rows of the mixture.

    Returns
    -------
    value
        Their mean.
    off
        How far the mean can be from the value; None where the rows have several values.

    Notes
    -----
    The gained rows' mean and mean square are what the mixture's leave over; if they have one
    value, the mean square is the square of the mean, up to the sampling error of the old rows'.
    """
    square_before = before[1] ** 2 + before[0] ** 2
    square_after = after[1] ** 2 + after[0] ** 2
    value = (after[0] - (1 - share) * before[0]) / share
    variance = (square_after - (1 - share) * square_before) / share - value**2
    away = abs(value - before[0])
    error = (max(1 - share, 0.0) / n) ** 0.5 / share
    # of x² the standard deviation is about 2 |mean| sd + 2 sd², less what the mean's error explains
    slack = error * (2 * away * before[1] + 3 * before[1] ** 2)
    # the share itself is off by the few rows that were out there before
    slack += min(1.5 * (_OUTSIDE / n) ** 0.5 / share, 0.15) * away**2
    single = abs(variance) <= _ONE_VALUE * away**2 + slack and away > before[1]
    return value, max(2 * error * before[1], 0.03 * away) if single else None


def numeric_shape(p: FloatArray, q: FloatArray, n: float, labels: Sequence[str]) -> dict[str, Any]:
    """Return the shape of a change over ordered cells.

    Parameters
    ----------
    p, q
        Laws before and since over the cells from below to above the range, shape ``(cells,)``.
    n
        Rows since the change.
    labels
        Names of the cells.

    Returns
    -------
    dict
        ``spike_cell`` and ``spike_share``, or ``clipped`` and ``clipped_share``, or ``coarser``,
        where one of them fits.
    """
    if n < _MIN_ROWS:
        return {}
    for side, order in (("above", slice(None)), ("below", slice(None, None, -1))):
        share = _clipped(p[order], q[order], n)
        if share is not None:
            return {"clipped": side, "clipped_share": round(share, 4)}
    if spike := _spike(p, q, n, labels, ordered=True):
        return spike
    inner = slice(1, -1)
    expected = n * p[inner]
    empty = (expected >= 8) & (q[inner] < _EMPTY * p[inner])
    if empty.sum() >= 2 and not empty[: empty.sum()].all() and not empty[-empty.sum() :].all():
        return {"coarser": True}
    return {}


def categorical_shape(
    p: FloatArray, q: FloatArray, n: float, labels: Sequence[str]
) -> dict[str, Any]:
    """Return the shape of a change over categories.

    Parameters
    ----------
    p, q
        Laws before and since over all categories, other and unseen, shape ``(cells,)``.
    n
        Rows since the change.
    labels
        Names of the cells, the last one ``unseen``.

    Returns
    -------
    dict
        ``unseen_share``; ``moved_from`` and ``moved_to``, or ``exchanged``, or ``spike_cell``,
        ``spike_share`` and ``grew``, where one of them fits; ``stuck`` where one value is left.
    """
    if n < _MIN_ROWS:
        return {}
    facts: dict[str, Any] = {"unseen_share": round(float(q[-1]), 4)}
    top, lost = int(np.argmax(q - p)), int(np.argmin(q - p))
    if q[top] >= 0.99 and p[top] <= 0.9:
        return facts | {"stuck": True}
    gain = float(q[top] - p[top])
    spike = _spike(p, q, n, labels, ordered=False)
    if gain < 0.02:
        return facts
    everyone = (1 - gain / max(1 - p[top], 1e-9)) * p
    everyone[top] = q[top]
    one = p.copy()
    one[top] += gain
    one[lost] = max(p[lost] - gain, 0.0)
    swapped = p.copy()
    swapped[[top, lost]] = p[[lost, top]]
    fits = {
        name: _log_likelihood(q, law, n)
        for name, law in (("everyone", everyone), ("one", one), ("swapped", swapped))
    }
    best = max(fits, key=lambda name: fits[name])
    both = min(float(p[top]), float(p[lost])) >= 0.02 and top != len(p) - 1
    if both and best == "one" and fits["swapped"] >= fits["one"] - _FREE:
        best = "swapped"  # it explains as much without a share to choose
    free = _log_likelihood(q, q, n)
    # a shape that is far from the counts themselves explains nothing, however well it compares
    fitting = free - fits[best] < 0.5 * len(p) + _CLEAR
    if best == "everyone" or fits[best] - fits["everyone"] < _CLEAR or not fitting:
        if "spike_cell" in spike and top != len(p) - 1:
            facts |= spike | {"grew": True}
        return facts
    if best == "swapped" and both:
        return facts | {"exchanged": f"{labels[lost]} and {labels[top]}"}
    if q[lost] > _EMPTY * p[lost] and top != len(p) - 1:
        return facts  # some rows went from one known value to another: a shift like any other
    return facts | {"moved_from": labels[lost], "moved_to": labels[top]}


def _spike(
    p: FloatArray, q: FloatArray, n: float, labels: Sequence[str], *, ordered: bool
) -> dict[str, Any]:
    """Return the cell that drew rows from all others in proportion, where there is one."""
    top = int(np.argmax(q - p))
    share = float((q[top] - p[top]) / max(1 - p[top], 1e-9))
    clear = q[top] - p[top] >= _PEAK * (max(p[top], 1 / n) / n) ** 0.5
    if not _MIN_SHARE <= share <= _MOST_SHARE or not clear or (ordered and top in (0, len(p) - 1)):
        return {}
    rest = np.arange(len(p)) != top
    left, kept = float(q[rest].sum()), float(p[rest].sum())
    if left * n < 20 or kept <= 0:
        facts: dict[str, Any] = {"spike_cell": labels[top], "spike_share": round(share, 4)}
        return facts
    was, now = p[rest] / kept, q[rest] / left
    noise = float(np.sqrt(was * (1 - was) * 2 / (np.pi * left * n)).sum() / 2)
    moved = float(np.abs(now - was).sum() / 2)
    if moved > max(1.6 * noise, 0.03) + 0.1 * share:
        return {}
    return {"spike_cell": labels[top], "spike_share": round(share, 4)}


def _clipped(p: FloatArray, q: FloatArray, n: float) -> float | None:
    """Return the share of the reference beyond the cell at which values now stop, or None."""
    tail = np.cumsum(p[::-1])[::-1]
    for k in range(len(p) - 2, 1, -1):
        beyond = float(tail[k + 1])
        if beyond < _MIN_SHARE or n * beyond < 10:
            continue
        if q[k + 1 :].sum() > 0.1 * beyond:
            return None  # rows this far out are still there
        gained = float(q[k] - p[k])
        below = float(np.abs(q[:k] - p[:k]).sum())
        noise = 2 * (beyond / n) ** 0.5
        if abs(gained - beyond) < 0.35 * beyond + noise and below < 0.5 * beyond + 4 * noise:
            return beyond
    return None


def _log_likelihood(q: FloatArray, law: NDArray[Any], n: float) -> float:
    smooth = (law + 1e-3) / (law + 1e-3).sum()
    return float(n * (q * np.log(smooth)).sum())


def sentinel_of(value: float, spread: float) -> float:
    """Return the customary placeholder nearest to a value, or the value in four digits.

    Parameters
    ----------
    value
        Estimated value.
    spread
        How far off the estimate can be.
    """
    nearest = min(_SENTINELS, key=lambda s: abs(s - value))
    if abs(nearest - value) <= max(0.02 * abs(nearest), spread):
        return nearest
    return float(f"{value:.4g}")
