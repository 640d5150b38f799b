"""Calls as the request path left them in, rows counted by the engines of their models out.

Calls that are alike are converted together. When more comes than can be read, every prediction is
still counted, but the values of only some of them are: which ones, chance decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from random import Random
from typing import Any, Final

import numpy as np

from otel_ml.batches import join_batches, split_batch
from otel_ml.budget import EVALUATION_ROWS
from otel_ml.frame import DURATION, MODEL, Frame, captured
from otel_ml.hosts import Host, Hosts
from otel_ml.intake import Converted, convert, pseudonym
from otel_ml.samples import Health
from otel_ml.snapshot import call_rows
from otel_ml.stack import alike, convert_stack, features_together, stack
from otel_ml.thinning import thinned
from otel_ml.timebox import TimeBox, foreign, is_foreign_call
from otel_ml.turns import give_way
from otel_ml.types import Batch, Captured, ModelKey

__all__ = ["Call", "Feeder"]

Call = Frame | Captured

_TOGETHER: Final = 256  # calls converted before other threads get their turn
_EVALUATIONS: Final = 5  # of one model in a round, unless they would be of more rows than
_MOST_ROWS: Final = 1000
_MOST_CLIENTS: Final = 4096  # whose pseudonyms are remembered
_FULL, _EASY = 0.5, 0.125  # of the queue: where sampling begins, and where it is eased
_MOST_SAMPLED: Final = 64

Guard = Callable[..., Any]


class Feeder:
    """Feeds the engines of a process.

    Parameters
    ----------
    hosts
        The models.
    health
        Takes what was counted and what was lost.
    guard
        Runs a function and returns None where that raises.
    key
        Of the pseudonyms of clients.
    """

    def __init__(self, hosts: Hosts, health: Health, guard: Guard, key: bytes) -> None:
        self.hosts = hosts
        self.health = health
        self.every = 1  # of so many calls the values of one are read
        self._guard = guard
        self._key = key
        self._hide = lru_cache(_MOST_CLIENTS)(lambda client: pseudonym(client, key))
        self._random = Random()
        self.box: TimeBox[Any] = TimeBox()
        self._light: dict[ModelKey, list[tuple[int, float]]] = {}
        self.hand: Sequence[Call] = ()
        self._done = 0

    def pace(self, waiting: int, capacity: int) -> None:
        """Decide how much is read, by how much of the queue is taken."""
        if waiting > _FULL * capacity:
            self.every = min(self.every * 2, _MOST_SAMPLED)
        elif waiting < _EASY * capacity and self.every > 1:
            self.every //= 2

    def recover(self) -> None:
        """Count as lost what was in hand when the thread was killed."""
        if self.hand:
            lost = sum(map(call_rows, self.hand)) - self._done
            self.health.drop("invalid_input", max(lost, 0))
            self.hand, self._done = (), 0

    def feed(self, calls: Sequence[Call]) -> None:
        """Convert and count calls; each is counted or said to be dropped, once."""
        self.hand, self._done = calls, 0
        with np.errstate(all="ignore"):  # warnings about the application's values are not its own
            self._feed(calls)
        self.hand, self._done = (), 0

    def _feed(self, calls: Sequence[Call]) -> None:
        by_host: dict[ModelKey, list[Batch]] = {}
        self._light = {}
        for start in range(0, len(calls), _TOGETHER):
            for group in alike(calls[start : start + _TOGETHER]):
                for key, batch in self._converted(group):
                    by_host.setdefault(key, []).append(batch)
            give_way()
        for key, pairs in self._light.items():
            sizes, durations = np.array(pairs, dtype=np.float64).T
            known = durations[durations >= 0] / 1e9
            rows = sizes.astype(np.int64)
            unread = Batch(int(rows.sum()), {}, durations=known, sizes=rows[durations >= 0])
            by_host.setdefault(key, []).append(unread)
        for key, batches in by_host.items():
            self._count(self.hosts.by_key[key], batches)

    def _converted(self, group: Sequence[Call]) -> Iterator[tuple[ModelKey, Batch]]:
        if self.every > 1:
            group, rest = self._sampled(group)
            for call in rest:
                self._unread(call)
        if len(group) > 1:
            found = self._together(group)
            if found is not None:
                yield found
                return
        for call in group:
            yield from self._alone(call)
            give_way()

    def _together(self, group: Sequence[Call]) -> tuple[ModelKey, Batch] | None:
        """Return calls that are alike as one batch; None where one of them is odd."""
        try:
            features = features_together(group)  # type: ignore[arg-type]  # more than one: frames
            if foreign(features):
                return None
            give_way()
            stacked = stack(group, features)  # type: ignore[arg-type]  # as above
            give_way()
            host = None if stacked is None else self.hosts.of(stacked.call.model)
            if stacked is None or host is None:
                return None
            batch = convert_stack(stacked, hide=self._hide, **_reading(host))
        except Exception:  # the odd one is found, counted and told of when each is read by itself
            return None
        return None if batch is None else (host.key, batch)

    def _alone(self, call: Call) -> Iterator[tuple[ModelKey, Batch]]:
        rows = call_rows(call)
        found = self._guard(self._read, call)
        host, converted, unread = (None, None, 0) if found is None else found
        if host is None or converted is None or converted.batch is None:
            problem = "invalid_input" if converted is None else converted.problem
            self.health.drop(problem, rows)
            self._done += rows
            return
        if converted.unreadable:
            self.health.unreadable[converted.unreadable] += converted.batch.n
        yield host.key, converted.batch
        if unread:
            self.health.sampled += unread
            self._light.setdefault(host.key, []).append((unread, -1.0))

    def _read(self, call: Call) -> tuple[Host | None, Converted, int]:
        whole = captured(call, time.time_ns()) if type(call) is list else call
        assert isinstance(whole, Captured)
        host = self.hosts.of(whole.model)
        if host is None:
            return None, Converted(None, "overflow"), 0
        part, unread = thinned(whole)
        work = partial(convert, part, key=self._key, **_reading(host))
        found = self.box.run(work) if is_foreign_call(call) else work()
        return host, found, unread

    def _sampled(self, group: Sequence[Call]) -> tuple[Sequence[Call], Sequence[Call]]:
        """Split calls into those whose values are read, and the others."""
        read: list[Call] = []
        rest: list[Call] = []
        for call in group:
            (rest if self._random.randrange(self.every) else read).append(call)
        return read, rest

    def _unread(self, call: Call) -> None:
        """Take a call that is counted without reading its values."""
        rows = call_rows(call)
        model, duration = (
            (call[MODEL], call[DURATION]) if type(call) is list else (call.model, call.duration_ns)  # type: ignore[union-attr]
        )
        host = self._guard(self.hosts.of, model)
        if host is None:
            self.health.drop("overflow", rows)
            self._done += rows
            return
        self.health.sampled += rows
        self._light.setdefault(host.key, []).append((rows, duration))

    def _count(self, host: Host, batches: Sequence[Batch]) -> None:
        joined: Sequence[Batch] = self._guard(lambda: list(join_batches(batches))) or batches
        # where traffic is heavy, each evaluation takes more rows at once
        rows = sum(batch.n for batch in joined)
        at_once = rows // _EVALUATIONS // EVALUATION_ROWS * EVALUATION_ROWS
        host.engine.evaluation_rows = min(max(at_once, EVALUATION_ROWS), _MOST_ROWS)
        for batch in joined:
            n = batch.n + len(batch.errors)
            if self._guard(host.tally.add, batch) is None:
                self.health.drop("invalid_input", n)
            else:
                self.health.counted += n
                self.health.invalid += batch.invalid
            self._done += n
            for part in split_batch(batch):
                self._guard(self._observe, host, part)
                give_way()

    def _observe(self, host: Host, batch: Batch) -> None:
        learning = host.engine.learner is not None
        host.engine.observe(batch)
        if learning and host.engine.reference is not None:
            self.hosts.froze(host)


def _reading(host: Host) -> dict[str, Any]:
    """Return how the calls of a model are to be read."""
    reference = host.engine.reference
    return {
        "names": () if reference is None else reference.features,
        "positive": host.settings.positive,
        "ignore": host.settings.ignore,
    }
