"""A folder of streams and a tool's rule in, the rows at which it alarms out.

Runs in the environment of the tool, so it needs numpy and nothing of this project.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

WINDOW = 1000
Columns = dict[str, Any]
Rule = Callable[[Columns, Columns], Iterator[tuple[int, str]]]
Test = Callable[[Columns], str]


def main(rule: Rule) -> None:
    """Apply the rule to every stream of the folder; one JSON file beside each says what it found.

    Arguments of the command are the folder, and the name of the tool.
    """
    folder, name = Path(sys.argv[1]), sys.argv[2]
    for path in sorted(folder.glob("*.npz")):
        answer = path.with_suffix(f".{name}.json")
        if answer.exists():
            continue
        with np.load(path, allow_pickle=False) as held:
            onset = int(held["onset"])
            sides: list[Columns] = [{}, {}]
            for key in held.files:
                side, _, column = key.partition(":")
                if column:
                    sides[side == "now"][column] = held[key]
        found: list[tuple[int, str]] = []
        try:
            for alarm in rule(sides[0], sides[1]):
                found.append(alarm)
                if 0 <= onset < alarm[0]:
                    break
            answer.write_text(json.dumps(found))
        except Exception:
            answer.write_text(json.dumps({"error": traceback.format_exc()[-400:]}))


def by_window(prepare: Callable[[Columns], Test]) -> Rule:
    """Return the rule that tests windows of 1,000 rows, one after the other.

    Parameters
    ----------
    prepare
        From a reference to a test, which returns the column that moved most, or "".
    """

    def rule(reference: Columns, now: Columns) -> Iterator[tuple[int, str]]:
        test = prepare(reference)
        rows = len(next(iter(now.values())))
        for stop in range(WINDOW, rows + 1, WINDOW):
            column = test({k: v[stop - WINDOW : stop] for k, v in now.items()})
            if column:
                yield stop, column

    return rule


def frame(columns: Columns) -> Any:
    """Return a pandas table; an empty word is a missing one."""
    import pandas as pd

    return pd.DataFrame(
        {
            k: v if v.dtype.kind == "f" else pd.Series(v.astype(object)).replace({"": None})
            for k, v in columns.items()
        }
    )
