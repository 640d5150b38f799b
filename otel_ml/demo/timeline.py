"""The chart of a run: in, evidence, faults and incidents over rows; out, SVG."""

from __future__ import annotations

from collections.abc import Sequence

from otel_ml.demo import svg
from otel_ml.demo.charts import SMALL_TEXT, Band, Stretch

__all__ = ["timeline"]


def timeline(
    evidence: Band,
    threshold: float | None,
    faults: Sequence[Stretch],
    incidents: Sequence[Stretch],
    years: Sequence[Stretch],
    rows: int,
    width: float,
) -> str:
    """Return evidence over rows between the faults above and the incidents below.

    Parameters
    ----------
    evidence
        Evidence, log10.
    threshold
        The budget, log10, or None where it is not known.
    faults, incidents, years
        What lasted from when to when.
    rows
        Rows in all.
    width
        Width of the drawing; labels give way when it is small.
    """
    narrow = width < 600
    left, right, top, plot = 40.0, width - 12.0, 34.0, 190.0 if narrow else 210.0
    high = max([(threshold or 1.0) * 1.6, *evidence.values], default=1.0)
    # Once far over the budget, by how much no longer matters; the budget must stay readable.
    high = min(high, 3 * threshold) if threshold else high
    frame = svg.Frame(svg.Scale(0, rows, left, right), svg.Scale(0, high, top + plot, top))
    lanes = _lanes(incidents, frame.x, right)
    foot = top + plot + 14
    height = foot + 20 * (max(lanes, default=0) + 1) + 34

    marks = svg.ticks(0, high, 4)
    parts = [frame.grid(marks, [f"{mark:g}" for mark in marks])]
    for number, fault in enumerate(faults, start=1):
        start, end = frame.x(fault.start), frame.x(fault.end)
        parts.append(svg.rect(start, top, end - start, foot - top + 4, "wash", tip=fault.tip))
        middle = (start + end) / 2
        parts.append(svg.circle(middle, 20, 9, "fault-dot", tip=fault.tip))
        parts.append(svg.text(middle, 24, str(number), "dot middle"))
    points = frame.curve(evidence.rows, evidence.values)
    if points:
        base = [(points[0][0], frame.y(0)), (points[-1][0], frame.y(0))]
        parts += [svg.area(points, base, "now-area"), svg.line(points, "now-line")]
    if threshold is not None:
        at = frame.y(threshold)
        parts.append(svg.rule(left, at, right, at, "limit"))
        parts.append(svg.text(left + 5, at - 5, "the budget", "limit-text"))
    parts.append(svg.rule(left, top + plot, right, top + plot, "axis"))
    for one, lane in zip(incidents, lanes, strict=True):
        start, end, y = frame.x(one.start), frame.x(one.end), foot + 20 * lane
        parts.append(svg.rect(start, y, max(end - start, 4), 12, one.kind, tip=one.tip, round_=3))
        size = len(one.label) * SMALL_TEXT * svg.GLYPH
        if _label_before(one, frame.x, right) and start - size - 4 < 0:
            room = int((end - start - 10) / (10 * svg.GLYPH * 1.1))
            shown = one.label if len(one.label) <= room else f"{one.label[: max(room - 1, 0)]}…"
            parts.append(svg.text(start + 5, y + 9.5, shown, "inside"))
        elif _label_before(one, frame.x, right):
            parts.append(svg.text(start - 4, y + 10, one.label, "small end"))
        else:
            parts.append(svg.text(max(end, start + 4) + 4, y + 10, one.label, "small"))
    parts.append(_years(years, frame.x, height - 28))
    return svg.document(width, height, parts, "Evidence, faults and incidents over rows")


def _label_before(one: Stretch, x: svg.Scale, right: float) -> bool:
    """Return whether a label has no room behind its bar, so that it goes before it."""
    return max(x(one.end), x(one.start) + 4) + len(one.label) * SMALL_TEXT * svg.GLYPH > right


def _lanes(stretches: Sequence[Stretch], x: svg.Scale, right: float) -> list[int]:
    """Return a lane for each, such that bars and their labels do not overlap."""
    free: list[float] = []
    lanes = []
    for one in stretches:
        label = len(one.label) * SMALL_TEXT * svg.GLYPH + 12
        start, end = x(one.start), max(x(one.end), x(one.start) + 4) + label
        if _label_before(one, x, right):
            start, end = x(one.start) - label, x(one.end)
        lane = next((n for n, until in enumerate(free) if until <= start), len(free))
        free[lane : lane + 1] = [end]
        lanes.append(lane)
    return lanes


def _years(years: Sequence[Stretch], x: svg.Scale, y: float) -> str:
    parts = []
    for number, year in enumerate(years):
        start, end = x(year.start), x(year.end)
        kind = "year" if number % 2 == 0 else "year alt"
        parts.append(svg.rect(start, y, end - start, 18, kind, tip=year.tip))
        parts.append(svg.text((start + end) / 2, y + 13, year.label, "small middle"))
    return "".join(parts)
