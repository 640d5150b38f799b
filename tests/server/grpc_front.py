"""OTLP over gRPC in, the same requests over HTTP to a receiver out: a gRPC door for `Receiver`."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import grpc

from otel_ml.emit import Receiver

__all__ = ["grpc_front"]

_SERVICES = {"metrics": "Metrics", "logs": "Logs", "trace": "Trace"}


@contextmanager
def grpc_front(receiver: Receiver) -> Iterator[str]:
    """Run a gRPC server with the three OTLP services before a receiver; yield its endpoint."""
    address = urlsplit(receiver.endpoint).netloc

    def passing(path: str) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        def export(body: bytes, context: grpc.ServicerContext) -> bytes:
            connection = http.client.HTTPConnection(address, timeout=30)
            try:
                connection.request("POST", path, body, {"content-type": "application/x-protobuf"})
                answer = connection.getresponse()
                taken = answer.read()
            finally:
                connection.close()
            if answer.status != 200:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, taken.decode())
            return taken

        return export

    server = grpc.server(ThreadPoolExecutor(4))
    for package, name in _SERVICES.items():
        path = f"/v1/{'traces' if package == 'trace' else package}"
        handler: Any = grpc.unary_unary_rpc_method_handler(passing(path))
        service = f"opentelemetry.proto.collector.{package}.v1.{name}Service"
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {"Export": handler}),)
        )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(0).wait()
