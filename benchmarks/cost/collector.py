"""Run as a process: an OTLP/HTTP endpoint that keeps requests as bytes, and tells of them.

It says its address on its first line of output. For every line of input it answers with one line of
JSON. It is a process of its own so that what it costs is not the application's.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

__all__ = ["Collector"]

ROOT: Final = Path(__file__).resolve().parents[2]
METRICS: Final = "/v1/metrics"


class Collector:
    """The process; a context manager."""

    def __enter__(self) -> Collector:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.cost.collector"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.endpoint = self._process.stdout.readline().strip()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.__exit__(kind, error, trace)  # closes its pipes and waits

    def ask(self) -> dict[str, Any]:
        """Return what came so far: ``requests``, the ``last`` one's sizes, latest ``totals``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("tell\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


class _Kept:
    """Bodies by path, as they came."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.bodies: list[tuple[str, bytes, str]] = []

    def tell(self) -> dict[str, Any]:
        with self.lock:
            held = [(b, e) for path, b, e in self.bodies if path == METRICS]
            paths = [path for path, _, _ in self.bodies]
        totals: dict[str, float] = {}
        last: dict[str, Any] = {}
        for body, encoding in held:
            raw = gzip.decompress(body) if encoding == "gzip" else body
            last = {"sent": len(body), "encoding": encoding, "raw": len(raw)}
            last["gzip"] = len(_packed(raw))
            request = ExportMetricsServiceRequest.FromString(raw)
            last["metrics"] = _sizes(request)
            totals |= _totals(request)
        return {"requests": {p: paths.count(p) for p in set(paths)}, "last": last, "totals": totals}


def _sizes(request: ExportMetricsServiceRequest) -> dict[str, dict[str, int]]:
    """Return points and bytes of every metric, as if a request held it alone."""
    found: dict[str, dict[str, int]] = {}
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                alone = ExportMetricsServiceRequest()
                held = alone.resource_metrics.add(resource=resource.resource)
                held.scope_metrics.add(scope=scope.scope).metrics.append(metric)
                raw = alone.SerializeToString()
                points = len(getattr(metric, metric.WhichOneof("data")).data_points)
                sizes = {"points": points, "raw": len(raw), "gzip": len(_packed(raw))}
                found[metric.name] = sizes
    return found


def _packed(raw: bytes) -> bytes:
    return gzip.compress(raw, mtime=0)


def _totals(request: ExportMetricsServiceRequest) -> dict[str, float]:
    """Return the sum over the points of every sum and gauge, by metric."""
    found: dict[str, float] = {}
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                points = getattr(metric, metric.WhichOneof("data")).data_points
                if metric.WhichOneof("data") in ("sum", "gauge"):
                    found[metric.name] = sum(p.as_int or p.as_double for p in points)
    return found


def main() -> None:
    kept = _Kept()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            with kept.lock:
                kept.bodies.append((self.path, body, self.headers.get("content-encoding", "")))
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    for _ in sys.stdin:
        print(json.dumps(kept.tell()), flush=True)
    server.shutdown()


if __name__ == "__main__":
    main()
