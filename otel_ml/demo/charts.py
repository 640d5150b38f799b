"""The charts of a run: in, values over rows, shares or intervals; out, SVG.

They know nothing of the demo: a stretch is anything that lasted from a row to another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from otel_ml.demo import svg

__all__ = ["Band", "Bar", "Interval", "Stretch", "intervals", "over_rows", "shares"]

SMALL_TEXT: Final = 11.0
SHOWN_LABELS: Final = 14


@dataclass(frozen=True, slots=True)
class Stretch:
    """Something that lasted.

    Parameters
    ----------
    start, end
        Rows.
    label
        What it is.
    tip
        What is shown when one points at it.
    kind
        Class of its colour.
    """

    start: float
    end: float
    label: str
    tip: str = ""
    kind: str = "fault"


@dataclass(frozen=True, slots=True)
class Band:
    """A curve over rows, with an interval where there is one.

    Parameters
    ----------
    rows, values
        The curve, same length.
    lower, upper
        The interval, same length, or empty.
    kind
        Class of its colour.
    label
        Its name.
    """

    rows: Sequence[float]
    values: Sequence[float]
    lower: Sequence[float] = ()
    upper: Sequence[float] = ()
    kind: str = "now"
    label: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """A cell of two distributions.

    Parameters
    ----------
    label
        Its name.
    reference, now
        Its share in each, between 0 and 1.
    """

    label: str
    reference: float
    now: float


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its interval, for a group.

    Parameters
    ----------
    label
        The group.
    value, lower, upper
        Value and interval.
    was
        The value before, or None.
    marked
        Whether it is the one to look at.
    """

    label: str
    value: float
    lower: float
    upper: float
    was: float | None = None
    marked: bool = False


def over_rows(
    bands: Sequence[Band],
    faults: Sequence[Stretch],
    rows: int,
    width: float,
    *,
    unit: str = "",
    low: float | None = None,
    scale: float = 1.0,
) -> str:
    """Return curves with their intervals over rows, the faults behind them.

    Parameters
    ----------
    bands
        Curves.
    faults
        What lasted from when to when.
    rows
        Rows in all.
    width
        Width of the drawing.
    unit
        Shown behind the numbers of the axis.
    low
        Lower end of the axis; the smallest value where it is None.
    scale
        Factor from values to what the axis shows.
    """
    left, right, top, plot = 48.0, width - 12.0, 14.0, 150.0
    every = [v for band in bands for v in (*band.values, *band.lower, *band.upper)] or [0.0, 1.0]
    bottom = min(every) if low is None else low
    pad = 0.06 * ((max(every) - bottom) or 1.0)
    if low is None:
        bottom -= pad
    frame = svg.Frame(
        svg.Scale(0, rows, left, right), svg.Scale(bottom, max(every) + pad, top + plot, top)
    )
    marks = svg.ticks(bottom, max(every) + pad, 4)
    parts = [frame.grid(marks, [f"{mark * scale:g}{unit}" for mark in marks])]
    for fault in faults:
        start, end = frame.x(fault.start), frame.x(fault.end)
        parts.append(svg.rect(start, top, end - start, plot, "wash", tip=fault.tip))
    for band in bands:
        if band.lower and band.upper:
            upper = frame.curve(band.rows, band.upper)
            parts.append(svg.area(upper, frame.curve(band.rows, band.lower), f"{band.kind}-area"))
        parts.append(svg.line(frame.curve(band.rows, band.values), f"{band.kind}-line"))
    footing = svg.ticks(0, rows, 3 if width < 500 else 6)
    parts.append(frame.foot(footing, [_thousands(mark) for mark in footing]))
    names = ", ".join(band.label for band in bands)
    return svg.document(width, top + plot + 26, parts, f"{names} over rows")


