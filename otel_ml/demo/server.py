"""The served model: in, a work folder with a trained model; out, an instrumented server process."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sysconfig
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final

from otel_ml.demo.data import example_folder
from otel_ml.demo.faults import LATENCY_MS, STORE_MS, Fault
from otel_ml.demo.workspace import Paths, ServerError, environment, tail

__all__ = ["Server"]

EXPORT_INTERVAL_MS: Final = 1000
# Guards against hanging, in seconds.
START_LIMIT, STOP_LIMIT, REQUEST_LIMIT = 60.0, 15.0, 30.0
# The feature store's file is read every 50 ms at most.
STORE_REREAD: Final = 0.1


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
                env=environment(self._variables()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the demo, which then stops the server in order.
                start_new_session=True,
            )
        try:
            self._wait_until_ready()
            self._store_takes(STORE_MS)
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

    def output(self) -> str:
        """Return the end of the server's output."""
        return tail(self.paths.log.read_text(errors="replace"))

    def begin(self, fault: Fault) -> None:
        """Roll out the bad model, or slow the feature store down, if that is the fault's action."""
        if fault.action == "roll_out":
            self._roll_out(self.paths.bad_model)
        elif fault.action == "slow_down":
            self._store_takes(STORE_MS + LATENCY_MS)

    def end(self, fault: Fault) -> None:
        """Undo it."""
        if fault.action == "roll_out":
            self._roll_out(self.paths.root / "model-v1.joblib")
        elif fault.action == "slow_down":
            self._store_takes(STORE_MS)

    def _roll_out(self, model: Path) -> None:
        arriving = self.paths.root / "model.joblib.new"
        arriving.write_bytes(model.read_bytes())
        arriving.replace(self.paths.model)
        status = self._request("POST", "/reload")
        if status != 200:
            raise ServerError(
                f"POST /reload was answered with {status}:\n{self.output()}",
                remedy="Read the server's output above.",
            )

    def _store_takes(self, milliseconds: float) -> None:
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
                    f"the server ended while it started:\n{self.output()}",
                    remedy="Read the server's output above.",
                )
            try:
                if self._request("GET", "/health") == 200:
                    return
            except OSError:
                time.sleep(0.1)
        raise ServerError(
            f"the server did not answer within {START_LIMIT:.0f} s:\n{self.output()}",
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
