"""The demo through the real Collector and Prometheus: in, the stack; out, what Prometheus answers.

Starts the stack with the overlay that also forwards to the demo's own receiver, runs the demo
against it, compares the counts of both ways, and runs every query of every panel.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from stack import Stack, StackError  # noqa: E402
from stack_process import free_addresses  # noqa: E402

from otel_ml.generate.dashboards.queries import panel_queries, template_queries  # noqa: E402

DASHBOARDS: Final = HERE.parent / "dashboards"
TOTAL: Final = "sum(ml_predictions_total)"
VARIABLES: Final = {
    "model": "acs-employment",
    "feature": "AGEP",
    "slice": "SEX",
    "measure": "accuracy",
    "group_measure": "accuracy",
    "top_numeric": "AGEP",
    "top_categorical": "MAR",
    "__rate_interval": "1m",
    "__range": "10m",
    "__interval": "15s",
}
# AGEP is numeric: the panel for categories shows one only when a categorical feature is chosen
EMPTY_ON_PURPOSE: Final = frozenset({"Categories: now and reference"})


def empty_panels(stack: Stack) -> tuple[int, list[str]]:
    """Run every query of every dashboard; return their number and the titles without an answer."""
    asked = 0
    empty = []
    for path in sorted(DASHBOARDS.glob("*.json")):
        dashboard = json.loads(path.read_text(encoding="utf-8"))
        queries = [(t, e) for t, e in panel_queries(dashboard, VARIABLES)]
        queries += [(q.name, q.expr) for q in template_queries(dashboard, VARIABLES)]
        for title, expression in queries:
            asked += 1
            if title not in EMPTY_ON_PURPOSE and not stack.query(expression):
                empty.append(f"{path.name}: {title}: {expression}")
    return asked, empty


def run(arguments: argparse.Namespace, demo_arguments: list[str]) -> int:
    """Run the demo through the stack; 0 where everything is found and every panel answers."""
    (address,) = free_addresses(1)
    port = address.rsplit(":", 1)[1]
    with tempfile.TemporaryDirectory(prefix="otel-ml-stack-") as folder:
        environment = {"OTEL_ML_DEMO_ENDPOINT": f"http://{address}"}
        with Stack(
            Path(folder), extra_collector_config=[HERE / "demo.yaml"], env=environment
        ) as stack:
            print(f"Prometheus  {stack.prometheus_url}", flush=True)
            print(f"Collector   {stack.otlp_http_endpoint}", flush=True)
            command = [sys.executable, "-m", "otel_ml.cli", "demo", "--out", str(arguments.out)]
            command += ["--otlp-endpoint", stack.otlp_http_endpoint, "--receiver-port", port]
            outcome = arguments.out / "outcome.json"
            arguments.out.mkdir(parents=True, exist_ok=True)
            command += ["--json", str(outcome), *demo_arguments]
            code = subprocess.run(command, check=False).returncode
            if not outcome.is_file():
                return code or 1
            sent = json.loads(outcome.read_text(encoding="utf-8"))["predictions"]["sent"]
            found = stack.wait_for(
                TOTAL, lambda r: bool(r) and float(r[0]["value"][1]) >= sent, timeout=30
            )
            counted = int(float(found[0]["value"][1]))
            asked, empty = empty_panels(stack)
            print(f"\nPrometheus counted {counted:,} of {sent:,} predictions")
            print(f"{asked} dashboard queries, {len(empty)} without an answer")
            for line in empty:
                print(f"  {line}")
            if arguments.keep:
                print(f"\nPrometheus stays up at {stack.prometheus_url}; Ctrl-C ends it.")
                try:
                    while True:
                        time.sleep(1)
                except KeyboardInterrupt:
                    print("ended")
            return 0 if code == 0 and counted == sent and not empty else 1


def main() -> int:
    """Parse the arguments; those that are not known here are the demo's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo-output"))
    parser.add_argument("--keep", action="store_true", help="leave Prometheus up until Ctrl-C")
    arguments, rest = parser.parse_known_args()
    try:
        return run(arguments, rest)
    except StackError as error:
        print(f"demo-stack: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
