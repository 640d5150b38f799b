"""What importing otel-ml adds to a process that has numpy and the OpenTelemetry API anyway.

In each round every case runs once in a fresh interpreter, and differences and ratios are taken
within the round, so that what else the machine does hits all alike.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
ROUNDS: Final = 15
BASE: Final = "import numpy, opentelemetry.trace"
CASES: Final = {
    "import otel_ml": "import otel_ml",
    "every public name": "import otel_ml\nfor n in otel_ml.__all__: getattr(otel_ml, n)",
    "the instrumentors, turned on": (
        "from otel_ml.capture import MLInstrumentor; MLInstrumentor().instrument()"
    ),
    "pipeline and worker": "import otel_ml.pipeline, otel_ml.worker",
}
TIMED: Final = "import time; t = time.perf_counter()\n{}\nprint(time.perf_counter() - t)"


def seconds(code: str) -> float:
    """Return how long the statements take in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", TIMED.format(code)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"default: {ROUNDS}")
    rounds = parser.parse_args().rounds
    programs = {"": BASE} | {name: f"{BASE}\n{code}" for name, code in CASES.items()}
    for code in programs.values():
        seconds(code)  # byte code is compiled once
    found: list[dict[str, float]] = []
    for turn in range(rounds):
        order = list(programs.items())
        order = order[turn % len(order) :] + order[: turn % len(order)]
        found.append({name: seconds(code) for name, code in order})
    base = statistics.median(held[""] for held in found)
    print(f"Python {sys.version.split()[0]}, {rounds} rounds; {BASE}: {base:.3f} s")
    print(f"{'':30}{'median':>10}{'adds':>10}{'ratio':>8}")
    for name in CASES:
        median = statistics.median(held[name] for held in found)
        added = statistics.median(held[name] - held[""] for held in found)
        ratio = statistics.median(held[name] / held[""] for held in found)
        print(f"{name:30}{median:8.3f} s{added:8.3f} s{ratio:8.2f}")


if __name__ == "__main__":
    main()
