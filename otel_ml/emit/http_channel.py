"""What `HttpClient` needs of a library for HTTP: a request in, an answer bit by bit out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Literal, Protocol

__all__ = ["Broken", "Channel", "Incoming", "broken_tls"]

_CHARACTERS: Final = 500  # long enough for the reason, which comes last


class Broken(Exception):
    """A request had no answer, or no whole one.

    Parameters
    ----------
    status
        As in `Answer`.
    cause
        What the library raised.
    """

    def __init__(self, status: Literal["retry", "failed"], cause: Exception) -> None:
        super().__init__(f"{type(cause).__name__}: {str(cause)[:_CHARACTERS]}")
        self.status = status


def broken_tls(cause: Exception) -> Broken:
    """Return what an error of TLS means: a connection that ended is no verdict on certificates."""
    return Broken("retry" if "EOF" in str(cause) else "failed", cause)


@dataclass(frozen=True, slots=True)
class Incoming:
    """An answer of which only the head has arrived.

    Parameters
    ----------
    status
        Of HTTP.
    reason
        The phrase beside it.
    headers
        By name, whatever its case.
    pieces
        The body, a byte at a time: a larger step would wait for all of it, however slowly it
        drips.
    """

    status: int
    reason: str | None
    headers: Mapping[str, str]
    pieces: Iterator[bytes]


class Channel(Protocol):
    """Connections to one endpoint, used by one thread at a time."""

    def post(
        self, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> AbstractContextManager[Incoming]:
        """Post a body; the request is over when the block is, or `timeout` seconds are.

        Redirects are not followed.

        Raises
        ------
        Broken
            On entry, or inside the block when a piece is asked for.
        """
        ...

    def close(self) -> None:
        """Close the connections."""
        ...
