"""The example service under `opentelemetry-instrument` and real servers: nothing is lost.

The sink is written to a file only when the pipeline is shut down, so that every id in it has been
through the end of the server.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx")

import httpx

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "serving"
INSTRUMENT = Path(sys.executable).with_name("opentelemetry-instrument")
REQUESTS = 20

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(not INSTRUMENT.exists(), reason="needs opentelemetry-instrument"),
]

SINK = """
import json, os

class Sink:
    def __init__(self): self.kept = []
    def submit(self, frame):
        from otel_ml.frame import captured
        self.kept.append(captured(frame, 0))
    def skip(self, reason, n=1): self.kept.append(reason)
    def shutdown(self, timeout=3.0):
        kept, self.kept = self.kept, []
        from otel_ml.config import Settings
        from otel_ml.identity import resolve
        lines = [
            json.dumps(c) if isinstance(c, str) else json.dumps(
                {"id": c.prediction_id, "pid": os.getpid(), "outputs": sorted(c.outputs or ()),
                 "alias": c.alias, "model": resolve(c.model, Settings())[0].name})
            for c in kept
        ]
        fd = os.open(os.environ["SINK_FILE"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(fd, "".join(line + "\\n" for line in lines).encode())
        os.close(fd)
        return True

def install():
    from otel_ml.capture import _scope
    _scope._current_sink = Sink()
"""

ENTRY_POINTS = """
[opentelemetry_instrumentor]
ml = otel_ml.capture:MLInstrumentor
ml_sklearn = otel_ml.capture.sklearn:SklearnInstrumentor
ml_starlette = otel_ml.capture.starlette:StarletteInstrumentor

[opentelemetry_pre_instrument]
sink = capture_file_sink:install
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory for PYTHONPATH with the entry points of an installed otel-ml, and the sink."""
    site = tmp_path / "site"
    info = site / "otel_ml_under_test-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: otel-ml-under-test\nVersion: 0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (site / "capture_file_sink.py").write_text(textwrap.dedent(SINK))
    return site


@pytest.fixture
def service(tmp_path: Path) -> Path:
    folder = tmp_path / "service"
    folder.mkdir()
    for name in ("app.py", "train.py"):
        shutil.copy(EXAMPLE / name, folder / name)
    subprocess.run([sys.executable, "train.py"], cwd=folder, check=True, timeout=120)
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


SERVERS = {
    "uvicorn": ["uvicorn", "app:app", "--port", "{port}"],
    "uvicorn without lifespan": ["uvicorn", "app:app", "--port", "{port}", "--lifespan", "off"],
    "uvicorn with 2 workers": ["uvicorn", "app:app", "--port", "{port}", "--workers", "2"],
    "gunicorn": ["gunicorn", "app:app", "-b", "127.0.0.1:{port}", "-w", "2"],
    "gunicorn preloaded": ["gunicorn", "app:app", "-b", "127.0.0.1:{port}", "-w", "2", "--preload"],
}


@pytest.mark.slow
@pytest.mark.parametrize("server", SERVERS)
def test_every_prediction_is_there(server: str, site: Path, service: Path, tmp_path: Path) -> None:
    port = free_port()
    command = [part.format(port=port) for part in SERVERS[server]]
    if command[0] == "gunicorn":
        pytest.importorskip("gunicorn")
        command += ["-k", _worker_class()]
    out, log = tmp_path / "out.jsonl", tmp_path / "log"
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]),
        "SINK_FILE": str(out),
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
    }
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [str(INSTRUMENT), sys.executable, "-m", *command],
            cwd=service,
            env=environ,
            stdout=stream,
            stderr=stream,
        )
        try:
            ids = _drive(f"http://127.0.0.1:{port}", process, log)
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(60)
    lines: list[dict[str, Any]] = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(line["id"] for line in lines) == sorted(ids)
    assert all("predict_proba" in line["outputs"] for line in lines)
    assert {line["model"] for line in lines} == {"tumour"}
    assert sorted(line["alias"] for line in lines) == sorted(str(i) for i in range(REQUESTS))
    assert "Traceback" not in log.read_text()


def _worker_class() -> str:
    """Return the worker that is a package of its own since uvicorn deprecated the one it has."""
    if find_spec("uvicorn_worker") is None:
        return "uvicorn.workers.UvicornWorker"
    return "uvicorn_worker.UvicornWorker"


def _drive(url: str, process: subprocess.Popen[bytes], log: Path) -> list[str]:
    row = [float(i) for i in range(30)]
    deadline = time.monotonic() + 60
    while True:
        try:
            assert httpx.get(f"{url}/health", timeout=5).status_code == 200
            break
        except httpx.TransportError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
    ids = []
    for i in range(REQUESTS):
        # A connection each, so that both workers get some.
        answer = httpx.post(
            url + ("/predict", "/predict/async")[i % 2],
            json=[row] * (1 + i % 3),
            headers={"x-request-id": str(i)},
            timeout=30,
        )
        assert answer.status_code == 200
        assert len(answer.json()["predictions"]) == 1 + i % 3
        ids.append(answer.headers["x-prediction-id"])
    return ids
