"""Loops in, the time of each per turn out, measured in short rounds that take turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["best", "each", "middle", "rounds", "share"]

Work = Callable[[], object]
Loop = Callable[[Any], object]


def rounds(
    loops: Mapping[str, Loop], feed: Work, between: Mapping[str, Work], turns: int
) -> dict[str, list[float]]:
    """Time loops in turns.

    Parameters
    ----------
    loops
        What is timed, by name.
    feed
        Returns what the next turn is given; untimed.
    between
        What is done after each, untimed.
    turns
        How often each is timed. Every turn begins with another one.

    Returns
    -------
    dict
        Seconds of each turn, by name.
    """
    found: dict[str, list[float]] = {name: [] for name in loops}
    order = list(loops)
    for turn in range(turns):
        at = turn % len(order)
        for name in order[at:] + order[:at]:
            work, given = loops[name], feed()
            started = time.perf_counter()
            work(given)
            found[name].append(time.perf_counter() - started)
            between[name]()
    return found


def each(loop: Callable[[Sequence[Any]], None], items: Sequence[Any]) -> list[int]:
    """Return the nanoseconds a loop takes for each item alone."""
    clock = time.perf_counter_ns
    found = []
    for item in items:
        one = (item,)
        started = clock()
        loop(one)
        found.append(clock() - started)
    return found


def share(values: Sequence[float], part: float) -> float:
    """Return the value that a part of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)]


def best(found: Sequence[float]) -> float:
    """Return the time of the turn that nothing else disturbed."""
    return min(found)


def middle(found: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(found)
