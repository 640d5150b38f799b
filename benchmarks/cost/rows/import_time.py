"""What ``import otel_ml`` adds to a process that has numpy and the API of OpenTelemetry anyway."""

from __future__ import annotations

import statistics
from typing import Final

from benchmarks.cost.line import Line
from benchmarks.import_time import BASE, CASES, seconds

ROUNDS: Final = 9
MOST: Final = 0.25
BOUNDS: Final = {"import otel_ml": MOST}


def measure(quick: bool) -> list[Line]:
    programs = {"": BASE} | {name: f"{BASE}\n{code}" for name, code in CASES.items()}
    for code in programs.values():
        seconds(code)  # byte code is compiled once
    found: list[dict[str, float]] = []
    for turn in range(2 if quick else ROUNDS):
        order = list(programs.items())
        at = turn % len(order)
        found.append({name: seconds(code) for name, code in order[at:] + order[:at]})
    return [
        Line(
            f"{name} adds", "s", statistics.median(f[name] - f[""] for f in found),
            bound=BOUNDS.get(name), note=f"to {BASE}",
        )
        for name in CASES
    ]  # fmt: skip
