"""Requests in, answers out, by `requests`: for endpoints that need what it knows beyond `urllib3`.

These are a credential provider, which supplies a session of its own; a proxy that the environment
names; and a password, in a ``.netrc`` or in the endpoint itself. A session whose adapters are not
those of `requests` keeps them, and with them what they make of deadlines.
"""

from __future__ import annotations

import netrc  # noqa: F401  requests imports it with the first request, perhaps during a fork
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Timeout

from otel_ml.emit.destination import Destination
from otel_ml.emit.http_channel import Broken, Incoming, broken_tls
from otel_ml.emit.http_deadline import Budget, pools
from otel_ml.emit.transport import credentials

__all__ = ["SessionChannel"]

_PASSING = (
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
    requests.exceptions.ChunkedEncodingError,
)


class SessionChannel:
    """A session with one endpoint.

    Parameters
    ----------
    destination
        Where and how to send.

    Raises
    ------
    LookupError
        The credential provider is not installed, or supplies no session.
    """

    def __init__(self, destination: Destination) -> None:
        session = requests.Session()
        if destination.credentials is not None:
            supplied = credentials(destination.credentials, requests.Session)
            assert isinstance(supplied, requests.Session)
            session = supplied
        self._budget = Budget()
        kept = _DeadlineAdapter(self._budget)
        for prefix, adapter in tuple(session.adapters.items()):
            if type(adapter) is HTTPAdapter:
                session.mount(prefix, kept)
        if destination.client_certificate is not None:
            key = destination.client_key
            certificate = destination.client_certificate
            session.cert = certificate if key is None else (certificate, key)
        self._session = session
        self._destination = destination

    @contextmanager
    def post(self, body: bytes, headers: Mapping[str, str], timeout: float) -> Iterator[Incoming]:
        """Post a body; see `Channel`."""
        self._budget.deadline = time.monotonic() + timeout
        try:
            with self._session.post(
                self._destination.endpoint,
                data=body,
                headers=headers,
                # Of urllib3, since the pair of requests allows connecting and reading each its own.
                timeout=Timeout(total=timeout),  # type: ignore[arg-type]  # passed on as it is
                # Given with the request, since REQUESTS_CA_BUNDLE would win over the session.
                verify=self._destination.certificate,
                allow_redirects=False,
                stream=True,
            ) as response:
                pieces = response.iter_content(1)
                yield Incoming(response.status_code, response.reason, response.headers, pieces)
        except requests.exceptions.SSLError as error:
            raise broken_tls(error) from error
        except _PASSING as error:
            raise Broken("retry", error) from error
        except (requests.exceptions.RequestException, OSError, ValueError) as error:
            raise Broken("failed", error) from error

    def close(self) -> None:
        """Close the pooled connections."""
        self._session.close()


class _DeadlineAdapter(HTTPAdapter):
    """An adapter whose requests are over, one way or the other, by the deadline of a budget."""

    def __init__(self, budget: Budget) -> None:
        self._pools = pools(budget)
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        """Make the pools of direct connections."""
        super().init_poolmanager(*arguments, **named)  # type: ignore[no-untyped-call, unused-ignore]  # of requests
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **named: Any) -> Any:
        """Return the pools of connections through a proxy."""
        manager = super().proxy_manager_for(proxy, **named)  # type: ignore[no-untyped-call, unused-ignore]  # of requests
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = self._pools
        return manager
