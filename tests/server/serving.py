"""A mode of serving in, the example service under it as a process, its answers, and its end out.

The service is `examples/serving` as it is, under `opentelemetry-instrument`, with the reference
that `otel-ml init` makes of the data its model was trained on.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

EXAMPLE: Final = Path(__file__).resolve().parents[2] / "examples" / "serving"
SCRIPTS: Final = Path(sys.executable).parent
# Guards against hanging, in seconds; not measures of speed.
TRAIN_LIMIT, START_LIMIT, STOP_LIMIT, REQUEST_LIMIT = 120, 90, 60, 60
COLUMNS: Final = 30
THREADS: Final = 4
SENSITIVE: Final = "mean radius"

Rows = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Mode:
    """A way to serve the application.

    Parameters
    ----------
    command
        Program and arguments; ``{port}`` stands for the port.
    workers
        Processes that answer.
    by_hand
        The application turns otel-ml on by itself, without `opentelemetry-instrument`.
    """

    command: tuple[str, ...]
    workers: int
    by_hand: bool = False


_WORKER: Final = (
    "uvicorn.workers.UvicornWorker"
    if importlib.util.find_spec("uvicorn_worker") is None
    else "uvicorn_worker.UvicornWorker"  # a package of its own since uvicorn deprecated the other
)
_UVICORN: Final = ("uvicorn", "app:app", "--port", "{port}", "--no-access-log")
_GUNICORN: Final = ("gunicorn", "app:app", "-b", "127.0.0.1:{port}", "-w", "2", "-k", _WORKER)
ONE_PROCESS: Final = Mode(_UVICORN, 1)
MODES: Final[Mapping[str, Mode]] = {
    "uvicorn": ONE_PROCESS,
    "uvicorn-workers": Mode((*_UVICORN, "--workers", "2"), 2),
    "gunicorn": Mode(_GUNICORN, 2),
    "gunicorn-preload": Mode((*_GUNICORN, "--preload"), 2),
}
WITHOUT_LIFESPAN: Final = Mode((*_UVICORN, "--lifespan", "off"), 1)


@dataclass(frozen=True)
class Answer:
    """What the service said to one request.

    Parameters
    ----------
    status
        Status of the response.
    ids
        Values of all ``x-prediction-id`` headers of the response.
    predictions
        Classes, one per row; none where the request failed.
    rows
        Number of rows that were sent.
    pid
        Process that answered, where it says so.
    """

    status: int
    ids: tuple[str, ...]
    predictions: tuple[int, ...]
    rows: int
    pid: int | None = None

    @property
    def row_ids(self) -> list[str]:
        """Id under which the label of each row may come."""
        (base,) = self.ids
        return [base] if self.rows == 1 else [f"{base}-{i}" for i in range(self.rows)]


@dataclass(frozen=True)
class Service:
    """The application with its trained model, data and reference, in a folder of its own.

    Parameters
    ----------
    folder
        Where it is.
    features, labels
        The data its model was trained on.
    """

    folder: Path
    features: list[list[float]]
    labels: list[int]


def make_service(folder: Path) -> Service:
    """Copy the example, train its model and build a reference with `otel-ml init`."""
    import joblib
    import pyarrow as pa
    import pyarrow.parquet as pq
    from sklearn.datasets import load_breast_cancer

    for name in ("app.py", "train.py"):
        shutil.copy(EXAMPLE / name, folder)
    run([sys.executable, "train.py"], folder)
    data = load_breast_cancer()
    columns = {str(name): data.data[:, i] for i, name in enumerate(data.feature_names)}
    columns["p"] = joblib.load(folder / "tumour.joblib").predict_proba(data.data)[:, 1]
    pq.write_table(pa.table({**columns, "y": data.target}), folder / "train.parquet")
    options = ["--score", "p", "--label", "y", "--sensitive", SENSITIVE, "--model", "tumour"]
    options += ["--false-incidents", "1/100000rows"]
    run([str(SCRIPTS / "otel-ml"), "init", "--reference", "train.parquet", *options], folder)
    return Service(folder, data.data.tolist(), data.target.tolist())


def run(command: Sequence[str], folder: Path, **environ: str) -> str:
    """Run a command to its end and return what it printed; it must succeed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(environ),
        capture_output=True,
        text=True,
        timeout=TRAIN_LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a child process: ours without those of OpenTelemetry, and `more`."""
    kept = {
        k: v
        for k, v in os.environ.items()
        if not (k.startswith("OTEL_") or k.lower().endswith("_proxy"))
    }
    return {**kept, "OMP_NUM_THREADS": "1", **more}


def settings(service: Service, state: Path) -> dict[str, str]:
    """Return the variables that every server here is given, whatever it exports to."""
    return {
        "OTEL_ML_CONFIG_FILE": str(service.folder / "otel-ml.yaml"),
        "OTEL_ML_STATE_DIR": str(state),
    }


def exporting(endpoint: str, protocol: str = "http/protobuf") -> dict[str, str]:
    """Return the variables that send all three signals to an endpoint, soon."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_TRACES_EXPORTER": "otlp",
        # uvicorn ends without `atexit`, so the SDK's spans are only those exported before
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
    }