def shares(bars: Sequence[Bar], width: float, *, label: str) -> str:
    """Return two distributions side by side, cell by cell.

    Parameters
    ----------
    bars
        The cells, in order.
    width
        Width of the drawing.
    label
        What is distributed.
    """
    left, right, top, plot = 40.0, width - 8.0, 10.0, 140.0
    high = max([max(bar.reference, bar.now) for bar in bars], default=1.0) * 1.08 or 1.0
    frame = svg.Frame(
        svg.Scale(0, max(len(bars), 1), left, right), svg.Scale(0, high, top + plot, top)
    )
    marks = svg.ticks(0, high, 4)
    parts = [frame.grid(marks, [f"{mark * 100:.3g} %" for mark in marks])]
    slot = (right - left) / max(len(bars), 1)
    half = min(slot * 0.38, 26)
    longest = max((len(bar.label) for bar in bars), default=0)
    every = -(-len(bars) // SHOWN_LABELS)
    slanted = longest * SMALL_TEXT * svg.GLYPH > slot - 2
    for place, bar in enumerate(bars):
        middle = left + slot * (place + 0.5)
        for share, kind, shift in ((bar.reference, "was-bar", -half), (bar.now, "now-bar", 0.0)):
            who = "reference" if kind == "was-bar" else "now"
            tip = f"{bar.label}: {share * 100:.1f} % ({who})"
            at = frame.y(share)
            parts.append(svg.rect(middle + shift, at, half - 1, top + plot - at, kind, tip=tip))
        if place % every == 0 or not _is_range(bar.label):
            parts.append(_cell_label(middle, top + plot + 14, bar.label, slanted))
    parts.append(svg.rule(left, top + plot, right, top + plot, "axis"))
    foot = 12 + longest * SMALL_TEXT * svg.GLYPH * 0.7 if slanted else 22
    return svg.document(width, top + plot + foot, parts, f"Distribution of {label}")


def intervals(groups: Sequence[Interval], width: float, *, label: str) -> str:
    """Return values with their intervals, a line for each group.

    Parameters
    ----------
    groups
        The groups, in order.
    width
        Width of the drawing.
    label
        What is measured.
    """
    every = [v for g in groups for v in (g.lower, g.upper, g.value if g.was is None else g.was)]
    low, high = min(every, default=0.0), max(every, default=1.0)
    pad = 0.08 * ((high - low) or 1.0)
    longest = max((len(group.label) for group in groups), default=0)
    # Codes are mostly capitals, which are wider than the mean glyph.
    left = min(longest * 12 * svg.GLYPH * 1.25 + 16, width * 0.4)
    top, step = 8.0, 24.0 if len(groups) > 3 else 34.0
    bottom = top + step * len(groups)
    frame = svg.Frame(
        svg.Scale(max(low - pad, 0.0), min(high + pad, 1.0), left, width - 14),
        svg.Scale(0, 1, bottom, top),
    )
    marks = svg.ticks(frame.x.low, frame.x.high, 4 if width < 500 else 6)
    parts = [svg.rule(frame.x(mark), top, frame.x(mark), bottom, "grid") for mark in marks]
    for place, group in enumerate(groups):
        y = top + step * (place + 0.5)
        kind = "bad" if group.marked else "now"
        tip = f"{group.label}: {group.value:.3f} ({group.lower:.3f} to {group.upper:.3f})"
        parts.append(svg.text(left - 10, y + 4, group.label, "name end"))
        parts.append(svg.rule(frame.x(group.lower), y, frame.x(group.upper), y, f"{kind}-span"))
        if group.was is not None:
            parts.append(
                svg.circle(frame.x(group.was), y, 4, "was-dot", tip=f"before: {group.was:.3f}")
            )
        parts.append(svg.circle(frame.x(group.value), y, 4.5, f"{kind}-dot", tip=tip))
    parts.append(frame.foot(marks, [f"{mark:g}" for mark in marks]))
    return svg.document(width, bottom + 24, parts, f"{label} by group")


def _is_range(label: str) -> bool:
    return "–" in label


def _cell_label(x: float, y: float, label: str, slanted: bool) -> str:
    if not slanted:
        return svg.text(x, y, label, "small middle")
    turned = svg.text(0, 0, label, "small end")
    return f'<g transform="translate({x + 4:.1f} {y - 4:.1f}) rotate(-42)">{turned}</g>'


def _thousands(value: float) -> str:
    return f"{value:,.0f}"
