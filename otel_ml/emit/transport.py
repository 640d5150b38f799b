"""One OTLP request in, one answer out; the two protocols implement the same `Client`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Final, Literal, Protocol, TypeAlias

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from otel_ml._version import __version__
from otel_ml.emit.destination import Destination

__all__ = [
    "ANSWER_BYTES",
    "USER_AGENT",
    "Answer",
    "Client",
    "Request",
    "Response",
    "connect",
    "credentials",
    "preload",
    "read_response",
]

ANSWER_BYTES: Final = 64 * 1024
USER_AGENT = f"otel-ml/{__version__}"
Request: TypeAlias = ExportMetricsServiceRequest | ExportLogsServiceRequest
Response: TypeAlias = ExportMetricsServiceResponse | ExportLogsServiceResponse


@dataclass(frozen=True, slots=True)
class Answer:
    """What the receiver made of one request.

    Parameters
    ----------
    status
        ``accepted`` (wholly or in part), ``refused`` (what was sent is at fault, and sending it
        again cannot help), ``too_large`` (so is its size), ``declined`` (the receiver has no room
        and does not want it again), ``retry`` (may work soon) or ``failed`` (will not work until
        something is changed).
    rejected
        Points or records that an accepted request lost.
    message
        What the receiver, or the network, said.
    retry_after
        Seconds the receiver asked to wait, or None.
    """

    status: Literal["accepted", "refused", "too_large", "declined", "retry", "failed"]
    rejected: int = 0
    message: str = ""
    retry_after: float | None = None


class Client(Protocol):
    """A connection to one destination, used by one thread at a time in one process.

    No answer is read beyond `ANSWER_BYTES`: a receiver cannot fill this process with it.
    """

    def send(self, request: Request, timeout: float) -> Answer:
        """Send a request and wait for the answer, `timeout` seconds at most."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


def preload(destination: Destination) -> None:
    """Import what `connect` and its client will need, so that no other thread has to.

    A module that another thread is half-way through importing at a fork stays so in the child.
    """
    "localhost".encode("idna")  # a look-up of a name does so
    if destination.protocol == "grpc":
        import otel_ml.emit.grpc_client  # noqa: F401
    else:
        from otel_ml.emit import http_client

        http_client.preload(destination)


def connect(destination: Destination) -> Client:
    """Return a client for the destination; only the library of its protocol is loaded.

    Raises
    ------
    OSError
        A certificate or key file cannot be read.
    LookupError
        The credential provider is not installed.
    """
    if destination.protocol == "grpc":
        from otel_ml.emit.grpc_client import GrpcClient

        return GrpcClient(destination)
    from otel_ml.emit.http_client import HttpClient

    return HttpClient(destination)


def credentials(name: str, kind: type) -> object:
    """Load what a credential provider supplies.

    Parameters
    ----------
    name
        Entry point of the group ``opentelemetry_otlp_credential_provider``.
    kind
        What it must supply.
    """
    found: Iterable[object] = entry_points(
        group="opentelemetry_otlp_credential_provider", name=name
    )
    for point in found:
        supplied: object = point.load()()  # type: ignore[attr-defined]  # EntryPoint
        if not isinstance(supplied, kind):
            raise LookupError(f"credential provider {name!r} supplies no {kind.__name__}")
        return supplied
    raise LookupError(f"credential provider {name!r} is not installed")


def read_response(response: Response) -> Answer:
    """Read whether an accepted request was accepted in whole."""
    partial = response.partial_success
    if hasattr(partial, "rejected_data_points"):
        rejected = partial.rejected_data_points
    else:
        rejected = partial.rejected_log_records
    return Answer("accepted", max(int(rejected), 0), partial.error_message)
