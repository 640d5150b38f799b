"""Predictions waiting for their labels in, joined pairs out; bounded, any delay, any order."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

__all__ = ["Joined", "LabelJoin", "LabelState"]

LabelState = Literal["joined", "unknown", "duplicate", "conflict", "expired"]
T = TypeVar("T")

_JOINED: Final = "joined"  # in place of what was kept of a prediction whose label has come
_SHARED: Final = 1000  # labels of which one object is kept


@dataclass(frozen=True, slots=True)
class Joined(Generic[T]):
    """A label that found its prediction.

    Parameters
    ----------
    payload
        What was kept of the prediction.
    label
        The label, as a class key or a number.
    """

    payload: T
    label: Any


class _Generation(Generic[T]):
    """Predictions and early labels that go at the same time.

    Attributes
    ----------
    table
        By id: the number of a prediction without a label, or payload and label; an early label has
        no payload.
    early
        Ids of early labels.
    """

    __slots__ = ("_firsts", "_payloads", "early", "table")

    def __init__(self) -> None:
        self.table: dict[str, int | tuple[T | None, Any]] = {}
        self.early: set[str] = set()
        self._firsts: list[int] = []  # number of the first prediction of each batch
        self._payloads: list[tuple[Sequence[T], int]] = []  # and its place in what was given

    def add(self, ids: Sequence[str], payloads: Sequence[T], start: int) -> None:
        """Add predictions of which none has been labelled; an id used again names the later."""
        first = 0
        if self._firsts:
            held, place = self._payloads[-1]
            first = self._firsts[-1] + len(held) - place
        self._firsts.append(first)
        self._payloads.append((payloads, start))
        self.table.update(zip(ids, range(first, first + len(ids)), strict=True))

    def forget(self, ids: Sequence[str]) -> None:
        """Drop what is here under some ids."""
        if not self.table.keys().isdisjoint(ids):
            for key in ids:
                self.table.pop(key, None)
                self.early.discard(key)

    def entry(self, held: int | tuple[T | None, Any]) -> tuple[T | None, Any]:
        """Return payload and label of what the table holds."""
        if not isinstance(held, int):
            return held
        batch = bisect_right(self._firsts, held) - 1
        payloads, start = self._payloads[batch]
        return payloads[start + held - self._firsts[batch]], None

    def unlabelled(self) -> int:
        """Return how many predictions have no label."""
        return sum(
            1
            for e in self.table.values()
            if isinstance(e, int) or (e[0] is not None and e[1] is None)
        )


class LabelJoin(Generic[T]):
    """Joins labels to predictions by id.

    Two generations of a hash table: the older is dropped as a whole when the younger is full, so
    memory is bounded by ``2 × capacity`` predictions and a prediction waits for at least
    `capacity` further ones, whichever come: labels of unknown predictions take room as well.
    Labels that come before their prediction wait in the same way. The first label counts; a later
    equal one is a duplicate, a later different one a conflict. A label of None says nothing and is
    left out. An id that is used again names the later prediction.

    Parameters
    ----------
    capacity
        Predictions per generation.
    """

    def __init__(self, capacity: int = 50_000) -> None:
        self.capacity = capacity
        self.states: dict[LabelState, int] = dict.fromkeys(
            ("joined", "unknown", "duplicate", "conflict", "expired"), 0
        )
        self._young: _Generation[T] = _Generation()
        self._old: _Generation[T] = _Generation()
        self._aliases: tuple[dict[str, str], dict[str, str]] = ({}, {})
        self._shared: dict[Any, tuple[Any, Any]] = {}

    def __len__(self) -> int:
        return len(self._young.table) + len(self._old.table)

    def expect(
        self, ids: Sequence[str], payloads: Sequence[T], aliases: Sequence[str | None] | None = None
    ) -> list[Joined[T]]:
        """Remember predictions; return those whose label was here already.

        Parameters
        ----------
        ids
            One per prediction.
        payloads
            What is kept of each; items are asked for only when their label comes.
        aliases
            Second ids, one per prediction, or None.

        Raises
        ------
        ValueError
            If there are not as many payloads, or aliases, as ids.
        """
        if len(payloads) != len(ids) or (aliases is not None and len(aliases) != len(ids)):
            raise ValueError(f"{len(ids)} ids for {len(payloads)} predictions")
        early = self._young.early | self._old.early
        names = ids if aliases is None else [*ids, *(a for a in aliases if a is not None)]
        if early and not early.isdisjoint(names):
            return self._expect_early(ids, payloads, aliases)
        if aliases is not None:
            self._alias({a: k for a, k in zip(aliases, ids, strict=True) if a not in (None, k)})
        start = 0
        while start < len(ids):  # as many at once as the generation has room for
            if len(self._young.table) >= self.capacity:
                self._next_generation()
            stop = min(start + self.capacity - len(self._young.table), len(ids))
            part = ids[start:stop]
            self._old.forget(part)
            self._young.add(part, payloads, start)
            start = stop
        return []

    def _expect_early(
        self, ids: Sequence[str], payloads: Sequence[T], aliases: Sequence[str | None] | None
    ) -> list[Joined[T]]:
        """Remember predictions of which some have been labelled."""
        out: list[Joined[T]] = []
        for i, key in enumerate(ids):
            alias = None if aliases is None else aliases[i]
            early = [self._early(name) for name in dict.fromkeys((key, alias)) if name is not None]
            found = [label for label in early if label is not None]
            label = found[0] if found else None
            self._put(key, (payloads[i], None) if label is None else self._joined(label))
            if alias is not None and alias != key:
                self._alias({alias: key})
            for n, other in enumerate(found):  # counted as unknown when it came
                self.states["unknown"] -= 1
                if n == 0:
                    self.states["joined"] += 1
                else:
                    self.states["duplicate" if other == label else "conflict"] += 1
            if found:
                out.append(Joined(payloads[i], label))
        return out

    def _alias(self, names: Mapping[Any, str]) -> None:
        if len(self._aliases[0]) + len(names) > self.capacity:
            self._aliases = ({}, self._aliases[0])
        self._aliases[0].update(names)

    def _early(self, key: str) -> Any:
        """Return a label that came before its prediction, and forget it."""
        for held in (self._young, self._old):
            if key in held.early:
                held.early.discard(key)
                return held.entry(held.table.pop(key))[1]
        return None

    def _named(self, name: str) -> str:
        """Return the id a label means: a prediction's own id first, then an alias of one."""
        for held in (self._young, self._old):
            if name in held.table and name not in held.early:
                return name
        return self._aliases[0].get(name) or self._aliases[1].get(name) or name

    def labels(self, ids: Sequence[str], labels: Sequence[Any]) -> list[Joined[T]]:
        """Take labels; return those that found their prediction."""
        out: list[Joined[T]] = []
        for name, label in zip(ids, labels, strict=True):
            if label is None:
                continue
            key = self._named(name)
            held = self._young if key in self._young.table else self._old
            if key not in held.table:
                self.states["unknown"] += 1
                self._put(key, (None, label))
                continue
            payload, first = held.entry(held.table[key])
            if first is not None:
                self.states["duplicate" if first == label else "conflict"] += 1
            elif payload is not None:  # what is there is a prediction, a label, or both
                self.states["joined"] += 1
                held.table[key] = self._joined(label)
                out.append(Joined(payload, label))
        return out

    def knows(self, name: str) -> bool:
        """Say whether a prediction of this id, or with this alias, is here."""
        key = self._named(name)
        return any(key in held.table and key not in held.early for held in self._generations)

    @property
    def _generations(self) -> tuple[_Generation[T], _Generation[T]]:
        return self._young, self._old

    def _joined(self, label: Any) -> tuple[Any, Any]:
        """Return what is kept once a label has come: nothing but it, shared by all of one class."""
        if len(self._shared) >= _SHARED:
            self._shared.clear()
        return self._shared.setdefault(label, (_JOINED, label))

    def _put(self, key: str, entry: tuple[T | None, Any]) -> None:
        if key not in self._young.table and len(self._young.table) >= self.capacity:
            self._next_generation()
        self._old.forget((key,))
        self._young.table[key] = entry
        if entry[0] is None:
            self._young.early.add(key)

    def _next_generation(self) -> None:
        self.states["expired"] += self._old.unlabelled()
        self._old, self._young = self._young, _Generation()
        self._aliases = ({}, self._aliases[0])

    def to_json(self, plain: Callable[[T], Any]) -> dict[str, Any]:
        """Return the waiting table as plain JSON values; `plain` makes them of a payload."""
        return {
            "states": dict(self.states),
            **{
                name: [
                    [k, v if v in (None, _JOINED) else plain(v), label]
                    for k, (v, label) in ((k, held.entry(e)) for k, e in held.table.items())
                ]
                for name, held in (("young", self._young), ("old", self._old))
            },
            "aliases": [dict(self._aliases[0]), dict(self._aliases[1])],
        }

    def restore(self, data: Mapping[str, Any], payload: Callable[[Iterable[Any]], T]) -> None:
        """Take up what `to_json` wrote; `payload` makes a payload from its plain values."""
        self.states.update(data["states"])
        self._aliases = (dict(data["aliases"][0]), dict(data["aliases"][1]))
        for name, generation in (("young", self._young), ("old", self._old)):
            for key, held, label in data[name]:
                known = held if held in (None, _JOINED) else payload(held)
                generation.table[key] = (known, label)
                if held is None:
                    generation.early.add(key)
