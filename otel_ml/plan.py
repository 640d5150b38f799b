"""A reference in, what is counted of a model and what is watched out."""

from __future__ import annotations

from collections.abc import Sequence

from otel_ml.errors import DataError
from otel_ml.local import CALL_SOURCES, ROW_SOURCES
from otel_ml.monitors import MONITORS, Monitor, label_sources
from otel_ml.profile import Reference
from otel_ml.types import Stream

__all__ = ["sizes_of", "streams_of"]


def streams_of(
    reference: Reference, min_effect: float, monitors: Sequence[Monitor] = MONITORS
) -> list[Stream]:
    """Return the streams that have something to bet on, in the order of the monitors.

    Parameters
    ----------
    reference
        What production is compared with.
    min_effect
        Total variation below which drift never alarms.
    monitors
        Those that are asked.
    """
    found = [s for monitor in monitors for s in monitor(reference, min_effect)]
    return [s for s in found if not s.empty]


def sizes_of(reference: Reference) -> list[tuple[str, int]]:
    """Return name and number of cells of every counted source.

    Raises
    ------
    DataError
        If a feature has the name of another source.
    """
    sizes = [
        *((c.name, c.size) for c in reference.layout.sources),
        *((name, len(cells)) for name, cells in (*ROW_SOURCES.items(), *CALL_SOURCES.items())),
        *label_sources(reference).items(),
    ]
    names = [name for name, _ in sizes]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(
            f"a feature is called {twice!r}, as the counts of calls or errors are",
            remedy="rename the column and build the reference again",
        )
    return sizes