class Server:
    """The service under `opentelemetry-instrument`; made by `serving`.

    Parameters
    ----------
    process
        Leader of a process group of its own.
    port
        Where it answers.
    log
        What all its processes print.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log

    def request(self, method: str, path: str, body: object = None) -> Answer:
        """Send one request over a connection of its own, so that any worker may get it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_LIMIT)
        with contextlib.closing(connection):
            connection.request(method, path, json.dumps(body), {"content-type": "application/json"})
            response = connection.getresponse()
            text = response.read()
            ids = tuple(v for k, v in response.getheaders() if k.lower() == "x-prediction-id")
        said: dict[str, Any] = {"predictions": []}
        if path.startswith("/predict") and response.status == 200:
            said = json.loads(text)
        rows = len(body) if isinstance(body, list) else 0
        return Answer(response.status, ids, tuple(said["predictions"]), rows, said.get("pid"))

    def predict(self, batches: Sequence[Rows]) -> list[Answer]:
        """Send a request for each batch from several threads; return the answers in order."""

        def one(numbered: tuple[int, Rows]) -> Answer:
            number, batch = numbered
            path = "/predict/async" if number % 2 else "/predict"
            return self.request("POST", path, [list(row) for row in batch])

        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(one, enumerate(batches)))

    def stop(self) -> None:
        """End it as an orchestrator does, with SIGTERM to the first process, and wait."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(STOP_LIMIT)

    def output(self) -> str:
        """Return what its processes printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")


@contextlib.contextmanager
def serving(
    mode: Mode, service: Service, work: Path, environ: Mapping[str, str]
) -> Iterator[Server]:
    """Start the service and wait until it answers; nothing of it is left behind.

    Parameters
    ----------
    mode
        How to serve.
    service
        What to serve.
    work
        Folder for the log.
    environ
        Variables of the server.
    """
    for last_try in (False, False, True):
        server = _start(mode, service, work, environ)
        try:
            if _ready(server):
                yield server
                return
            # Between choosing a free port and using it, somebody else may take it.
            taken = re.search("(address already|connection) in use", server.output().lower())
            assert taken, server.output()
            assert not last_try, server.output()
        finally:
            _clean_up(server.process)


def _start(mode: Mode, service: Service, work: Path, environ: Mapping[str, str]) -> Server:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    program, *arguments = (part.format(port=port) for part in mode.command)
    log = work / "server.log"
    instrument = [] if mode.by_hand else [str(SCRIPTS / "opentelemetry-instrument")]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*instrument, str(SCRIPTS / program), *arguments],
            cwd=service.folder,
            env=environment(environ),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Server(process, port, log)


def _ready(server: Server) -> bool:
    deadline = time.monotonic() + START_LIMIT
    while server.process.poll() is None:
        try:
            assert server.request("GET", "/health").status == 200, server.output()
            return True
        except OSError:
            assert time.monotonic() < deadline, server.output()
            time.sleep(0.1)
    return False


def _clean_up(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # the group it leads: its workers as well
    process.wait(STOP_LIMIT)
