"""``python -m otel_ml.selftest.server``: in, a folder; out, the throw-away application on a port.

It says its port on standard output. It ends like any server at SIGTERM: no new request is taken,
those at work are answered, and the interpreter exits. It ends at once when its standard input does,
so that nothing is left of it when the self-test is killed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Final

from otel_ml.selftest.app import COLUMNS, App

__all__ = ["LEDGER", "LOG", "main"]

LOG: Final = "log.jsonl"
LEDGER: Final = "ledger.json"
_OPERATIONS: Final = (
    "state",
    "timings",
    "flush",
    "odd",
    "poison",
    "burst",
    "stall",
    "kill_worker",
    "fork",
)


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m otel_ml.selftest.server")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--watched", action="store_true")
    parser.add_argument("--estimator", action="store_true")
    arguments = parser.parse_args()
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    logging.getLogger().addHandler(_LogFile(arguments.folder / LOG))
    logging.getLogger().setLevel(logging.INFO)
    app = _app(arguments.watched, arguments.estimator)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"app": app}))

    def stop(*_: object) -> None:
        threading.Thread(target=server.shutdown, name="stop").start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the self-test
    print(json.dumps({"port": server.server_address[1]}), flush=True)
    server.serve_forever(0.02)
    server.end()
    (arguments.folder / LEDGER).write_text(json.dumps({"given": app.given}), encoding="utf-8")


def _app(watched: bool, estimator: bool) -> App:
    if not watched:
        model = _trained() if estimator else None
        return App(lambda **_: None, lambda _: True, model)
    from otel_ml import pipeline

    if not estimator:
        return App(pipeline.observe, pipeline.flush)
    from otel_ml.capture.sklearn import SklearnInstrumentor

    SklearnInstrumentor().instrument()
    return App(pipeline.observe, pipeline.flush, _trained())


def _trained() -> Any:
    from otel_ml.selftest.estimator import trained

    return trained(COLUMNS, seed=0)


def _end_with_parent() -> None:
    while os.read(0, 4096):  # not `sys.stdin`: its lock would abort an exit of the interpreter
        pass
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)  # the group it leads: forked children as well
    os._exit(3)


class _LogFile(logging.Handler):
    """Writes one JSON object per record of otel-ml."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        if record.name.partition(".")[0] != "otel_ml":
            return
        line = {
            "at": time.time(),
            "level": record.levelname,
            "text": record.getMessage(),
        }
        self._file.write(json.dumps(line) + "\n")


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def end(self) -> None:
        """Read no further request, and wait until those at work are answered."""
        for connection in tuple(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that have gone; errors of the application are in its books."""


class _Handler(BaseHTTPRequestHandler):
    app: ClassVar[App]
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_POST(self) -> None:
        """Answer a prediction, or do what the self-test wants done in this process."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        name = self.path.rpartition("/")[2]
        try:
            if name == "predict":
                answer: Any = self.app.predict(body["rows"])
            elif name in _OPERATIONS:
                answer = getattr(self.app, name)(**body)
            else:
                raise LookupError(self.path)
        except BaseException as error:
            self._reply(500, {"error": f"{type(error).__name__}: {str(error)[:200]}"})
            return
        self._reply(200, answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Write no access log to standard error."""

    def _reply(self, code: int, answer: Any) -> None:
        body = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


if __name__ == "__main__":
    main()
