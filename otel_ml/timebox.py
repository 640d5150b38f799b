"""Work on an application's objects in, its result out, or the word that it took too long.

Reading an object may run the application's code, which may wait for ever. That happens in a thread
of its own, which is left behind if it does not come back: monitoring goes on without it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from itertools import chain
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar

import numpy as np

from otel_ml.frame import MORE, OUTPUT, Frame, More, features_of
from otel_ml.profile.values import PLAIN
from otel_ml.types import Captured

__all__ = ["TimeBox", "foreign", "is_foreign_call"]

LIMIT: Final = 1.0
"""Seconds an object of the application may take to be read."""

_LEFT: Final = 16  # threads left behind at most: then nothing of this kind is read any more
_LIBRARIES: Final = frozenset({"numpy", "pandas", "polars", "pyarrow", "scipy", "narwhals"})

_DEEPEST: Final = 6
_module_of = type.__dict__["__module__"].__get__  # runs no code of a metaclass

T = TypeVar("T")


def is_foreign_call(call: Frame | Captured) -> bool:
    """Say whether reading a call may run code of the application."""
    if isinstance(call, list):
        more: More | None = call[MORE]
        values = [features_of(call), call[OUTPUT], None if more is None else more.outputs]
    else:
        values = [call.features, call.output, call.outputs, call.extra]
    return foreign(values)


def foreign(value: Any, depth: int = 0) -> bool:
    """Say whether a value holds anything but numbers, text and tables of known libraries.

    Parameters
    ----------
    value
        Lists, tuples and dicts are looked into, as are arrays of objects.
    depth
        How deep in others it lies: what is deeper than tables are, or without end, is foreign.
    """
    kind = type(value)
    if kind in PLAIN:
        return False
    if depth > _DEEPEST:
        return True
    if kind is np.ndarray:
        return bool(value.dtype.hasobject) and _any(value.ravel().tolist(), depth)
    if kind is list or kind is tuple:
        return _any(value, depth)
    if kind is dict:
        return _any(value.values(), depth)
    module = _module_of(kind)
    return type(module) is not str or module.partition(".")[0] not in _LIBRARIES


def _any(values: Iterable[Any], depth: int) -> bool:
    held = list(values)
    kinds = set(map(type, held))
    if kinds <= PLAIN:
        return False
    if kinds == {list} or kinds == {tuple}:  # rows: all their cells at once
        cells = list(chain.from_iterable(held))
        return not set(map(type, cells)) <= PLAIN and any(foreign(v, depth + 2) for v in cells)
    return any(foreign(v, depth + 1) for v in held)


class _Helper:
    """The thread in which objects are read."""

    def __init__(self) -> None:
        self.tasks: SimpleQueue[tuple[Callable[[], Any] | None]] = SimpleQueue()
        self.results: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self.abandoned = False
        self.thread = threading.Thread(target=self._work, name="otel-ml-read", daemon=True)
        self.thread.start()

    def _work(self) -> None:
        while not self.abandoned:
            (work,) = self.tasks.get()
            if work is None:
                return
            try:
                found: tuple[Any, BaseException | None] = (work(), None)
            except BaseException as error:  # objects may raise anything; the worker is told
                found = (None, error)
            self.results.put(found)


class TimeBox(Generic[T]):
    """Runs work that may never end, one piece at a time.

    Parameters
    ----------
    limit
        Seconds a piece may take.
    """

    def __init__(self, limit: float = LIMIT) -> None:
        self.limit = limit
        self._helper: _Helper | None = None
        self._left: list[threading.Thread] = []

    def run(self, work: Callable[[], T]) -> T:
        """Return what the work returns.

        Raises
        ------
        TimeoutError
            If it takes longer than the limit, or too many threads have been left behind.
        BaseException
            Whatever the work raises.
        """
        self._left = [thread for thread in self._left if thread.is_alive()]
        if len(self._left) >= _LEFT:
            raise TimeoutError("too many objects never came to an end: such are not read any more")
        if self._helper is None:
            self._helper = _Helper()
        helper = self._helper
        helper.tasks.put((work,))
        try:
            result, error = helper.results.get(timeout=self.limit)
        except Empty:
            helper.abandoned, self._helper = True, None
            self._left.append(helper.thread)
            text = f"an object of the application took longer than {self.limit:g} s to be read"
            raise TimeoutError(text) from None
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]  # of `work`

    def close(self) -> None:
        """End the thread, if there is one."""
        helper, self._helper = self._helper, None
        if helper is not None:
            helper.tasks.put((None,))
            helper.thread.join(self.limit)  # it waits for nothing but this
