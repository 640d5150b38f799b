"""Environment variables in, OTLP destinations out.

The variables mean what they mean to the exporters of the Python SDK (timeouts are seconds there, a
variable of one signal replaces the general one); a value that cannot be used is said and replaced
by the default. A test sends the same data through the official exporters and compares.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

__all__ = ["Destination", "Protocol", "Signal", "from_environ", "grpc_target", "parse_headers"]

Signal: TypeAlias = Literal["metrics", "logs"]
Protocol: TypeAlias = Literal["http", "grpc"]
Compression: TypeAlias = Literal["none", "gzip", "deflate"]

_PREFIX: Final = "OTEL_EXPORTER_OTLP_"
_TIMEOUT_SECONDS: Final = 10.0
_PROTOCOLS: Final[Mapping[str, Protocol]] = {"http/protobuf": "http", "grpc": "grpc"}
_COMPRESSIONS: Final[Mapping[Protocol, tuple[Compression, ...]]] = {
    "http": ("none", "gzip", "deflate"),
    "grpc": ("none", "gzip"),
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Destination:
    """Where one signal goes, and how.

    Parameters
    ----------
    signal
        ``metrics`` or ``logs``.
    protocol
        ``http`` (with protobuf) or ``grpc``.
    endpoint
        The full URL for HTTP; host and port for gRPC.
    headers
        Names (lower case) and values of additional headers.
    timeout
        Seconds one attempt may take.
    compression
        ``none``, ``gzip`` or (HTTP only) ``deflate``.
    certificate
        File with the certificates that are trusted; None trusts the system's.
    client_certificate, client_key
        Files for mutual TLS.
    insecure
        gRPC only: no TLS.
    credentials
        Entry point that supplies credentials (group ``opentelemetry_otlp_credential_provider``).
    delta
        Counters and histograms are sent as differences.
    value_length
        Longest string attribute of an event that is kept whole, in characters.
    """

    signal: Signal
    protocol: Protocol
    endpoint: str
    # Tokens travel in headers, so they are not shown.
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    timeout: float = _TIMEOUT_SECONDS
    compression: Compression = "none"
    certificate: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    insecure: bool = False
    credentials: str | None = None
    delta: bool = False
    value_length: int | None = None

    @property
    def shown(self) -> str:
        """The endpoint as it may be logged: without user, password and query."""
        parts = urlsplit(self.endpoint)
        if not parts.netloc:
            return self.endpoint
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def from_environ(
    signal: Signal, environ: Mapping[str, str], protocol: Protocol | None = None
) -> Destination:
    """Return the destination that the OTLP variables describe for a signal.

    Parameters
    ----------
    signal
        ``metrics`` or ``logs``.
    environ
        The environment variables.
    protocol
        The protocol, where the name of the exporter fixes it.
    """
    variables = _Variables(signal, environ)
    chosen = protocol or variables.protocol()
    url = variables.get("ENDPOINT", general=False)
    if chosen == "http":
        if url is None:
            base = variables.get("ENDPOINT") or "http://localhost:4318"
            url = f"{base.rstrip('/')}/v1/{signal}"
        insecure = False
    else:
        url = url or variables.get("ENDPOINT") or "http://localhost:4317"
        url, insecure = grpc_target(url, variables.flag("INSECURE"))
    return Destination(
        signal=signal,
        protocol=chosen,
        endpoint=url,
        headers=parse_headers(variables.get("HEADERS") or ""),
        timeout=variables.timeout(),
        compression=variables.compression(chosen),
        certificate=variables.get("CERTIFICATE"),
        client_certificate=variables.get("CLIENT_CERTIFICATE"),
        client_key=variables.get("CLIENT_KEY"),
        insecure=insecure,
        credentials=_credentials(signal, chosen, environ),
        delta=signal == "metrics" and variables.delta(),
        value_length=_value_length(environ) if signal == "logs" else None,
    )


def grpc_target(url: str, insecure: bool | None) -> tuple[str, bool]:
    """Split a gRPC endpoint into its target, and whether it is plaintext.

    ``https`` is always TLS; otherwise an explicit flag decides, and without one only ``http`` is
    plaintext.
    """
    parts = urlsplit(url)
    target = parts.netloc or url
    if parts.scheme == "https":
        return target, False
    return target, parts.scheme == "http" if insecure is None else insecure


def parse_headers(value: str) -> tuple[tuple[str, str], ...]:
    """Parse ``name=value,name=value``; names become lower case, values are URL-decoded."""
    from opentelemetry.util.re import parse_env_headers

    return tuple(parse_env_headers(value, liberal=True).items())


class _Variables:
    """The OTLP variables of one signal."""

    def __init__(self, signal: Signal, environ: Mapping[str, str]) -> None:
        self._own = f"{_PREFIX}{signal.upper()}_"
        self._environ = environ

    def get(self, name: str, *, general: bool = True) -> str | None:
        return self._named(name, general=general)[1]

    def _named(self, name: str, *, general: bool = True) -> tuple[str, str | None]:
        for prefix in (self._own, _PREFIX) if general else (self._own,):
            value = self._environ.get(prefix + name, "").strip()
            if value:
                return prefix + name, value
        return _PREFIX + name, None

    def protocol(self) -> Protocol:
        name, value = self._named("PROTOCOL")
        if value is None:
            return "http"
        known = _PROTOCOLS.get(value.lower())
        if known is None:
            _say(name, value, "http/protobuf", "http/protobuf or grpc")
        return known or "http"

    def timeout(self) -> float:
        name, value = self._named("TIMEOUT")
        if value is None:
            return _TIMEOUT_SECONDS
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not (math.isfinite(seconds) and seconds > 0):
            _say(name, value, f"{_TIMEOUT_SECONDS:g}", "a number of seconds above 0")
            return _TIMEOUT_SECONDS
        return seconds

    def compression(self, protocol: Protocol) -> Compression:
        name, value = self._named("COMPRESSION")
        for known in _COMPRESSIONS[protocol]:
            if value is not None and value.lower() == known:
                return known
        if value is not None:
            _say(name, value, "none", " or ".join(_COMPRESSIONS[protocol]))
        return "none"

    def flag(self, name: str) -> bool | None:
        variable, value = self._named(name)
        if value is not None and value.lower() not in ("true", "false"):
            _say(variable, value, "false", "true or false")
        return None if value is None else value.lower() == "true"

    def delta(self) -> bool:
        name = f"{_PREFIX}METRICS_TEMPORALITY_PREFERENCE"
        value = self._environ.get(name, "").strip()
        if value.lower() not in ("", "cumulative", "delta", "lowmemory"):
            _say(name, value, "cumulative", "cumulative, delta or lowmemory")
        return value.lower() in ("delta", "lowmemory")


def _credentials(signal: Signal, protocol: Protocol, environ: Mapping[str, str]) -> str | None:
    prefix = f"OTEL_PYTHON_EXPORTER_OTLP_{protocol.upper()}_"
    suffix = "CREDENTIAL_PROVIDER"
    return environ.get(f"{prefix}{signal.upper()}_{suffix}") or environ.get(prefix + suffix) or None


def _value_length(environ: Mapping[str, str]) -> int | None:
    for name in (
        "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    ):
        value = environ.get(name, "").strip()
        if value.isdecimal():
            return int(value)
        if value:
            _say(name, value, "no limit", "a whole number")
    return None


def _say(name: str, value: str, default: str, allowed: str) -> None:
    _log.warning("%s=%r cannot be used (allowed: %s); using %s", name, value, allowed, default)
