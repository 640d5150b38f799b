"""TCP connections in, the same connections with a fault in them out: a proxy that runs in a thread.

    with Proxy(port_of_the_server) as proxy:
        client_of(proxy.port)
        proxy.fault = Fault(reset_down=0)  # of the connections from then on

Faults of bytes name a direction: ``up`` is what the client sends, ``down`` what the server answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

__all__ = ["Fault", "Proxy"]

_PIECE: Final = 64 * 1024
_LINGER: Final = struct.pack("ii", 1, 0)  # closing then sends RST


@dataclass(frozen=True)
class Fault:
    """What goes wrong.

    Parameters
    ----------
    black_hole
        Connections are taken, and whatever is sent is swallowed.
    delay
        Seconds before each piece of the answer.
    drip
        Seconds before each single byte of the answer.
    rate
        Bytes per second, in each direction.
    reset_up, reset_down
        The client's connection is reset after so many bytes in that direction; 0 is before the
        first, but after it has come: the server has then read the request, or answered it.
    half_close_up, half_close_down
        The receiving end sees the end of the stream after so many bytes.
    corrupt_up, corrupt_down
        Offset of a byte that has its bits flipped.
    duplicate
        Every piece of the answer is sent twice.
    times
        Connections that are hurt; those after them are not. None: all.
    """

    black_hole: bool = False
    delay: float = 0.0
    drip: float = 0.0
    rate: float | None = None
    reset_up: int | None = None
    reset_down: int | None = None
    half_close_up: int | None = None
    half_close_down: int | None = None
    corrupt_up: int | None = None
    corrupt_down: int | None = None
    duplicate: bool = False
    times: int | None = None


class Proxy:
    """A proxy on the loopback interface; a context manager.

    Parameters
    ----------
    target
        Port of the server on this machine; it may start later.
    fault
        Of the connections that come now; may be set at any time.
    server_tls
        With it, clients speak TLS to the proxy.
    """

    def __init__(
        self, target: int, fault: Fault | None = None, *, server_tls: ssl.SSLContext | None = None
    ) -> None:
        self.target = target
        self.port = 0
        self.connections = 0
        self._fault = fault or Fault()
        self._hurt = 0
        self._tls = server_tls
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._pairs: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)

    @property
    def fault(self) -> Fault:
        """What goes wrong with the connections from now on."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        self._fault, self._hurt = fault, 0

    def hang_up(self) -> None:
        """Reset every connection there is, and wait until that is done."""

        async def reset() -> None:
            for pair in tuple(self._pairs):
                pair.cancel()
            await asyncio.gather(*self._pairs, return_exceptions=True)

        self._do(reset())

    def __enter__(self) -> Proxy:
        self._thread.start()
        assert self._ready.wait(10.0), "the proxy does not start"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.hang_up()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10.0)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10.0)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        self._loop.run_until_complete(_finished())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        fault = self._fault
        if fault.times is not None:
            self._hurt += 1
            if self._hurt > fault.times:
                fault = Fault()
        pair = asyncio.current_task()
        assert pair is not None
        self._pairs.add(pair)
        try:
            await _serve(reader, writer, self.target, fault)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            _reset(writer)
            self._pairs.discard(pair)


async def _finished() -> None:
    """Cancel what came in at the last moment, and let every connection be lost."""
    while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)


class _Reset(ConnectionError):
    """The fault says that the client's connection is reset now."""


async def _serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: int, fault: Fault
) -> None:
    if fault.black_hole:
        while await reader.read(_PIECE):
            pass
        return
    below, above = await asyncio.open_connection("127.0.0.1", target)
    ways = [
        asyncio.ensure_future(_pump(reader, above, fault, "up")),
        asyncio.ensure_future(_pump(below, writer, fault, "down")),
    ]
    try:
        done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_EXCEPTION)
        for way in done:
            way.result()
        with contextlib.suppress(OSError):  # what was written reaches the client first
            writer.close()
            await writer.wait_closed()
    finally:
        above.transport.abort()  # before anything is waited for: whoever waits may be cancelled
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault, way: str
) -> None:
    passed = 0
    reset = getattr(fault, f"reset_{way}")
    half = getattr(fault, f"half_close_{way}")
    corrupt = getattr(fault, f"corrupt_{way}")
    size = 1 if fault.drip and way == "down" else _PIECE
    while piece := await reader.read(size):
        if way == "down":
            await asyncio.sleep(fault.delay + fault.drip)
        if fault.rate is not None:
            await asyncio.sleep(len(piece) / fault.rate)
        if corrupt is not None and passed <= corrupt < passed + len(piece):
            at = corrupt - passed
            piece = piece[:at] + bytes([piece[at] ^ 0xFF]) + piece[at + 1 :]
        for limit in (reset, half):
            if limit is not None and passed + len(piece) >= limit:
                writer.write(piece[: limit - passed])
                await writer.drain()
                if limit is reset:
                    raise _Reset
                break
        else:
            writer.write(piece * 2 if fault.duplicate and way == "down" else piece)
            await writer.drain()
            passed += len(piece)
            continue
        break
    if writer.can_write_eof():
        writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection the hard way; nothing happens to one that is closed."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
    writer.transport.abort()
