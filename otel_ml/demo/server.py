"""The served model: in, a work folder; out, a trained, configured, instrumented server process."""

from __future__ import annotations

import http.client
import importlib.metadata
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import yaml

from otel_ml.demo.data import example_folder
from otel_ml.demo.faults import LATENCY_MS, Fault
from otel_ml.demo.reference import MODEL_NAME, SENSITIVE
from otel_ml.errors import OtelMlError

__all__ = ["BUDGET", "Paths", "Server", "ServerError", "check_installed", "train", "write_config"]

BUDGET: Final[dict[str, Any]] = {"false_incidents": 1, "per": "100000rows"}
MIN_EFFECT: Final = 0.06
EXPORT_INTERVAL_MS: Final = 1000
# Guards against hanging, in seconds.
TRAIN_LIMIT, START_LIMIT, STOP_LIMIT, REQUEST_LIMIT = 180.0, 60.0, 15.0, 30.0
# The feature store's file is read every 50 ms at most.
STORE_REREAD: Final = 0.1


class ServerError(OtelMlError):
    """Training, or the server, failed; the end of its output is in the message."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Where things are in the work folder.

    Parameters
    ----------
    root
        The work folder.
    """

    root: Path

    @property
    def state(self) -> Path:
        """Private folder for labels and commands."""
        return self.root / "state"

    @property
    def config(self) -> Path:
        """Configuration of otel-ml."""
        return self.root / "otel-ml.yaml"

    @property
    def reference(self) -> Path:
        """Profile of the training data."""
        return self.root / "reference.json"

    @property
    def training(self) -> Path:
        """Table of the training data."""
        return self.root / "training.npz"

    @property
    def model(self) -> Path:
        """The model file that is served."""
        return self.root / "model.joblib"

    @property
    def bad_model(self) -> Path:
        """The version that should not have been rolled out."""
        return self.root / "model-v2.joblib"

    @property
    def latency(self) -> Path:
        """Latency of the simulated feature store, milliseconds."""
        return self.root / "feature-store-latency-ms"

    @property
    def log(self) -> Path:
        """Output of the server."""
        return self.root / "server.log"

    def prepare(self) -> None:
        """Make the folders, and remove what an earlier run has left."""
        self.root.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.state, ignore_errors=True)
        self.state.mkdir(mode=0o700)
        for path in (self.log, self.latency):
            path.unlink(missing_ok=True)


def check_installed() -> None:
    """Refuse to start where something is missing.

    Raises
    ------
    ServerError
        The ``[demo]`` extra, or the package itself, is not installed in this environment.
    """
    wanted = {
        "opentelemetry-distro": "opentelemetry.distro",
        "scikit-learn": "sklearn",
        "fastapi": "fastapi",
        "uvicorn": "uvicorn",
    }
    absent = [name for name, module in wanted.items() if not _importable(module)]
    if absent:
        raise ServerError(
            f"the demo needs {', '.join(absent)}, which this environment lacks",
            remedy="pip install 'otel-ml[demo]'",
        )
    if not importlib.metadata.entry_points(group="opentelemetry_instrumentor", name="ml"):
        raise ServerError(
            "otel-ml can be imported but is not installed, so opentelemetry-instrument cannot find it",
            remedy="pip install 'otel-ml[demo]', or in a clone: pip install -e '.[demo]'",
        )


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def train(paths: Paths, seed: int) -> dict[str, Any]:
    """Train the model in a process of its own; return what it says about itself."""
    command = [sys.executable, str(example_folder() / "train.py"), str(paths.root)]
    done = subprocess.run(
        [*command, "--seed", str(seed)],
        cwd=paths.root,
        env=_environment({}),
        capture_output=True,
        text=True,
        timeout=TRAIN_LIMIT,
        check=False,
    )
    if done.returncode:
        raise ServerError(
            f"training failed:\n{_end(done.stderr)}", remedy="Read the error above."
        )
    (paths.root / "model-v1.joblib").write_bytes(paths.model.read_bytes())
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def write_config(paths: Paths) -> None:
    """Write the configuration: one model, its reference, the budget, the effect floor."""
    settings = {
        "models": [
            {
                "name": MODEL_NAME,
                "reference": paths.reference.name,
                "positive": "1",
                "sensitive": list(SENSITIVE),
            }
        ],
        "budget": BUDGET,
        "min_effect": MIN_EFFECT,
    }
    paths.config.write_text(yaml.safe_dump(settings, sort_keys=False))


