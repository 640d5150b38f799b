"""A stream's law before and its counts after a change in, the facts of the change out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

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
        ``rows``; ``before`` and ``after``, rates of the defect or means; ``total_variation``;
        ``top_cell`` with its shares; ``scale`` and ``unit`` where a factor explains it.
    """
    counts = np.asarray(counts[: len(stream.law)], dtype=np.float64)
    used = stream.law > 0
    n = float(counts[used].sum())
    p = stream.law[used] / stream.law[used].sum()
    q = (counts[used] + 0.5 * p) / (n + 0.5)
    labels = [c for c, u in zip(stream.cells, used.tolist(), strict=True) if u]
    gain = q - p
    top, lost = int(np.argmax(gain)), int(np.argmin(gain))
    facts: dict[str, Any] = {
        "rows": int(n),
        "total_variation": round(float(np.abs(gain).sum() / 2), 4),
        "top_cell": labels[top],
        "top_before": round(float(p[top]), 4),
        "top_after": round(float(q[top]), 4),
        "lost_cell": labels[lost],
        "lost_before": round(float(p[lost]), 4),
        "lost_after": round(float(q[lost]), 4),
    }
    if scaled := _scaled(moments, before):
        facts |= scaled
    if stream.yes is not None:
        facts["rate"] = True
        facts["before"] = round(float(stream.law[stream.yes & used].sum() / stream.law.sum()), 5)
        facts["after"] = round(float(counts[stream.yes & used].sum() / max(n, 1.0)), 5)
        if stream.monitor == "latency":
            facts["typical_before"] = _milliseconds(labels[int(np.searchsorted(np.cumsum(p), 0.5))])
            facts["typical_after"] = _milliseconds(labels[int(np.searchsorted(np.cumsum(q), 0.5))])
        return facts
    number, total, squares = (float(v) for v in moments)
    if number >= 2 and not math.isnan(before[0]):
        mean = total / number
        sd = max(squares / number - mean * mean, 0.0) ** 0.5
        facts |= {"before": before[0], "after": mean, "sd_before": before[1], "sd_after": sd}
    return facts


def _scaled(moments: FloatArray, before: tuple[float, float]) -> dict[str, Any]:
    """Return what mean and spread since the change say: a factor, or one value only."""
    number, total, squares = (float(v) for v in moments)
    if number < 20 or math.isnan(before[0]):
        return {}
    mean = total / number
    sd = max(squares / number - mean * mean, 0.0) ** 0.5
    if before[1] > 0 and sd <= 1e-3 * before[1]:
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


def _milliseconds(cell: str) -> str:
    """Return the name of a cell of durations, ``(0.1, 0.15]``, as people say it."""
    ends = cell.strip("(]").split(", ")
    if len(ends) != 2:
        return cell.replace("_", " ")
    low, high = (1000 * float(end) for end in ends)
    return f"{low:.3g} to {high:.3g} ms"


def _near(a: float, b: float) -> bool:
    return abs(math.log(a / b)) < _UNIT_TOLERANCE


def sentence(stream: Stream, facts: Mapping[str, Any]) -> str:
    """Return the facts of a change as one sentence."""
    name = stream.target
    if stream.defect:
        kind = {
            "missing": "missing",
            "unseen": "a value never seen before",
            "out_of_range": "outside the reference's range",
            "infinite": "infinite",
            "not_a_number": "not a number",
        }[stream.defect]
        return f"{name} is {kind} in {facts['after']:.1%} of rows (reference {facts['before']:.1%})"
    if stream.monitor == "performance":
        who = "all rows" if name == "performance" else name
        return f"the error rate for {who} is {facts['after']:.1%} (reference {facts['before']:.1%})"
    if stream.monitor == "latency":
        return (
            f"{facts['after']:.0%} of calls are much slower than the first ones were: the typical "
            f"one takes {facts['typical_after']}, {facts['typical_before']} before"
        )
    if stream.monitor == "errors":
        return f"{facts['after']:.1%} of calls fail"
    if facts.get("unit"):
        return (
            f"{name} is {facts['scale']:.4g} times what it was, as from {facts['unit']} "
            f"(mean {facts['before']:.4g} before, {facts['after']:.4g} now)"
        )
    if "after" in facts:
        return (
            f"{name} moved: mean {facts['before']:.4g} before, {facts['after']:.4g} now; "
            f"{facts['total_variation']:.0%} of its mass shifted"
        )
    return (
        f"{name} moved: {facts['top_cell']!r} was {facts['top_before']:.1%} of rows, "
        f"is {facts['top_after']:.1%}; {facts['total_variation']:.0%} of its mass shifted"
    )
