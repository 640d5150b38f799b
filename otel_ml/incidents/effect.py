"""A stream's law before and its counts after a change in, the facts of the change out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from otel_ml.incidents.advice.laws import bounds_of, misfit, transformed
from otel_ml.incidents.advice.shapes import (
    categorical_shape,
    moment_shape,
    numeric_shape,
    one_value,
    sentinel_of,
)
from otel_ml.incidents.advice.words import milliseconds, sentence
from otel_ml.types import FloatArray, IntArray, Stream

__all__ = ["describe", "scale_change", "sentence"]

# factors that tell a change of unit from any other change of scale
_UNITS: Final[Mapping[float, str]] = {
    7: "weeks to days",
    12: "years to months",
    24: "days to hours",
    52: "years to weeks",
    60: "minutes to seconds",
    100: "a share to per cent, or units to cents",
    365: "years to days",
    365.25: "years to days",
    1000: "a unit to its thousandths",
    3600: "hours to seconds",
    1e6: "a unit to its millionths",
    2.2046: "kilograms to pounds",
    3.2808: "metres to feet",
    2.54: "inches to centimetres",
    1.609344: "miles to kilometres",
}
_OF_VALUES: Final = ("input_drift", "data_quality", "joint_drift")
_FIRST_NUMERIC: Final = "below_range"
_LAST_CATEGORIES: Final = ("unseen", "missing")
_SHAPED_ROWS: Final = 50  # below, every law has some shape
_SENTINEL_SHARE: Final = 0.02
_NEARLY_ALL: Final = 0.95  # of the rows: then the law has moved, and no placeholder was added
# share of the change that a law may leave unexplained: measured on faults and on changes of the
# population, which an offset or a factor explains to a third at best in most cases
_MISFIT: Final[Mapping[str, float]] = {"constant_added": 0.28, "negated": 0.3, "scale": 0.18}
_LARGEST: Final = 1e12  # beyond, squares lose the digits that tell one value from several
_ROUNDING: Final = 1e-3
_SMALL: Final = 0.2  # below, noise decides which factor the mean square suggests
_CLEAR: Final = 4.0  # standard errors by which a mean must have moved before a factor is sought
_SPREAD_TOLERANCE: Final = 1.5  # the spread is estimated from a few dozen rows
_UNIT_TOLERANCE: Final = 0.15  # of the logarithm: the factor is estimated from a few dozen rows


def describe(
    stream: Stream,
    counts: IntArray,
    moments: FloatArray,
    before: tuple[float, float],
) -> dict[str, Any]:
    """Return the facts of a change.

    Parameters
    ----------
    stream
        What changed.
    counts
        Rows per cell since the change, shape ``(cells,)`` or longer.
    moments
        Number, sum and sum of squares since the change, shape ``(3,)``.
    before
        Mean and standard deviation of the reference; NaN where there are none.

    Returns
    -------
    dict
        Named as in `otel_ml.incidents.advice.FACTS`: rows, how far the law moved and where to,
        means or rates, a factor or a shape that explains it.
    """
    held = np.asarray(counts[: len(stream.law)], dtype=np.float64)
    used = stream.law > 0
    n = float(held[used].sum())
    p = stream.law[used] / stream.law[used].sum()
    q = (held[used] + 0.5 * p) / (n + 0.5)
    labels = [c for c, u in zip(stream.cells, used.tolist(), strict=True) if u]
    gain = q - p
    top, lost = int(np.argmax(gain)), int(np.argmin(gain))
    facts: dict[str, Any] = {
        "rows": int(n),
        "total_variation": round(float(np.abs(gain).sum() / 2), 4),
        "information": round(float((q * np.log(q / p)).sum()), 5),
        "top_cell": labels[top],
        "top_before": round(float(p[top]), 4),
        "top_after": round(float(q[top]), 4),
        "lost_cell": labels[lost],
        "lost_before": round(float(p[lost]), 4),
        "lost_after": round(float(q[lost]), 4),
    }
    number, total, squares = (float(v) for v in moments)
    known = number >= 2 and not math.isnan(before[0])
    mean = total / number if known else math.nan
    sd = max(squares / number - mean * mean, 0.0) ** 0.5 if known else math.nan
    if stream.monitor in _OF_VALUES:
        facts |= _scaled(moments, before) | _shape(stream, held, before, (mean, sd))
        if facts.keys() & {"sentinel", "clipped", "coarser"} or not _explains(stream, held, facts):
            for name in ("scale", "scaled_share", "unit"):
                facts.pop(name, None)
    if stream.yes is not None:
        facts["rate"] = True
        facts["before"] = round(float(stream.law[stream.yes & used].sum() / stream.law.sum()), 5)
        facts["after"] = round(float(held[stream.yes & used].sum() / max(n, 1.0)), 5)
        if stream.monitor == "latency":
            facts["typical_before"] = milliseconds(labels[int(np.searchsorted(np.cumsum(p), 0.5))])
            facts["typical_after"] = milliseconds(labels[int(np.searchsorted(np.cumsum(q), 0.5))])
    elif known:
        facts |= {"before": before[0], "after": mean, "sd_before": before[1], "sd_after": sd}
    return facts


def _shape(
    stream: Stream, counts: FloatArray, before: tuple[float, float], after: tuple[float, float]
) -> dict[str, Any]:
    """Return the shape of a change of a feature, from all of its cells that hold values."""
    numeric = stream.cells[:1] == (_FIRST_NUMERIC,)
    if not numeric and stream.cells[-2:] != _LAST_CATEGORIES:
        return {}
    # the last three cells of numbers are defects, the last one of categories is `missing`
    valid = len(stream.cells) - (3 if numeric else 1)
    law, n = stream.law[:valid], float(counts[:valid].sum())
    if n < _SHAPED_ROWS or not law.sum() > 0:
        return {"categorical": not numeric}
    q, p = counts[:valid] / n, law / law.sum()
    labels = stream.cells[:valid]
    if not numeric:
        return {"categorical": True} | categorical_shape(p, q, n, labels)
    facts: dict[str, Any] = {"categorical": False} | numeric_shape(p, q, n, labels)
    if math.isnan(after[0]) or abs(after[0]) > _LARGEST:
        return facts
    if "spike_share" in facts:
        facts["spike_value"] = round(one_value(facts["spike_share"], before, after, n)[0], 4)
    turned = moment_shape(before, after)
    if "coarser" in facts and not (
        abs(turned.get("offset_sd", 0.0)) < 0.3 and 0.7 < turned.get("spread_ratio", 1.0) < 1.4
    ):
        del facts["coarser"]
    bounds = bounds_of(labels)
    moved = after[0] - before[0]
    for name, factor, offset in (
        ("constant_added", 1.0, moved),
        ("negated", -1.0, 0.0),
    ):
        if name not in turned or bounds is None:
            continue
        if misfit(p, q, transformed(p, bounds, factor, offset, 1.0), n) > _MISFIT[name]:
            del turned[name]
    outside = float((q[0] + q[-1]) - (p[0] + p[-1]))
    explained = facts.keys() & {"coarser"} or turned.keys() & {"constant_added", "negated"}
    if not explained and _SENTINEL_SHARE <= outside <= _NEARLY_ALL:
        value, off = one_value(outside, before, after, n)
        if off is not None:
            return {"categorical": False, "sentinel": sentinel_of(value, off)}
    if facts.keys() & {"coarser", "clipped", "spike_share"}:
        turned.pop("constant_added", None)
    return facts | turned


def _explains(stream: Stream, counts: FloatArray, facts: Mapping[str, Any]) -> bool:
    """Tell whether the factor found explains the counts, where the cells have bounds."""
    bounds = bounds_of(stream.cells[:-3]) if "scale" in facts else None
    if bounds is None:
        return True
    law, held = stream.law[: len(bounds) + 1], counts[: len(bounds) + 1]
    n = float(held.sum())
    if n < _SHAPED_ROWS:
        return True
    p, q = law / law.sum(), held / n
    share = min(float(facts["scaled_share"]), 1.0)
    left = misfit(p, q, transformed(p, bounds, float(facts["scale"]), 0.0, share), n)
    return left <= _MISFIT["scale"]


def _scaled(moments: FloatArray, before: tuple[float, float]) -> dict[str, Any]:
    """Return what mean and spread since the change say: a factor, or one value only."""
    number, total, squares = (float(v) for v in moments)
    if number < 20 or math.isnan(before[0]):
        return {}
    mean = total / number
    sd = max(squares / number - mean * mean, 0.0) ** 0.5
    # sums of squares kept in single precision leave a spread of the mean's rounding
    rounding = min(_ROUNDING * abs(mean), 0.02 * before[1])
    if before[1] > 0 and sd <= max(2e-4 * before[1], rounding):
        return {"stuck": True}
    if abs(mean - before[0]) < _CLEAR * before[1] / number**0.5:
        return {}  # a factor read off the noise of the mean would be any
    return scale_change(before, (mean, sd))


def scale_change(before: tuple[float, float], after: tuple[float, float]) -> dict[str, Any]:
    """Return the factor by which values were multiplied, where one explains mean and spread.

    Parameters
    ----------
    before, after
        Mean and standard deviation.

    Returns
    -------
    dict
        ``scale``, ``scaled_share`` (how much of the values it was applied to) and, for a known
        factor, ``unit``; empty where no common factor fits.
    """
    if min(abs(before[0]), before[1]) <= 1e-12:
        return {}
    # of a share w of values multiplied by f: the mean grows by w (f - 1) times itself, the mean
    # square by w (f² - 1), so their quotient gives f whatever w is
    by_mean = after[0] / before[0] - 1
    by_square = (after[1] ** 2 + after[0] ** 2) / (before[1] ** 2 + before[0] ** 2) - 1
    if abs(by_mean) < 0.1:
        return {}
    factor, share = by_square / by_mean - 1, 1.0
    scaled = after[0] / before[0]
    if 0 < scaled < _SMALL and after[1] > 0 and _near(scaled, after[1] / before[1]):
        factor = scaled  # of values that shrink the quotient is mostly noise
    if factor <= 0 or abs(math.log(factor)) < math.log(1.4):
        return {}
    if factor != scaled:
        share = by_mean / (factor - 1)
    if not 0.02 < share < 1.25:
        return {}
    # more than all values cannot be multiplied: then it is noise, or a shift that leaves the spread
    if share > 1 and after[1] * _SPREAD_TOLERANCE < factor * before[1]:
        return {}
    known = dict(_UNITS)
    known |= {1 / f: " to ".join(reversed(text.split(" to "))) for f, text in _UNITS.items()}
    nearest = min(known, key=lambda f: abs(math.log(factor / f)))
    if _near(factor, nearest):
        return {"scale": nearest, "unit": known[nearest], "scaled_share": round(share, 3)}
    return {"scale": round(factor, 4), "scaled_share": round(share, 3)} if share > 0.75 else {}


def _near(a: float, b: float) -> bool:
    return abs(math.log(a / b)) < _UNIT_TOLERANCE
