"""What a sink is: samples and events go in, a report of what became of them comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from otel_ml.types import Event, Sample

__all__ = ["ExportReport", "Sink"]


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What became of one export.

    Parameters
    ----------
    ok
        Whether everything that could be encoded arrived, or had nowhere to go.
    dropped
        Points and events that are lost for good, by ``ml.drop.reason``. A cumulative point that
        did not arrive is not lost: the next export carries it.
    outcomes
        ``success``, ``partial`` or ``failure`` by signal (``metrics``, ``logs``); a signal that had
        nothing to send is absent.
    """

    ok: bool
    dropped: Mapping[str, int] = field(default_factory=dict)
    outcomes: Mapping[str, str] = field(default_factory=dict)


class Sink(Protocol):
    """Where samples and events go.

    Notes
    -----
    One that waits for somebody may have a method ``hurry()``, after which an export that is under
    way in another thread waits no longer.
    """

    def export(
        self,
        samples: Sequence[Sample],
        events: Sequence[Event],
        *,
        start_ns: int,
        now_ns: int,
        timeout: float,
    ) -> ExportReport:
        """Send the current value of every series, and the events since the last call.

        Never raises.

        Parameters
        ----------
        samples
            One sample per series; counters and histograms are cumulative since `start_ns`.
        events
            Events that no earlier call was given. A sink keeps those it could not send.
        start_ns, now_ns
            Start of the process' counts and time of the samples, nanoseconds since the epoch.
        timeout
            Seconds the whole call may take; with 0 it takes the events and waits for nothing.
        """
        ...

    def shutdown(self, timeout: float) -> None:
        """Send what is still kept and release every resource, within `timeout` seconds."""
        ...
