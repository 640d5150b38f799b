"""OTLP over HTTP with protobuf: one request in, one answer out.

The official exporter has no public way to see a partial success or to be given a deadline, hence
this client. It is built on the same libraries, so proxies, trust stores and credential providers
work the same.
"""

from __future__ import annotations

import gzip
import math
import os
import sys
import time
import zlib
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)

from otel_ml.emit.destination import Destination
from otel_ml.emit.http_channel import Broken, Channel, Incoming
from otel_ml.emit.transport import (
    ANSWER_BYTES,
    USER_AGENT,
    Answer,
    Request,
    Response,
    read_response,
)

__all__ = ["HttpClient"]

_RETRYABLE: Final = frozenset({429, 502, 503, 504})
_REFUSED: Final = frozenset({400, 415, 422})
_TOO_LARGE: Final = 413
_MESSAGE_BYTES: Final = 200
_OBEYED: Final = frozenset({"http_proxy", "https_proxy", "all_proxy", "netrc"})  # in lower case


class HttpClient:
    """A session with one OTLP/HTTP endpoint.

    Parameters
    ----------
    destination
        Where and how to send.
    """

    def __init__(self, destination: Destination) -> None:
        headers = {"content-type": "application/x-protobuf", "user-agent": USER_AGENT}
        headers.update(destination.headers)
        if destination.compression != "none":
            headers["content-encoding"] = destination.compression
        self._channel = channel(destination)
        self._headers = headers
        self._destination = destination

    def send(self, request: Request, timeout: float) -> Answer:
        """Post the request; redirects are not followed."""
        deadline = time.monotonic() + timeout
        body = _compressed(request.SerializeToString(), self._destination.compression)
        try:
            with self._channel.post(body, self._headers, timeout) as incoming:
                return self._read(incoming, deadline)
        except Broken as error:
            return Answer(error.status, message=str(error))

    def close(self) -> None:
        """Close the pooled connections."""
        self._channel.close()

    def _read(self, incoming: Incoming, deadline: float) -> Answer:
        code = incoming.status
        accepted = 200 <= code < 300
        body = bytearray()
        for piece in incoming.pieces:
            body += piece
            if not accepted and len(body) >= _MESSAGE_BYTES:
                break
            if len(body) > ANSWER_BYTES:
                return Answer("failed", message=f"the answer is over {ANSWER_BYTES} bytes")
            if time.monotonic() > deadline:
                return Answer("retry", message="the answer did not arrive in time")
        if accepted:
            return self._accepted(bytes(body), incoming.headers.get("content-type", ""))
        message = f"HTTP {code} {incoming.reason}: {bytes(body).decode('utf-8', 'replace')}"
        if code in _RETRYABLE:
            return Answer("retry", message=message, retry_after=_retry_after(incoming.headers))
        if code == _TOO_LARGE:
            return Answer("too_large", message=message)
        return Answer("refused" if code in _REFUSED else "failed", message=message)

    def _accepted(self, body: bytes, content_type: str) -> Answer:
        answer: Response
        if self._destination.signal == "metrics":
            answer = ExportMetricsServiceResponse()
        else:
            answer = ExportLogsServiceResponse()
        if "json" in content_type:
            understood = _parsed(body, answer)
        else:
            try:
                answer.ParseFromString(body)
                understood = True
            except DecodeError:
                understood = False
        if not understood:
            kind = content_type or "no content type"
            return Answer("failed", message=f"the answer ({kind}) is not OTLP; is it a receiver?")
        return read_response(answer)


def channel(destination: Destination) -> Channel:
    """Return connections to an endpoint; only the library that it needs is loaded."""
    if _needs_session(destination):
        from otel_ml.emit.http_session import SessionChannel

        return SessionChannel(destination)
    from otel_ml.emit.http_pool import PoolChannel

    return PoolChannel(destination)


def preload(destination: Destination) -> None:
    """Import what `channel` will need."""
    if _needs_session(destination):
        import otel_ml.emit.http_session
    else:
        import otel_ml.emit.http_pool  # noqa: F401


def _needs_session(destination: Destination) -> bool:
    """Say whether an endpoint may need what `requests` knows beyond `urllib3`."""
    try:
        url = urlsplit(destination.endpoint)
    except ValueError:
        return True  # it tells best what is wrong
    return (
        destination.credentials is not None
        or url.scheme not in ("http", "https")
        or "@" in url.netloc
        or sys.platform in ("darwin", "win32")  # where the system has settings for proxies
        or any(value and name.lower() in _OBEYED for name, value in os.environ.items())
        or any(Path("~", name).expanduser().is_file() for name in (".netrc", "_netrc"))
    )


def _parsed(body: bytes, answer: Response) -> bool:
    """Read an answer in JSON; say whether it was one."""
    from google.protobuf.json_format import Parse, ParseError

    try:
        Parse(body, answer, ignore_unknown_fields=True)
    except (ParseError, UnicodeDecodeError):
        return False
    return True


def _compressed(payload: bytes, compression: str) -> bytes:
    if compression == "gzip":
        return gzip.compress(payload, mtime=0)
    if compression == "deflate":
        return zlib.compress(payload)
    return payload


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
