"""Predictions waiting for their labels in, joined pairs out; bounded, any delay, any order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

__all__ = ["Joined", "LabelJoin", "LabelState"]

LabelState = Literal["joined", "unknown", "duplicate", "conflict", "expired"]
T = TypeVar("T")


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
        self._young: dict[str, tuple[T | None, Any]] = {}
        self._old: dict[str, tuple[T | None, Any]] = {}
        self._aliases: tuple[dict[str, str], dict[str, str]] = ({}, {})

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def expect(
        self, ids: Sequence[str], payloads: Iterable[T], aliases: Sequence[str | None] | None = None
    ) -> list[Joined[T]]:
        """Remember predictions; return those whose label was here already."""
        out: list[Joined[T]] = []
        for i, (key, payload) in enumerate(zip(ids, payloads, strict=True)):
            alias = None if aliases is None else aliases[i]
            early = [self._early(name) for name in dict.fromkeys((key, alias)) if name is not None]
            found = [label for label in early if label is not None]
            label = found[0] if found else None
            self._put(key, (payload, label))
            if alias is not None and alias != key:
                if alias not in self._aliases[0] and len(self._aliases[0]) >= self.capacity:
                    self._aliases = ({}, self._aliases[0])
                self._aliases[0][alias] = key
            for n, other in enumerate(found):  # counted as unknown when it came
                self.states["unknown"] -= 1
                if n == 0:
                    self.states["joined"] += 1
                else:
                    self.states["duplicate" if other == label else "conflict"] += 1
            if found:
                out.append(Joined(payload, label))
        return out

    def _early(self, key: str) -> Any:
        """Return a label that came before its prediction, and forget it."""
        for table in (self._young, self._old):
            known = table.get(key)
            if known is not None and known[0] is None:
                del table[key]
                return known[1]
        return None

    def _named(self, name: str) -> str:
        """Return the id a label means: a prediction's own id first, then an alias of one."""
        for table in (self._young, self._old):
            if name in table and table[name][0] is not None:
                return name
        return self._aliases[0].get(name) or self._aliases[1].get(name) or name

    def labels(self, ids: Sequence[str], labels: Sequence[Any]) -> list[Joined[T]]:
        """Take labels; return those that found their prediction."""
        out: list[Joined[T]] = []
        for name, label in zip(ids, labels, strict=True):
            if label is None:
                continue
            key = self._named(name)
            table = self._young if key in self._young else self._old
            known = table.get(key)
            if known is None:
                self.states["unknown"] += 1
                self._put(key, (None, label))
                continue
            payload, first = known
            if first is not None:
                self.states["duplicate" if first == label else "conflict"] += 1
            elif payload is not None:  # what is there is a prediction, a label, or both
                self.states["joined"] += 1
                table[key] = (payload, label)
                out.append(Joined(payload, label))
        return out

    def _put(self, key: str, entry: tuple[T | None, Any]) -> None:
        if key not in self._young and len(self._young) >= self.capacity:
            self.states["expired"] += sum(
                1 for payload, label in self._old.values() if payload is not None and label is None
            )
            self._old, self._young = self._young, {}
            self._aliases = ({}, self._aliases[0])
        self._old.pop(key, None)
        self._young[key] = entry

    def to_json(self, plain: Callable[[T], Any]) -> dict[str, Any]:
        """Return the waiting table as plain JSON values; `plain` makes them of a payload."""
        return {
            "states": dict(self.states),
            **{
                name: [
                    [k, None if v is None else plain(v), label] for k, (v, label) in held.items()
                ]
                for name, held in (("young", self._young), ("old", self._old))
            },
            "aliases": [dict(self._aliases[0]), dict(self._aliases[1])],
        }

    def restore(self, data: Mapping[str, Any], payload: Callable[[Iterable[Any]], T]) -> None:
        """Take up what `to_json` wrote; `payload` makes a payload from its plain values."""
        self.states.update(data["states"])
        self._aliases = (dict(data["aliases"][0]), dict(data["aliases"][1]))
        for name, table in (("young", self._young), ("old", self._old)):
            for key, held, label in data[name]:
                table[key] = (None if held is None else payload(held), label)
