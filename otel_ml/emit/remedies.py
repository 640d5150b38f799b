"""What a library said when a connection failed in, what to do about it out."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["remedy"]

_GENERAL: Final = "check the OTEL_EXPORTER_OTLP_* variables and the receiver"
_KNOWN: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), advice)
    for pattern, advice in (
        (
            r"certificate has expired|certificate is not yet valid",
            "renew the receiver's certificate, or set the clock of this machine right",
        ),
        (
            r"hostname mismatch|hostname verif|not valid for|doesn't match|ip address mismatch",
            "use a host name in the endpoint that the receiver's certificate bears",
        ),
        (
            r"self[- ]signed|unable to get (local )?issuer|certificate_verify_failed|unknown ca",
            "name the file with the certificate authority in OTEL_EXPORTER_OTLP_CERTIFICATE",
        ),
        (
            r"certificate required|bad certificate|handshake failure",
            "the receiver may want a client certificate: set "
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY",
        ),
        (
            r"wrong.version.number|record layer failure|http request to an https server|"
            r"not.*a tls|ssl.*handshake failed",
            "one side speaks TLS and the other does not: compare http:// and https:// in the "
            "endpoint, and OTEL_EXPORTER_OTLP_INSECURE, with the receiver",
        ),
        (
            r"http1\.x server|badstatusline|not otlp|wire.format|settings frame|http/2",
            "the port may speak another protocol: OTLP over HTTP is usually at 4318, over gRPC at "
            "4317; compare OTEL_EXPORTER_OTLP_PROTOCOL",
        ),
        (
            r"name or service not known|failed to resolve|nameresolution|nodename nor servname|"
            r"temporary failure in name|dns resolution|domain name not found",
            "the host name in the endpoint cannot be resolved: correct it, or the DNS",
        ),
        (r"proxy", "check HTTP_PROXY, HTTPS_PROXY and NO_PROXY"),
        (r"\b401\b|\b403\b|unauthenticated|permission_denied", "check OTEL_EXPORTER_OTLP_HEADERS"),
    )
)


def remedy(message: str) -> str:
    """Return advice for a message; general advice for one that is not known."""
    for pattern, advice in _KNOWN:
        if pattern.search(message):
            return advice
    return _GENERAL
