"""Two applications in, the same requests to both, and how answers and times compare out."""

from __future__ import annotations

import contextlib
import http.client
import time
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from otel_ml.selftest.app import COLUMNS
from otel_ml.selftest.process import Application, post

__all__ = ["Load", "Times"]

_TIMEOUT: Final = 15.0  # seconds; a request that takes longer hangs
_SEED: Final = 5


@dataclass
class Times:
    """How long requests took.

    Parameters
    ----------
    seconds
        One number per request.
    """

    seconds: list[float] = field(default_factory=list)

    def quantiles(self) -> dict[str, float]:
        """Return number, median, 99th percentile and maximum, in microseconds."""
        if not self.seconds:
            return {"n": 0, "p50_us": 0.0, "p99_us": 0.0, "max_us": 0.0}
        p50, p99, most = (np.percentile(self.seconds, (50, 99, 100)) * 1e6).tolist()
        return {"n": len(self.seconds), "p50_us": p50, "p99_us": p99, "max_us": most}


class Load:
    """Sends every request to both applications and compares the answers, byte for byte.

    Parameters
    ----------
    plain, watched
        Without and with otel-ml.
    """

    def __init__(self, plain: Application, watched: Application) -> None:
        self._plain, self._watched = plain, watched
        self._rng = np.random.default_rng(_SEED)
        self.without, self.with_it = Times(), Times()
        self.different: list[str] = []
        self.failed: list[str] = []
        self.rows = 0

    def send(self, requests: int, seconds: float = 0.0) -> None:
        """Send requests of one to four rows, one after the other, to both in turn.

        Parameters
        ----------
        requests
            How many at least.
        seconds
            How long at least.
        """
        until = time.monotonic() + seconds
        sent = 0
        with contextlib.ExitStack() as stack:
            connections = [
                stack.enter_context(contextlib.closing(_connection(application)))
                for application in (self._plain, self._watched)
            ]
            while sent < requests or time.monotonic() < until:
                rows = self._rng.normal(size=(1 + sent % 4, COLUMNS)).tolist()
                self._both(connections, {"rows": rows}, sent)
                sent += 1

    def _both(self, connections: list[http.client.HTTPConnection], body: Any, number: int) -> None:
        answers: list[tuple[int, bytes] | None] = [None, None]
        for which in (0, 1) if number % 2 else (1, 0):
            began = time.perf_counter()
            try:
                answers[which] = post(connections[which], "/predict", body)
            except (OSError, http.client.HTTPException) as error:
                connections[which].close()
                name = ("without", "with")[which]
                self.failed.append(f"{type(error).__name__} of the server {name} otel-ml")
                continue
            took = time.perf_counter() - began
            (self.without, self.with_it)[which].seconds.append(took)
        plain, watched = answers
        if watched is not None:
            self.rows += len(body["rows"])
        if plain is not None and watched is not None and plain != watched:
            self.different.append(f"{plain[0]} {plain[1][:60]!r}, not {watched[0]} {watched[1]!r}")


def _connection(application: Application) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", application.port, timeout=_TIMEOUT)
