"""Measured lines in, one table out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from benchmarks.cost.line import Line

__all__ = ["HEAD", "figure", "missed", "table"]

HEAD: Final = ("row", "what", "ours", "anchor", "its figure", "ratio", "budget", "verdict")
_RIGHT: Final = frozenset({"ours", "its figure", "ratio", "budget"})


def figure(value: float) -> str:
    """Return a number with three figures that say something."""
    if value and abs(value) < 1e-2:
        return f"{value:.1e}"
    for limit, digits in ((1, 3), (10, 2), (100, 1)):
        if abs(value) < limit:
            return f"{value:.{digits}f}"
    return f"{value:,.0f}"


def cells(row: str, line: Line) -> list[str]:
    """Return the texts of one line."""
    bound = "" if line.bound is None else figure(line.bound)
    if line.bound is not None and line.beside is None:
        bound += f" {line.unit}"
    elif line.bound is not None and line.bound < 0.5:
        bound = f"1/{round(1 / line.bound)}"
    ratio = "" if line.ratio is None else figure(line.ratio)
    if line.ratio is not None and 0 < line.ratio < 0.5:
        ratio = f"1/{figure(1 / line.ratio)}"
    return [
        row,
        line.what,
        f"{figure(line.ours)} {line.unit}",
        line.anchor,
        "" if line.beside is None else f"{figure(line.beside)} {line.unit}",
        ratio,
        bound and f"≤ {bound}",
        line.verdict,
    ]


def table(rows: Mapping[str, Sequence[Line]]) -> str:
    """Return the lines of all rows as one Markdown table with aligned columns."""
    body = [list(HEAD)]
    body += [cells(row, line) for row, lines in rows.items() for line in lines]
    wide = [max(len(texts[i]) for texts in body) for i in range(len(HEAD))]
    out = []
    for texts in body:
        aligned = [
            t.rjust(w) if name in _RIGHT else t.ljust(w)
            for t, w, name in zip(texts, wide, HEAD, strict=True)
        ]
        out.append("| " + " | ".join(aligned) + " |")
    rule = [
        "-" * (w + 1) + (":" if name in _RIGHT else "-") for w, name in zip(wide, HEAD, strict=True)
    ]
    out.insert(1, "|" + "|".join(rule) + "|")
    return "\n".join(out)


def missed(lines: Iterable[Line]) -> list[Line]:
    """Return the lines over their budget."""
    return [line for line in lines if line.met is False]
