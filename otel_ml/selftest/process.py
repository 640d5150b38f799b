"""An environment in, the throw-away application as a process, what it says, and its end out."""

from __future__ import annotations

import atexit
import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from otel_ml.errors import OtelMlError
from otel_ml.selftest.server import LEDGER, LOG

__all__ = ["INTERVAL", "Application", "SelftestError", "environment", "kill_all"]

INTERVAL: Final = 0.5  # seconds between two exports
# Guards against hanging, in seconds.
_START, _REPLY, _KILLED = 60.0, 60.0, 10.0

_alive: set[Application] = set()
_lock = threading.Lock()


class SelftestError(OtelMlError):
    """The self-test could not do what it wanted to."""


def environment(endpoint: str | None, **more: str) -> dict[str, str]:
    """Return the variables of an application: the user's without theirs of OpenTelemetry.

    Parameters
    ----------
    endpoint
        Where telemetry goes; None where there is none.
    more
        Further variables.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not (name.startswith("OTEL_") or name.lower().endswith("_proxy"))
    }
    ours = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    if endpoint is not None:
        ours |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_METRIC_EXPORT_INTERVAL": f"{INTERVAL * 1000:.0f}",
            "OTEL_SERVICE_NAME": "otel-ml-selftest",
            "OTEL_ML_LEARN_ROWS": "200",
        }
    return {**kept, **ours, **more}


class Application:
    """One process of the application; leads a group of its own.

    Parameters
    ----------
    folder
        Its working directory, empty; made here.
    watched
        Whether otel-ml is in it.
    environ
        Its variables.
    estimator
        Whether it serves a model of scikit-learn.
    """

    def __init__(
        self,
        folder: Path,
        *,
        watched: bool,
        environ: Mapping[str, str],
        estimator: bool = False,
    ) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.watched = watched
        options = ["--watched"] * watched + ["--estimator"] * estimator
        command = [sys.executable, "-m", "otel_ml.selftest.server", str(folder), *options]
        self._output = (folder / "output.txt").open("wb")
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._output,
            start_new_session=True,
        )
        with _lock:
            _alive.add(self)
        self._control: http.client.HTTPConnection | None = None
        self._port: int | None = None

    @property
    def port(self) -> int:
        """Where it answers; waits until it does.

        Raises
        ------
        SelftestError
            It ended while it started, or does not get ready.
        """
        if self._port is None:
            self._port = self._ready()
        return self._port

    def ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Have something done in the process, over a connection that is kept.

        Raises
        ------
        SelftestError
            It does not answer, or failed.
        """
        if self._control is None:
            self._control = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_REPLY)
        try:
            code, reply = post(self._control, f"/control/{operation}", arguments)
        except (OSError, http.client.HTTPException) as error:
            self._control.close()
            self._control = None
            raise SelftestError(
                f"the application does not answer ({operation}: {type(error).__name__})",
                remedy="its output and log are in the folder of --keep",
            ) from error
        answer: dict[str, Any] = json.loads(reply)
        if code != 200:
            raise SelftestError(
                f"{operation} failed in the application: {answer.get('error')}",
                remedy="its output and log are in the folder of --keep",
            )
        return answer

    def messages(self) -> list[dict[str, Any]]:
        """Return what otel-ml has logged in it."""
        path = self.folder / LOG
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]

    def output(self) -> str:
        """Return what it wrote to standard error."""
        return (self.folder / "output.txt").read_text(encoding="utf-8", errors="replace")

    def ledger(self) -> int | None:
        """Return how many predictions it says to have made, once it ended in order."""
        path = self.folder / LEDGER
        return int(json.loads(path.read_text())["given"]) if path.exists() else None

    def send(self, number: int) -> None:
        """Send a signal to the process itself."""
        self.process.send_signal(number)

    def ended(self, timeout: float) -> bool:
        """Wait for its end; return whether it came."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """Kill it and all it has forked, and reap it."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        elif self.process.poll() is None:
            self.process.kill()
        self.process.wait(_KILLED)
        for pipe in (self.process.stdin, self.process.stdout, self._output):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        with _lock:
            _alive.discard(self)

    def _ready(self) -> int:
        said_first: list[bytes] = []
        stdout = self.process.stdout
        assert stdout is not None
        # A thread, since not every system can wait for a pipe.
        reader = threading.Thread(target=lambda: said_first.append(stdout.readline()), daemon=True)
        reader.start()
        reader.join(_START)
        line = said_first[0] if said_first else b""
        if not line.endswith(b"\n"):
            said = self.output().strip().splitlines()[-5:]
            raise SelftestError(
                "the application did not start: " + ("\n".join(said) or "it says nothing"),
                remedy="correct what it says; otel-ml doctor checks the installation",
            )
        return int(json.loads(line)["port"])


def post(connection: http.client.HTTPConnection, path: str, body: Any) -> tuple[int, bytes]:
    """Send one request over a connection; return status and body."""
    headers = {"content-type": "application/json"}
    connection.request("POST", path, json.dumps(body), headers)
    response = connection.getresponse()
    return response.status, response.read()


def kill_all() -> None:
    """Kill every application that is still there."""
    with _lock:
        left = tuple(_alive)
    for application in left:
        application.kill()


atexit.register(kill_all)  # whatever way out was taken
