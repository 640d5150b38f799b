"""Draw by hand: in, numbers; out, SVG elements as text.

Colours come from classes, so that one style sheet serves light and dark. Every text is escaped here
and nowhere else: callers hand over plain strings.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

__all__ = ["Frame", "Scale", "area", "circle", "document", "line", "rect", "rule", "text", "ticks"]

FOOT_ROOM: Final = 12.0
"""Room that a drawing leaves on the right of its base line."""
GLYPH: Final = 0.56
"""Mean width of a glyph in ems, for sans-serif text; used to keep labels apart."""


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers within an interval.

    Parameters
    ----------
    low, high
        The interval.
    about
        How many are wanted, at least one.

    Examples
    --------
    >>> ticks(0, 27000, 6)
    [0.0, 5000.0, 10000.0, 15000.0, 20000.0, 25000.0]
    """
    if not high > low:
        return [low]
    rough = (high - low) / max(about, 1)
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from values to pixels.

    Parameters
    ----------
    low, high
        Values at the two ends.
    start, end
        Pixels at the two ends; `end` may be the smaller one.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the pixel of a value; what lies outside is drawn at the edge."""
        span = self.high - self.low or 1.0
        share = min(max((value - self.low) / span, 0.0), 1.0)
        return self.start + share * (self.end - self.start)


@dataclass(frozen=True, slots=True)
class Frame:
    """A plotting area with its two scales.

    Parameters
    ----------
    x, y
        Scales; `y` runs upwards, from the lower edge to the upper one.
    """

    x: Scale
    y: Scale

    def grid(self, values: Sequence[float], labels: Sequence[str]) -> str:
        """Return horizontal grid lines with labels on their left."""
        drawn = []
        for value, label in zip(values, labels, strict=True):
            at = self.y(value)
            drawn.append(rule(self.x.start, at, self.x.end, at, "grid"))
            drawn.append(text(self.x.start - 6, at + 3.5, label, "tick end"))
        return "".join(drawn)

    def foot(self, values: Sequence[float], labels: Sequence[str]) -> str:
        """Return the base line with ticks, and labels under them."""
        base = self.y.start
        drawn = [rule(self.x.start, base, self.x.end, base, "axis")]
        for value, label in zip(values, labels, strict=True):
            at = self.x(value)
            drawn.append(rule(at, base, at, base + 4, "axis"))
            # A label at the right end would be cut off by the edge of the drawing.
            last = self.x.end + FOOT_ROOM - len(label) * 11 * GLYPH / 2
            drawn.append(text(min(at, last), base + 16, label, "tick middle"))
        return "".join(drawn)

    def curve(self, xs: Iterable[float], ys: Iterable[float]) -> list[tuple[float, float]]:
        """Return the pixels of points."""
        return [(self.x(x), self.y(y)) for x, y in zip(xs, ys, strict=True)]


def document(width: float, height: float, parts: Iterable[str], label: str) -> str:
    """Return a drawing that scales with its container.

    Parameters
    ----------
    width, height
        Size of its coordinates.
    parts
        Elements.
    label
        What it shows, for those who cannot see it.
    """
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}" '
        f'style="max-width:{width * 1.25:g}px">{"".join(parts)}</svg>'
    )


def line(points: Sequence[tuple[float, float]], kind: str, *, steps: bool = False) -> str:
    """Return a line through pixels; in steps, each value holds until the next."""
    if not points:
        return ""
    path = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for x, y in points[1:]:
        path.append(f"H{x:.1f}V{y:.1f}" if steps else f"L{x:.1f} {y:.1f}")
    return f'<path class="{kind}" d="{"".join(path)}"/>'


def area(
    upper: Sequence[tuple[float, float]], lower: Sequence[tuple[float, float]], kind: str
) -> str:
    """Return the area between two lines of pixels."""
    if not upper or not lower:
        return ""
    corners = [*upper, *reversed(lower)]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in corners)
    return f'<path class="{kind}" d="M{path}Z"/>'


def rect(
    x: float, y: float, width: float, height: float, kind: str, *, tip: str = "", round_: float = 0
) -> str:
    """Return a rectangle; `tip` is shown when one points at it."""
    corner = f' rx="{round_:g}"' if round_ else ""
    size = f'width="{max(width, 0):.1f}" height="{max(height, 0):.1f}"'
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" {size}{corner}>{_tip(tip)}</rect>'


def circle(x: float, y: float, radius: float, kind: str, *, tip: str = "") -> str:
    """Return a circle."""
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}">{_tip(tip)}</circle>'


def rule(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """Return a straight line."""
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def text(x: float, y: float, content: str, kind: str = "tick") -> str:
    """Return a text; the classes ``middle`` and ``end`` anchor it."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(content)}</text>'


def _tip(content: str) -> str:
    return f"<title>{escape(content)}</title>" if content else ""
