"""Rows of production in, by how much evidence is damped because they repeat one another out.

The reference knows how rows depend on each other only if its own rows are in the order of time.
Those of a table that was shuffled look independent, so production is looked at as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.monitors import DEPENDENT_CLIENTS
from otel_ml.profile import CLIENTS, LiveDependence, Reference, typical_design
from otel_ml.types import FloatArray

__all__ = ["Damping"]

_INDEPENDENT: Final = 1.2  # median design effect up to which the rows of a reference look so
_UNSEEN: Final = 1000.0  # damping while nothing is known: no evidence to speak of
_FIRST: Final = 100  # rows; a session may be longer than the first fifty, and then shows nothing
_EXCESS: Final = 1.5
_LATEST: Final = 256  # rows of one chunk
_MORE: Final = 1.5  # how much more dependence than planned for calls for another plan


class Damping:
    """How many rows say as much as one, by source.

    Parameters
    ----------
    reference
        What production is compared with.
    alone
        Of every counted source, whether its counts are of something else than rows, such as calls;
        those of the reference are the first. Shape ``(sources,)``.
    """

    def __init__(self, reference: Reference, alone: Sequence[bool]) -> None:
        seen = reference.profile.counts.astype(np.float64)
        law = seen / np.maximum(seen.sum(axis=1, keepdims=True), 1.0)
        self._live = LiveDependence(reference.layout, law)
        self._alone = np.array(alone, dtype=bool)
        self._clients = reference.layout.index.get(CLIENTS)
        self._held: _Shown | None = None
        self._planned = typical_design(reference.designs)
        self._shuffled = self._planned < _INDEPENDENT

    def add(self, codes: NDArray[np.int16]) -> None:
        """Take rows in the order of time, shape ``(n, S)``; the latest of many tell enough."""
        self._live.add(codes[-_LATEST:])

    def look_ahead(self, codes: NDArray[np.int16], together: int) -> None:
        """Say which rows come next, shape ``(n, S)``, and how many of them at most `together`."""
        if together <= _LATEST:
            self._live.look_ahead(codes)

    def effects(self, rows: int) -> FloatArray:
        """Return the design effect of every source as the rows of late show it.

        Parameters
        ----------
        rows
            Rows seen before these.

        Returns
        -------
        numpy.ndarray
            Shape ``(sources,)``; the same array as before where nothing new has been seen.
        """
        shown = self._shown()
        first = self._shuffled and rows < _FIRST
        if shown.first != first or shown.out is None:
            out = np.full(len(self._alone), shown.middle)
            out[: len(shown.seen)] = shown.seen
            if first:
                out = np.maximum(out, _UNSEEN)
            if self._clients is not None and out[self._clients] > DEPENDENT_CLIENTS:
                out[self._clients] = _UNSEEN
            shown.first, shown.out = first, np.where(self._alone, 1.0, out)
        return shown.out

    def _shown(self) -> _Shown:
        live, held = self._live.effects(), self._held
        if held is not None and (live is held.live or np.array_equal(live, held.live)):
            held.live = live
            return held
        # more than what is seen, for sessions longer than the blocks that are compared
        seen = 1 + _EXCESS * (live - 1)
        self._held = _Shown(live, seen, median(seen.tolist()) if len(seen) else 1.0)
        return self._held

    def replanned(self, reference: Reference) -> Reference | None:
        """Return the reference as it counts under the dependence seen now.

        Returns
        -------
        Reference or None
            With larger design effects, so that its own rows count for less; None where what was
            planned for holds.
        """
        shown = self._shown()
        seen, middle = shown.seen, shown.middle
        if middle <= _MORE * self._planned:
            return None
        self._planned = middle
        names = [cells.name for cells in reference.layout.sources]
        live = dict(zip(names, seen.tolist(), strict=True))
        designs = {k: max(v, live.get(k, middle)) for k, v in reference.designs.items()}
        return replace(reference, designs=designs)

    def to_json(self) -> dict[str, Any]:
        """Return what is held as plain JSON values."""
        return {"live": self._live.to_json(), "planned": self._planned}

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take up what `to_json` wrote."""
        self._live.restore(data["live"])
        self._planned = float(data["planned"])


@dataclass(eq=False)
class _Shown:
    """What follows from the dependence that production shows, until it shows another."""

    live: FloatArray  # design effects, as estimated
    seen: FloatArray  # the same, for longer sessions
    middle: float
    first: bool = False
    out: FloatArray | None = None  # of every source; `first` says whether as of the first rows
