"""A deadline in, connections that keep it as a whole out: pools for `urllib3`.

Its timeouts are for one operation of a socket each. A receiver that sends a byte now and then, in
its headers too, or a name with many addresses that all swallow packets, is waited for without end.
Here every operation is given what is left until the deadline.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import Any, Final

import urllib3.connection
import urllib3.connectionpool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

__all__ = ["Budget", "pools"]

_PIECE: Final = 16 * 1024


class Budget:
    """The deadline of the request in hand, a time of the monotonic clock.

    It is for one thread at a time. The look-up of a name is the one thing it cannot end.
    """

    def __init__(self) -> None:
        self.deadline = 0.0

    def left(self) -> float:
        """Return the seconds left.

        Raises
        ------
        TimeoutError
            There are none.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time for the request is over")
        return left


def pools(budget: Budget) -> dict[str, type]:
    """Return the classes of pools, by scheme, whose connections keep to a budget."""

    class Response(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *arguments: Any, **named: Any) -> None:
            super().__init__(_Readable(sock, budget), *arguments, **named)  # type: ignore[arg-type]  # only makefile is used

    class Timed:
        response_class: Any = Response
        timeout: Any

        def _new_conn(self: Any) -> socket.socket:
            # Each address gets its share: one that swallows packets must not cost the others.
            host = self._dns_host
            try:
                found = socket.getaddrinfo(host, self.port, type=socket.SOCK_STREAM)
            except OSError as error:
                raise NameResolutionError(host, self, error) from error  # type: ignore[arg-type]  # it is shown only
            addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
            failed: Exception | None = None
            try:
                for i, address in enumerate(addresses):
                    self._dns_host = address
                    self.timeout = budget.left() / (len(addresses) - i)
                    try:
                        made: socket.socket = super()._new_conn()  # type: ignore[misc]  # of urllib3
                    except (NewConnectionError, ConnectTimeoutError) as error:
                        failed = error
                    else:
                        self.timeout = budget.left()
                        return made
            finally:
                self._dns_host = host
            assert failed is not None, "a name that is resolved has an address"
            raise failed

        def send(self: Any, data: Any) -> None:
            if isinstance(data, bytes):
                # Over TLS a timeout is for a record, so one of them is sent at a time.
                for start in range(0, len(data), _PIECE):
                    if self.sock is not None:
                        self.sock.settimeout(budget.left())
                    super().send(data[start : start + _PIECE])  # type: ignore[misc]  # of urllib3
            else:
                super().send(data)  # type: ignore[misc]  # of urllib3

    class Plain(Timed, urllib3.connection.HTTPConnection):
        pass

    class Secure(Timed, urllib3.connection.HTTPSConnection):
        pass

    class PlainPool(urllib3.connectionpool.HTTPConnectionPool):
        ConnectionCls: Any = Plain

    class SecurePool(urllib3.connectionpool.HTTPSConnectionPool):
        ConnectionCls: Any = Secure

    return {"http": PlainPool, "https": SecurePool}


class _Readable:
    """A socket of which only the reading end is used, with what is left of a budget each time."""

    def __init__(self, sock: socket.socket, budget: Budget) -> None:
        self._sock = sock
        self._budget = budget

    def makefile(self, mode: str, *_: Any) -> io.BufferedReader:
        return io.BufferedReader(_Stream(self._sock, self._budget))


class _Stream(io.RawIOBase):
    def __init__(self, sock: socket.socket, budget: Budget) -> None:
        super().__init__()
        self._sock = sock
        self._budget = budget
        self._raw: Any = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int | None:
        self._sock.settimeout(self._budget.left())
        read: int | None = self._raw.readinto(into)
        return read

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
            super().close()
