"""Labels as the application, or a file, gave them in; labels at the engines of their models out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from otel_ml.hosts import Host, Hosts
from otel_ml.inbox import Inbox
from otel_ml.profile.values import category_key
from otel_ml.samples import Health
from otel_ml.timebox import TimeBox, foreign

__all__ = ["Labeller"]


class Labeller:
    """Hands labels to the engines of a process.

    Parameters
    ----------
    hosts
        The models.
    inbox
        Where labels arrive from other processes, or None.
    health
        Takes what cannot be used.
    guard
        Runs a function and returns None where that raises.
    say
        Logs a kind of problem, its text and values, now and then.
    box
        In which objects of the application are read.
    """

    def __init__(
        self,
        hosts: Hosts,
        inbox: Inbox | None,
        health: Health,
        guard: Callable[..., Any],
        say: Callable[..., None],
        box: TimeBox[Any],
    ) -> None:
        self.hosts = hosts
        self.inbox = inbox
        self.health = health
        self._guard = guard
        self._say = say
        self._box = box
        self._malformed = 0

    def take(self, waiting: deque[Any]) -> bool:
        """Hand over what waits; say whether there was anything.

        Parameters
        ----------
        waiting
            Model, ids and labels as they were given; other threads go on appending.
        """
        by_model: dict[str | None, tuple[list[str], list[Any]]] = {}
        for _ in range(len(waiting)):
            model, ids, values = waiting.popleft()
            work = partial(_pairs, ids, values)
            boxed = foreign([ids, values])
            pairs = self._guard(self._box.run, work) if boxed else self._guard(work)
            if pairs is None:
                self.health.drop("invalid_input")
            elif len(pairs[0]) != len(pairs[1]):
                self.health.drop("shape")
            else:
                held = by_model.setdefault(model, ([], []))
                held[0].extend(pairs[0])
                held[1].extend(pairs[1])
        if self.inbox is not None:
            for line in self.inbox.read():
                held = by_model.setdefault(line.model, ([], []))
                held[0].append(line.id)
                held[1].append(line.label)
            if self.inbox.malformed > self._malformed:
                new, self._malformed = self.inbox.malformed - self._malformed, self.inbox.malformed
                self._say("malformed labels", "%d lines of the label file are no labels", new)
        for model, (names, values) in by_model.items():
            self._guard(self._label, model, names, values)
        return bool(by_model)

    def _label(self, model: str | None, ids: Sequence[str], values: Sequence[Any]) -> None:
        keys = [_key(value) for value in values]
        known = [i for i, key in enumerate(keys) if key is not None]
        asked = [host for host in self.hosts if model in (None, host.key.name)]
        for host, mine in self._shares(asked, ids, known):
            self._guard(host.engine.observe_labels, [ids[i] for i in mine], [keys[i] for i in mine])

    def _shares(
        self, hosts: Sequence[Host], ids: Sequence[str], known: Sequence[int]
    ) -> Iterator[tuple[Host, Sequence[int]]]:
        """Yield which labels are whose: of whoever has the prediction, else of all."""
        joins = [None if h.engine.state is None else h.engine.state.labelled.join for h in hosts]
        if len(hosts) < 2:
            yield from ((host, known) for host in hosts)
            return
        homeless = set(known)
        shares: list[list[int]] = []
        for join in joins:
            shares.append([i for i in known if join is not None and join.knows(ids[i])])
            homeless.difference_update(shares[-1])
        for host, own in zip(hosts, shares, strict=True):
            yield host, sorted({*own, *homeless})


def _pairs(ids: Any, labels: Any) -> tuple[list[str], list[Any]]:
    """Return ids and labels as lists; objects of the application may raise."""
    return [str(i) for i in ids], list(labels)


def _key(label: object) -> str | None:
    """Return the class key of a label, None where there is none or it cannot be told."""
    try:
        return category_key(label)
    except BaseException:  # an object of the application: it may raise what ends a thread
        return None
