"""OTLP requests over HTTP in, decoded messages in bounded queues out."""

from __future__ import annotations

import contextlib
import gzip
import logging
import socket
import threading
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Final, Generic, TypeVar

from google.protobuf.message import DecodeError, Message

__all__ = ["Queue", "Server"]

_MAX_BYTES: Final = 16 * 1024 * 1024
_log = logging.getLogger(__name__)

Kept = TypeVar("Kept", bound=Message)


class Queue(Generic[Kept]):
    """The requests of one signal, oldest first.

    Parameters
    ----------
    request, response
        Their messages.
    keep
        Requests that are kept; older ones are discarded, and counted.
    listener
        Called with each request.
    """

    def __init__(
        self,
        request: type[Kept],
        response: type[Message],
        keep: int,
        listener: Callable[[Kept], None] | None,
    ) -> None:
        self.request = request
        self.response = response
        self.listener = listener
        self.kept: deque[Kept] = deque(maxlen=keep)
        self.discarded = 0

    def take(self, body: bytes, lock: threading.Condition) -> bytes:
        """Decode and keep a request; return the encoded response.

        Raises
        ------
        google.protobuf.message.DecodeError
            The body is no such request.
        """
        message = self.request()
        message.ParseFromString(body)
        with lock:
            if len(self.kept) == self.kept.maxlen:
                self.discarded += 1
            self.kept.append(message)
            lock.notify_all()
        if self.listener is not None:
            try:
                self.listener(message)
            except Exception:
                _log.exception("a listener of the receiver failed")
        return self.response().SerializeToString()


class Server(ThreadingHTTPServer):
    """An HTTP server for OTLP in protobuf.

    Parameters
    ----------
    address
        Host and port.
    signals
        Where the requests of each path go.
    changed
        Is notified when one arrived.
    """

    daemon_threads = True
    # Closing waits for nobody: a client may keep its connection open.
    block_on_close = False

    def __init__(
        self,
        address: tuple[str, int],
        signals: Mapping[str, Queue[Any]],
        changed: threading.Condition,
    ) -> None:
        self._open: set[socket.socket] = set()
        attributes = {"signals": signals, "changed": changed}
        super().__init__(address, type("Handler", (_Handler,), attributes))

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in its thread."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Stop listening and hang up, so that nothing is received any more."""
        super().server_close()
        for connection in tuple(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say in the log, not on standard error, that a connection broke."""
        _log.debug("connection of %s failed", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    signals: ClassVar[Mapping[str, Queue[Any]]]
    changed: ClassVar[threading.Condition]
    protocol_version = "HTTP/1.1"
    timeout = 60
    # Headers and body leave in one segment; otherwise every answer waits for a delayed ACK.
    wbufsize = -1

    def do_POST(self) -> None:
        """Take one export request."""
        stated = self.headers.get("content-length", "")
        length = int(stated) if stated.isdecimal() else -1
        if length < 0:
            self._refuse(411, "a content-length is needed")
            return
        if length > _MAX_BYTES:
            self._refuse(413, f"more than {_MAX_BYTES} bytes")
            return
        body = self.rfile.read(length)
        signal = self.signals.get(self.path)
        kind = self.headers.get_content_type()
        if signal is None:
            self._refuse(404, "not one of " + ", ".join(self.signals))
        elif kind != "application/x-protobuf":
            self._refuse(415, f"{kind} is not application/x-protobuf")
        else:
            try:
                answer = signal.take(self._plain(body), self.changed)
            except OverflowError:
                self._refuse(413, f"more than {_MAX_BYTES} bytes")
            except (DecodeError, OSError, EOFError, zlib.error, LookupError) as error:
                self._refuse(400, f"{type(error).__name__}: {error}")
            else:
                self._answer(200, "application/x-protobuf", answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Write no access log to standard error."""
        _log.debug(format, *args)

    def _plain(self, body: bytes) -> bytes:
        encoding = (self.headers.get("content-encoding") or "identity").lower()
        if encoding == "identity":
            return body
        if encoding not in ("gzip", "deflate"):
            raise LookupError(f"content-encoding {encoding}")
        inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | (16 if encoding == "gzip" else 0))
        plain = inflate.decompress(body, _MAX_BYTES + 1)
        if len(plain) > _MAX_BYTES:
            raise OverflowError
        if not inflate.eof:
            raise gzip.BadGzipFile("the body is cut short")
        return plain

    def _refuse(self, code: int, reason: str) -> None:
        self.close_connection = True
        self._answer(code, "text/plain; charset=utf-8", reason.encode())

    def _answer(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
