"""Records in, lines of JSON out, and back: what was measured is not measured again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def read(path: Path) -> list[Record]:
    """Return the records of a file; a line that was cut off by a crash is left out."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def append(path: Path, record: Record) -> None:
    """Add one record."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, separators=(",", ":"), default=_plain) + "\n")


def keep(path: Path, records: Iterable[Record]) -> None:
    """Replace the file by some records."""
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    for record in records:
        append(part, record)
    if part.exists():
        part.replace(path)
    else:
        path.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    return value.item()