@dataclass(slots=True)
class Server:
    """The server under ``opentelemetry-instrument``; a context manager that stops it.

    Parameters
    ----------
    paths
        The work folder, with a trained model and a configuration in it.
    otlp_endpoint
        Base URL to which it exports.
    instrumented
        Whether it runs under ``opentelemetry-instrument``; without, it is the plain application.
    traces
        Whether spans are exported as well.
    """

    paths: Paths
    otlp_endpoint: str
    instrumented: bool = True
    traces: bool = False
    address: tuple[str, int] = ("127.0.0.1", 0)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        """Base URL of the server."""
        return f"http://{self.address[0]}:{self.address[1]}"

    def __enter__(self) -> Server:
        self.address = ("127.0.0.1", _free_port())
        with self.paths.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self.paths.root,
                env=_environment(self._variables()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the demo, which then stops the server in order.
                start_new_session=True,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server as an orchestrator would: SIGTERM, then wait; kill only if it hangs."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def tail(self) -> str:
        """Return the end of the server's output."""
        return _end(self.paths.log.read_text(errors="replace"))

    def begin(self, fault: Fault) -> None:
        """Roll out the bad model, or slow the feature store down, if that is the fault's action."""
        if fault.action == "roll_out":
            self._roll_out(self.paths.bad_model)
        elif fault.action == "slow_down":
            self._slow_down(LATENCY_MS)

    def end(self, fault: Fault) -> None:
        """Undo it."""
        if fault.action == "roll_out":
            self._roll_out(self.paths.root / "model-v1.joblib")
        elif fault.action == "slow_down":
            self._slow_down(0.0)

    def _roll_out(self, model: Path) -> None:
        arriving = self.paths.root / "model.joblib.new"
        arriving.write_bytes(model.read_bytes())
        arriving.replace(self.paths.model)
        status = self._request("POST", "/reload")
        if status != 200:
            raise ServerError(
                f"POST /reload was answered with {status}:\n{self.tail()}",
                remedy="Read the server's output above.",
            )

    def _slow_down(self, milliseconds: float) -> None:
        arriving = self.paths.root / "feature-store-latency-ms.new"
        arriving.write_text(f"{milliseconds:g}")
        arriving.replace(self.paths.latency)
        time.sleep(STORE_REREAD)

    def _command(self) -> list[str]:
        scripts = Path(sysconfig.get_path("scripts"))
        host, port = self.address
        options = ["--host", host, "--port", str(port), "--app-dir", str(example_folder())]
        options += ["--no-access-log", "--log-level", "warning", "--timeout-keep-alive", "30"]
        served = [str(scripts / "uvicorn"), "app:app", *options]
        return [str(scripts / "opentelemetry-instrument"), *served] if self.instrumented else served

    def _variables(self) -> dict[str, str]:
        return {
            "MODEL_PATH": str(self.paths.model),
            "FEATURE_STORE_LATENCY_FILE": str(self.paths.latency),
            "OTEL_SERVICE_NAME": "employment-api",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=demo",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.otlp_endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_METRIC_EXPORT_INTERVAL": str(EXPORT_INTERVAL_MS),
            "OTEL_TRACES_EXPORTER": "otlp" if self.traces else "none",
            "OTEL_ML_STATE_DIR": str(self.paths.state),
            "OTEL_ML_CONFIG_FILE": str(self.paths.config),
        }

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise ServerError(
                    f"the server ended while it started:\n{self.tail()}",
                    remedy="Read the server's output above.",
                )
            try:
                if self._request("GET", "/health") == 200:
                    return
            except OSError:
                time.sleep(0.1)
        raise ServerError(
            f"the server did not answer within {START_LIMIT:.0f} s:\n{self.tail()}",
            remedy="Read the server's output above.",
        )

    def _request(self, method: str, path: str) -> int:
        connection = http.client.HTTPConnection(*self.address, timeout=REQUEST_LIMIT)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            response.read()
            return response.status
        finally:
            connection.close()


def _environment(more: dict[str, str]) -> dict[str, str]:
    # The user's own OTEL_* settings would send the demo's telemetry to their backend.
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    return {
        **kept,
        "OMP_NUM_THREADS": "1",  # more threads for one row only wait for each other
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        **more,
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _end(text: str, lines: int = 25) -> str:
    return "\n".join(text.splitlines()[-lines:])
