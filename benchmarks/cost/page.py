"""A page and the records in, the page with their table between its two marks out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.cost.store import Record
from benchmarks.cost.table import table

__all__ = ["PAGE", "filled", "numbers"]

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "cost.md"
_FIRST: Final = "<!-- numbers: python -m benchmarks.cost report --page -->\n"
_LAST: Final = "<!-- end of numbers -->"


def filled(page: str, records: Sequence[Record]) -> str:
    """Return a page with the table of the records, and what they were measured on.

    Parameters
    ----------
    page
        Text that has both marks, in order.
    records
        The last kept run of each row.

    Raises
    ------
    ValueError
        If a mark is missing.
    """
    before, first, rest = page.partition(_FIRST)
    _, last, after = rest.partition(_LAST)
    if not (first and last):
        raise ValueError(f"the page needs the lines {_FIRST.strip()} and {_LAST}")
    return f"{before}{first}{numbers(records)}\n{last}{after}"


def numbers(records: Sequence[Record]) -> str:
    """Return the table, the notes to its lines, and the machines with their rows."""
    parts = [table({record.row: record.lines for record in records})]
    notes = [text for record in records for text in _notes(record)]
    if notes:
        parts += ["", *notes]
    by_machine: dict[str, list[Record]] = {}
    for record in records:
        text = ", ".join(f"{name} {value}" for name, value in record.machine.items())
        by_machine.setdefault(text, []).append(record)
    for text, of in by_machine.items():
        rows = "" if len(by_machine) == 1 else f" ({', '.join(record.row for record in of)})"
        dates = sorted({record.date for record in of})
        days = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
        parts += ["", f"Measured on {days}{rows}: {text}."]
    return "\n".join(parts)


def _notes(record: Record) -> list[str]:
    """Return what is to be known of a record's lines, each thing once."""
    of: dict[str, dict[str, None]] = {}
    for line in record.lines:
        if line.note:
            of.setdefault(line.note, {})[line.what] = None
    every = len({line.what for line in record.lines})
    return [
        f"- {record.row}{'' if len(what) == every else ', ' + '; '.join(what)}: {note}."
        for note, what in of.items()
    ]
