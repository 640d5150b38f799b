"""Replay people as traffic: in, rows, a timeline and a server; out, requests, late labels, a log.

Rows arrive in order, as singles and batches, from a few clients. Everything in flight is waited for
before a fault begins or ends, so the row at which it does is exact.
"""

from __future__ import annotations

import http.client
import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from otel_ml.demo.data import COLUMNS, People
from otel_ml.demo.faults import TIMELINE, Fault, phases
from otel_ml.demo.late_labels import LateLabels
from otel_ml.errors import OtelMlError
from otel_ml.types import FloatArray

__all__ = ["Actions", "Passage", "Replay", "ReplayError", "ReplayLog"]

SINGLES: Final = 0.88
"""Share of the calls that carry one row; it never changes, or latency would change with it."""
BATCH_ROWS: Final = (10, 50)
REQUEST_LIMIT: Final = 30.0


class ReplayError(OtelMlError):
    """A request failed, so the counts can no longer be exact."""


class Actions(Protocol):
    """What the replay asks for outside of the rows."""

    def begin(self, fault: Fault) -> None:
        """Carry out the action of a fault."""
        ...

    def end(self, fault: Fault) -> None:
        """Undo it."""
        ...


@dataclass(slots=True)
class Passage:
    """A fault as it was injected.

    Parameters
    ----------
    fault
        Which one.
    start_row, end_row
        Rows sent when it began, and when it ended; None while it lasts.
    started, ended
        The same in seconds since the Unix epoch.
    """

    fault: Fault
    start_row: int
    started: float
    end_row: int | None = None
    ended: float | None = None


@dataclass(slots=True)
class ReplayLog:
    """What was sent so far.

    Parameters
    ----------
    rows, calls, labels
        Rows and calls that were answered, labels that were written.
    unnamed
        Rows whose answer carried no prediction id; their labels cannot be sent.
    passages
        Faults that began, in order.
    started, ended
        Seconds since the Unix epoch.
    """

    rows: int = 0
    calls: int = 0
    labels: int = 0
    unnamed: int = 0
    passages: list[Passage] = field(default_factory=list)
    started: float = 0.0
    ended: float = 0.0


