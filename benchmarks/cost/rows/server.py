"""Instructions of a request to a FastAPI server under ``opentelemetry-instrument``, with otel-ml.

Its anchor is the same server without otel-ml: spans of the requests, metrics and logs go to the
same receiver. Exports of metrics, of either, once a minute, are left out. The worker looks at its
queue after every five hundred requests, as it does where as many come a second: about what one
process answers.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from benchmarks.cost.callgrind import Counting
from benchmarks.cost.collector import Collector
from benchmarks.cost.line import Line
from benchmarks.cost.server import MODEL, PATH, WHEN_TOLD, data, trained

LOOK: Final = 500  # requests
WARM, LOOKS = 2, 2  # of the worker: the first export is in one of the first
AT_FIRST: Final = 12_000  # rows of one request: the first thousands also teach how rows depend
MOST: Final = 1.03


def measure(quick: bool) -> list[Line]:
    looks = 1 if quick else LOOKS
    with tempfile.TemporaryDirectory() as folder, Collector() as collector:
        shared = _environ(Path(folder), collector.endpoint)
        cases = {
            "with": shared,
            "without": shared | {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "ml"},
        }
        with ThreadPoolExecutor(2) as pool:
            work = {k: pool.submit(_each, environ, looks) for k, environ in cases.items()}
            each = {k: done.result() / 1e3 for k, done in work.items()}
        told = collector.ask()
    if not told["requests"].get("/v1/traces"):
        raise AssertionError("the servers sent no spans")
    note = f"{LOOK * looks} requests, {LOOK} between two looks of the worker"
    return [
        Line(
            "server, one request of one row",
            "k instructions",
            each["with"],
            "without otel-ml",
            each["without"],
            MOST,
            note,
        )
    ]


def _environ(folder: Path, endpoint: str) -> dict[str, str]:
    """Return the environment of a server with otel-ml, its reference in a folder."""
    from otel_ml import Reference

    features, _ = data(20_000, 1)
    scores = trained().predict_proba(features)[:, 1]
    Reference.build(features, scores=scores, model_name=MODEL).save(folder / "reference.json")
    config = folder / "otel-ml.yaml"
    reference = folder / "reference.json"
    config.write_text(f'models:\n  - name: {MODEL}\n    reference: "{reference}"\n', "utf-8")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    return kept | {
        "OTEL_ML_CONFIG_FILE": str(config),
        "OTEL_SERVICE_NAME": "benchmark",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_METRIC_EXPORT_INTERVAL": "3600000",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "3600000",
        WHEN_TOLD: "yes",
    }


def command() -> list[str]:
    """Return the command of the server."""
    instrument = Path(sys.executable).with_name("opentelemetry-instrument")
    return [sys.executable, str(instrument), sys.executable, "-m", "benchmarks.cost.server"]


def _each(environ: Mapping[str, str], looks: int) -> float:
    """Return the instructions of one request."""
    features, _ = data(AT_FIRST + (WARM + looks) * LOOK, 2)
    rows = features.tolist()
    later = iter(rows[AT_FIRST:])
    with Counting(command(), environ) as program:
        client = http.client.HTTPConnection("127.0.0.1", int(program.ready), timeout=120)

        def serve(rounds: int) -> None:
            for _ in range(rounds):
                for _ in range(LOOK):
                    send(client, [next(later)])
                program.tell("settle")

        send(client, rows[:AT_FIRST])
        program.start()  # before all single rows: later they would be slower, and an incident
        serve(WARM)
        program.tell("freeze")
        program.count()
        serve(looks)
        counted = program.count()
        client.close()
    return counted / (looks * LOOK)


def send(client: http.client.HTTPConnection, rows: list[list[float]]) -> None:
    """Have the server predict rows."""
    body = json.dumps(rows).encode()
    client.request("POST", PATH, body, {"content-type": "application/json"})
    answer = client.getresponse()
    answer.read()
    if answer.status != 200:
        raise RuntimeError(f"status {answer.status}")
