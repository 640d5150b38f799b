"""Requests in, answers out, by `urllib3` alone: what most endpoints need.

`requests` is four megabytes more, in every process that serves; see `http_session` for when they
are well spent.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import certifi
from urllib3 import PoolManager
from urllib3.exceptions import HTTPError, SSLError
from urllib3.util import Timeout, make_headers

from otel_ml.emit.destination import Destination
from otel_ml.emit.http_channel import Broken, Incoming, broken_tls
from otel_ml.emit.http_deadline import Budget, pools

__all__ = ["PoolChannel"]

_ENCODINGS: Final = make_headers(accept_encoding=True)["accept-encoding"].replace(",", ", ")
_ALWAYS: Final = {"accept": "*/*", "accept-encoding": _ENCODINGS, "connection": "keep-alive"}


class PoolChannel:
    """Connections that go straight to an endpoint.

    Parameters
    ----------
    destination
        Where and how to send.
    """

    def __init__(self, destination: Destination) -> None:
        self._endpoint = destination.endpoint
        self._budget = Budget()
        bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        trusted = destination.certificate or bundle or certifi.where()
        own = (destination.client_certificate, destination.client_key)
        self._files = [] if destination.endpoint.lower().startswith("http:") else [trusted, *own]
        self._manager = PoolManager(
            num_pools=1,
            maxsize=1,
            cert_reqs=ssl.CERT_REQUIRED,
            cert_file=own[0],
            key_file=own[1],
            **{"ca_cert_dir" if Path(trusted).is_dir() else "ca_certs": trusted},  # type: ignore[arg-type]  # by name
        )
        self._manager.pool_classes_by_scheme = pools(self._budget)

    @contextmanager
    def post(self, body: bytes, headers: Mapping[str, str], timeout: float) -> Iterator[Incoming]:
        """Post a body; see `Channel`."""
        self._budget.deadline = time.monotonic() + timeout
        try:
            for file in self._files:  # else the library tells that one is missing, but not which
                if file is not None:
                    Path(file).stat()
            response: Any = self._manager.urlopen(
                "POST",
                self._endpoint,
                body=body,
                headers={**_ALWAYS, **headers},
                timeout=Timeout(total=timeout),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            try:
                pieces = response.stream(1, decode_content=True)
                yield Incoming(response.status, response.reason, response.headers, pieces)
            finally:
                # The connection is used again if all of the answer was read, and is closed if not.
                response.close()
                response.release_conn()
        except SSLError as error:
            raise broken_tls(error) from error
        except (OSError, ValueError) as error:  # a file, a header or an endpoint of no use
            raise Broken("failed", error) from error
        except HTTPError as error:
            raise Broken("retry", error) from error

    def close(self) -> None:
        """Close the pooled connections."""
        self._manager.clear()
