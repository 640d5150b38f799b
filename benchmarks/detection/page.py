"""A page and the records in, the page with their tables between its two marks out."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks.detection.places import RESULTS
from benchmarks.detection.report import report

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "detection.md"
_FIRST: Final = "<!-- numbers: python -m benchmarks.detection report --page -->\n"
_LAST: Final = "<!-- end of numbers -->"


def filled(page: str, folder: Path = RESULTS) -> str:
    """Return a page with the tables of the records in a folder.

    Parameters
    ----------
    page
        Text that has both marks, in order.
    folder
        Where the records are.

    Raises
    ------
    ValueError
        If a mark is missing.
    """
    before, first, rest = page.partition(_FIRST)
    _, last, after = rest.partition(_LAST)
    if not (first and last):
        raise ValueError(f"the page needs the lines {_FIRST.strip()} and {_LAST}")
    tables = report(folder).strip().replace("\n## ", "\n### ")
    return f"{before}{first}#{tables}\n{last}{after}"
