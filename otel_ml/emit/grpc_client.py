"""OTLP over gRPC: one request in, one answer out, through the stubs of opentelemetry-proto."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub

from otel_ml.emit.destination import Destination
from otel_ml.emit.transport import (
    ANSWER_BYTES,
    USER_AGENT,
    Answer,
    Request,
    credentials,
    read_response,
)

__all__ = ["GrpcClient"]

_RETRYABLE: Final = frozenset(
    {
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
    }
)
_OVERSIZE: Final = re.compile("larger than max|exceeds maximum size|too large", re.IGNORECASE)
_OURS: Final = "CLIENT: "  # gRPC says so where the limit was that of this end
_MESSAGE_CHARACTERS: Final = 500  # long enough for the reason, which comes last
_STATUS: Final = "grpc-status-details-bin"
_RETRY_INFO: Final = "google.rpc.retryinfo-bin"
_OPTIONS: Final = (
    ("grpc.primary_user_agent", USER_AGENT),
    ("grpc.max_receive_message_length", ANSWER_BYTES),
    # By default a channel waits up to two minutes before it looks for a receiver again.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)


class GrpcClient:
    """A channel to one OTLP/gRPC endpoint.

    Parameters
    ----------
    destination
        Where and how to send.
    """

    def __init__(self, destination: Destination) -> None:
        compression = grpc.Compression.NoCompression
        if destination.compression == "gzip":
            compression = grpc.Compression.Gzip
        if destination.insecure:
            channel = grpc.insecure_channel(
                destination.endpoint, options=_OPTIONS, compression=compression
            )
        else:
            channel = grpc.secure_channel(
                destination.endpoint,
                _credentials(destination),
                options=_OPTIONS,
                compression=compression,
            )
        self._channel = channel
        self._metadata = destination.headers
        stub = MetricsServiceStub if destination.signal == "metrics" else LogsServiceStub
        self._export: Any = stub(channel).Export

    def send(self, request: Request, timeout: float) -> Answer:
        """Call Export."""
        try:
            response = self._export(request, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            return _failure(error)
        except ValueError as error:  # A closed channel, or a header gRPC does not take.
            return Answer("failed", message=f"ValueError: {error}")
        return read_response(response)

    def close(self) -> None:
        """Close the channel."""
        with contextlib.suppress(ValueError):
            self._channel.close()


def _failure(error: grpc.RpcError) -> Answer:
    # What a stub raises is a call too, though no public class says so.
    call = cast("grpc.Call", error)
    code = call.code()
    details = call.details() or ""
    message = f"gRPC {code.name}: {details[:_MESSAGE_CHARACTERS]}"
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        if _OVERSIZE.search(details):
            # An answer over the limit is no fault of the request: a smaller one would not help.
            return Answer("failed" if _OURS in details else "too_large", message=message)
        wait = _retry_after(call.trailing_metadata() or ())
        # Without it the receiver says that it will not have room soon.
        return Answer("declined" if wait is None else "retry", message=message, retry_after=wait)
    if code in _RETRYABLE:
        wait = _retry_after(call.trailing_metadata() or ())
        return Answer("retry", message=message, retry_after=wait)
    refused = code is grpc.StatusCode.INVALID_ARGUMENT
    return Answer("refused" if refused else "failed", message=message)


def _retry_after(trailers: Iterable[tuple[str, str | bytes]]) -> float | None:
    """Return the seconds a receiver asks to wait, in the standard's trailer or the SDK's own."""
    found: dict[str, float] = {}
    for key, value in trailers:
        if key not in (_STATUS, _RETRY_INFO) or not isinstance(value, bytes):
            continue
        # Whatever is wrong with a trailer, it is as good as none.
        with contextlib.suppress(DecodeError):
            info = RetryInfo()
            if key == _RETRY_INFO:
                info.ParseFromString(value)
            else:
                for detail in Status.FromString(value).details:
                    if detail.Is(RetryInfo.DESCRIPTOR):
                        detail.Unpack(info)
            if info.HasField("retry_delay"):
                delay = info.retry_delay
                found[key] = max(delay.seconds + delay.nanos / 1e9, 0.0)
    return found.get(_STATUS, found.get(_RETRY_INFO))


def _credentials(destination: Destination) -> grpc.ChannelCredentials:
    if destination.credentials is not None:
        supplied = credentials(destination.credentials, grpc.ChannelCredentials)
        assert isinstance(supplied, grpc.ChannelCredentials)
        return supplied
    return grpc.ssl_channel_credentials(
        root_certificates=_read(destination.certificate),
        private_key=_read(destination.client_key),
        certificate_chain=_read(destination.client_certificate),
    )


def _read(path: str | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()