class Replay:
    """Sends people to a server.

    Parameters
    ----------
    people
        Who arrives, in order.
    address
        Host and port of the server.
    state_dir
        Where ``labels.jsonl`` is appended to.
    actions
        Carries out what a fault does outside of the rows.
    seed
        Decides call sizes and which rows a fault hits.
    timeline
        The faults.
    rows_per_second
        Pace; what cannot be kept is not caught up across faults. 0 is as fast as the server goes.
    label_delay
        Rows between a prediction and its label; must exceed what is in flight.
    clients
        Connections at the same time.
    """

    def __init__(
        self,
        people: People,
        address: tuple[str, int],
        state_dir: Path,
        actions: Actions,
        *,
        seed: int = 0,
        timeline: tuple[Fault, ...] = TIMELINE,
        rows_per_second: float = 350.0,
        label_delay: int = 600,
        clients: int = 4,
    ) -> None:
        if label_delay <= clients * BATCH_ROWS[1]:
            raise ReplayError(
                f"labels {label_delay} rows late can overtake the {clients} calls in flight",
                remedy=f"Use a delay above {clients * BATCH_ROWS[1]} rows.",
            )
        self.log = ReplayLog()
        self._people = people
        self._address = address
        self._actions = actions
        self._seed = seed
        self._timeline = timeline
        self._pace = rows_per_second
        self._clients = clients
        self._labels = LateLabels(state_dir / "labels.jsonl", label_delay, len(people))
        self._lock = threading.Lock()
        self._failed: BaseException | None = None

    @property
    def year(self) -> int:
        """Year of the survey the replay is in."""
        return int(self._people.years[min(self.log.rows, len(self._people) - 1)])

    def run(self, tick: Callable[[], None] = lambda: None) -> ReplayLog:
        """Send everything; call `tick` about ten times a second meanwhile.

        Raises
        ------
        ReplayError
            A request was not answered with 200.
        """
        self.log.started = time.time()
        try:
            for number, (start, end, fault) in enumerate(phases(len(self._people), self._timeline)):
                self._phase(np.random.default_rng((self._seed, number)), start, end, fault, tick)
            self.log.labels += self._labels.release(self.log.rows, all_of_them=True)
        finally:
            self._labels.close()
        self.log.ended = time.time()
        return self.log

    def _phase(
        self,
        rng: np.random.Generator,
        start: int,
        end: int,
        fault: Fault | None,
        tick: Callable[[], None],
    ) -> None:
        features, labels = self._people.features[start:end], self._people.labels[start:end]
        if fault is not None:
            labels = fault.mislabel(features, labels, rng)
            features = fault.corrupt(features, rng)
            self._actions.begin(fault)
            self.log.passages.append(Passage(fault, start, time.time()))
        self._labels.expect(start, labels.tolist())
        self._send(_calls(features, start, rng), tick)
        if fault is not None:
            passage = self.log.passages[-1]
            passage.end_row, passage.ended = end, time.time()
            self._actions.end(fault)
        tick()

    def _send(self, calls: Iterator[_Call], tick: Callable[[], None]) -> None:
        waiting: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        began, offset = time.monotonic(), 0
        for call in calls:
            call.due = began + (offset / self._pace if self._pace > 0 else 0.0)
            offset += call.rows
            waiting.put(call)
        for _ in range(self._clients):
            waiting.put(None)
        clients = [
            threading.Thread(target=self._client, args=(waiting,), daemon=True)
            for _ in range(self._clients)
        ]
        for client in clients:
            client.start()
        try:
            while any(client.is_alive() for client in clients):
                clients[0].join(0.1) if clients[0].is_alive() else time.sleep(0.05)
                tick()
        except BaseException as error:  # an interrupt too must stop the clients
            self._failed = self._failed or error
            raise
        if self._failed is not None:
            raise self._failed

    def _client(self, waiting: queue.SimpleQueue[_Call | None]) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=REQUEST_LIMIT)
        try:
            while self._failed is None and (call := waiting.get()) is not None:
                wait = call.due - time.monotonic()
                if wait > 0:
                    time.sleep(wait)
                ids = _post(connection, call)
                with self._lock:
                    self._labels.answered(call.start, ids)
                    self.log.rows += call.rows
                    self.log.calls += 1
                    self.log.unnamed += ids.count(None)
                    self.log.labels += self._labels.release(self.log.rows)
        except (OSError, http.client.HTTPException) as error:
            self._failed = ReplayError(
                f"the connection to the server broke: {error!r}", remedy="Read the server's log."
            )
        except Exception as error:  # re-raised by the thread that runs the replay
            self._failed = error
        finally:
            connection.close()


@dataclass(slots=True)
class _Call:
    start: int
    rows: int
    body: bytes
    due: float = 0.0


def _calls(features: FloatArray, first: int, rng: np.random.Generator) -> Iterator[_Call]:
    at, total = 0, len(features)
    while at < total:
        single = rng.random() < SINGLES
        size = 1 if single else int(rng.integers(BATCH_ROWS[0], BATCH_ROWS[1] + 1))
        rows = [_row(values) for values in features[at : at + size].tolist()]
        payload: dict[str, Any] = rows[0] if single else {"rows": rows}
        yield _Call(first + at, len(rows), json.dumps(payload).encode())
        at += size


def _row(values: list[float]) -> dict[str, float | None]:
    return {
        name: None if value != value else value  # JSON has no NaN
        for name, value in zip(COLUMNS, values, strict=True)
    }


def _post(connection: http.client.HTTPConnection, call: _Call) -> list[str | None]:
    headers = {"content-type": "application/json"}
    connection.request("POST", "/predict", body=call.body, headers=headers)
    response = connection.getresponse()
    answer = response.read()
    if response.status != 200:
        raise ReplayError(
            f"row {call.start} was answered with {response.status}: {answer[:300].decode()}",
            remedy="Read the server's log.",
        )
    name = response.headers.get("x-prediction-id")
    if name is None:
        return [None] * call.rows
    return [name] if call.rows == 1 else [f"{name}-{i}" for i in range(call.rows)]
