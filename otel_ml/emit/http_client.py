"""OTLP over HTTP with protobuf: one request in, one answer out.

The official exporter has no public way to see a partial success or to be given a deadline, hence
this client. It is built on the same library (`requests`), so proxies, trust stores and credential
providers work the same. A provider whose session has an adapter of its own keeps it, and with it
what that adapter makes of deadlines.
"""

from __future__ import annotations

import gzip
import math
import time
import zlib
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

import requests
import requests.adapters
from google.protobuf.json_format import Parse, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from urllib3.util import Timeout

from otel_ml.emit.destination import Destination
from otel_ml.emit.http_deadline import DeadlineAdapter
from otel_ml.emit.transport import (
    ANSWER_BYTES,
    USER_AGENT,
    Answer,
    Request,
    Response,
    credentials,
    read_response,
)

__all__ = ["HttpClient"]

_RETRYABLE: Final = frozenset({429, 502, 503, 504})
_REFUSED: Final = frozenset({400, 415, 422})
_TOO_LARGE: Final = 413
_MESSAGE_BYTES: Final = 200
_ERROR_CHARACTERS: Final = 500  # long enough for the reason, which comes last


class HttpClient:
    """A session with one OTLP/HTTP endpoint.

    Parameters
    ----------
    destination
        Where and how to send.
    """

    def __init__(self, destination: Destination) -> None:
        session: requests.Session
        if destination.credentials is None:
            session = requests.Session()
        else:
            supplied = credentials(destination.credentials, requests.Session)
            assert isinstance(supplied, requests.Session)
            session = supplied
        self._adapter = DeadlineAdapter()
        for prefix, adapter in tuple(session.adapters.items()):
            if type(adapter) is requests.adapters.HTTPAdapter:
                session.mount(prefix, self._adapter)
        if destination.client_certificate is not None:
            key = destination.client_key
            certificate = destination.client_certificate
            session.cert = certificate if key is None else (certificate, key)
        headers = {"content-type": "application/x-protobuf", "user-agent": USER_AGENT}
        headers.update(destination.headers)
        if destination.compression != "none":
            headers["content-encoding"] = destination.compression
        self._session = session
        self._headers = headers
        self._destination = destination

    def send(self, request: Request, timeout: float) -> Answer:
        """Post the request; redirects are not followed."""
        deadline = time.monotonic() + timeout
        self._adapter.until(deadline)
        try:
            with self._session.post(
                self._destination.endpoint,
                data=_compressed(request.SerializeToString(), self._destination.compression),
                headers=self._headers,
                # Of urllib3, since the pair of requests allows connecting and reading each its own.
                timeout=Timeout(total=timeout),  # type: ignore[arg-type]  # passed on as it is
                # Given with the request, since REQUESTS_CA_BUNDLE would win over the session.
                verify=self._destination.certificate,
                allow_redirects=False,
                stream=True,
            ) as response:
                return self._read(response, deadline)
        except requests.exceptions.SSLError as error:
            # A connection that ended in the middle is no verdict on certificates.
            ended = "EOF" in str(error)
            return Answer("retry" if ended else "failed", message=_short(error))
        except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
            return Answer("retry", message=_short(error))
        except (requests.exceptions.RequestException, OSError, ValueError) as error:
            return Answer("failed", message=_short(error))

    def close(self) -> None:
        """Close the pooled connections."""
        self._session.close()

    def _read(self, response: requests.Response, deadline: float) -> Answer:
        code = response.status_code
        accepted = 200 <= code < 300
        body = bytearray()
        # A byte at a time: a larger step would wait for all of it, however slowly it drips.
        for chunk in response.iter_content(1):
            body += chunk
            if not accepted and len(body) >= _MESSAGE_BYTES:
                break
            if len(body) > ANSWER_BYTES:
                return Answer("failed", message=f"the answer is over {ANSWER_BYTES} bytes")
            if time.monotonic() > deadline:
                return Answer("retry", message="the answer did not arrive in time")
        if accepted:
            return self._accepted(bytes(body), response.headers.get("content-type", ""))
        message = f"HTTP {code} {response.reason}: {bytes(body).decode('utf-8', 'replace')}"
        if code in _RETRYABLE:
            return Answer("retry", message=message, retry_after=_retry_after(response.headers))
        if code == _TOO_LARGE:
            return Answer("too_large", message=message)
        return Answer("refused" if code in _REFUSED else "failed", message=message)

    def _accepted(self, body: bytes, content_type: str) -> Answer:
        answer: Response
        if self._destination.signal == "metrics":
            answer = ExportMetricsServiceResponse()
        else:
            answer = ExportLogsServiceResponse()
        try:
            if "json" in content_type:
                Parse(body, answer, ignore_unknown_fields=True)
            else:
                answer.ParseFromString(body)
        except (DecodeError, ParseError, UnicodeDecodeError):
            kind = content_type or "no content type"
            return Answer("failed", message=f"the answer ({kind}) is not OTLP; is it a receiver?")
        return read_response(answer)


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


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:_ERROR_CHARACTERS]}"
