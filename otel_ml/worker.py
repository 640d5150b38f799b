"""Queued calls and labels in, engines fed and telemetry exported: what the one thread does."""

from __future__ import annotations

import logging
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from otel_ml.config import Settings
from otel_ml.exporting import Exporter
from otel_ml.feeder import Call, Feeder
from otel_ml.hosts import Host, Hosts, load_reference, namespace_of, settings_of
from otel_ml.inbox import Inbox
from otel_ml.incidents import Change
from otel_ml.incidents.board import BEAT, Board
from otel_ml.labelling import Labeller
from otel_ml.notices import INVALID, SAMPLED, UNREADABLE, Notices
from otel_ml.samples import Health, incident_event, model_samples, process_samples
from otel_ml.types import Event, Sample

if TYPE_CHECKING:
    from otel_ml.emit import Sink

__all__ = ["EXPORT_TIMEOUT", "Host", "Worker", "load_reference", "settings_of"]

_log = logging.getLogger("otel_ml")
EXPORT_TIMEOUT: Final = 3.0  # seconds that all sinks together may take
_TAKE: Final = 4096  # calls converted before labels and exports get their turn
_LATER: Final = 0.25  # seconds until an export is tried again that another one is in the way of
_SAY_AGAIN: Final = 60.0  # seconds before the same problem is logged again


class Worker:
    """State of the worker thread; survives the thread being stopped and started again.

    Parameters
    ----------
    settings
        Of this process.
    environ
        Environment variables.
    make_sinks
        Returns the sinks; the environment decides if None.
    inbox
        Where labels arrive from other processes, or None.
    """

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        make_sinks: Callable[[], Sequence[Sink]] | None = None,
        inbox: Inbox | None = None,
    ) -> None:
        self.settings = settings
        self.environ = environ
        self.events: list[Event] = []
        self.hosts = Hosts(settings, self.events.append, namespace_of(environ))
        self.sinks: Sequence[Sink] = ()
        self.health = Health()
        self.start_ns = time.time_ns()
        self.inbox = inbox
        self._make_sinks = make_sinks
        key = (settings.salt or secrets.token_hex(16)).encode()
        self.feeder = Feeder(self.hosts, self.health, self._guarded, key)
        self._exporter = Exporter(self._guarded)
        self._interval = 60.0
        self._next = 0.0
        self._open = False
        self._board = None if inbox is None else Board(inbox.directory)
        self._news = True
        self._posted = 0.0
        self._no_commands = 0
        self._labeller = Labeller(
            self.hosts, inbox, self.health, self._guarded, self._say, self.feeder.box
        )
        self._said: dict[str, float] = {}
        self._notices = Notices()
        self._noticed = -1.0

    def open(self) -> None:
        """Make the sinks and set the time of the next export, unless that has been done."""
        if self._open:
            return
        self._news = True
        made = self._guarded(self._sinks)
        if made is not None:  # else it is tried again before the next export
            self._open = True
            self.sinks, self._interval = made
        # the first export comes early: whoever sets this up wants to see that it works
        self._next = time.monotonic() + min(self._interval, 5.0)

    def close(self, deadline: float) -> None:
        """Release the sinks, and say that nothing is watched any more.

        Parameters
        ----------
        deadline
            Time of the monotonic clock by which it should be done.
        """
        self._guarded(self._post, time.time(), True)
        self.feeder.box.close()
        sinks, self.sinks, self._open = self.sinks, (), False
        for sink in sinks:
            self._guarded(lambda s=sink: s.shutdown(_left(deadline)))
        self._exporter.close(deadline)

    def due(self) -> bool:
        """Tell whether it is time to export."""
        return time.monotonic() >= self._next

    def rest(self, least: float, most: float) -> float:
        """Return the seconds until the next export, within bounds."""
        return min(max(self._next - time.monotonic(), least), most)

    def take(
        self,
        queue: deque[Call],
        labels: deque[Any],
        capacity: int,
        lost: Callable[[], Mapping[str, int]] = dict,
        *,
        everything: bool = False,
    ) -> None:
        """Convert, count and evaluate what waits.

        Parameters
        ----------
        queue, labels
            What waits; other threads go on appending.
        capacity
            Calls that the queue holds at most.
        lost
            Returns what was not taken since the start of the process, by reason.
        everything
            All that is there now, even if an export is due.
        """
        began = time.perf_counter()
        self._hear()
        self.feeder.recover()
        left = len(queue)
        self.feeder.pace(left, capacity)
        worked = left > 0
        while left > 0:
            # the feeder has them before anything can fail
            calls = self.feeder.hand = [queue.popleft() for _ in range(min(left, _TAKE))]
            left -= len(calls)
            self.feeder.feed(calls)
            if self.due() and not everything:
                break
        worked |= self._labeller.take(labels)
        now = time.time()
        self._guarded(self._obey, now)
        for host in self.hosts:
            self._guarded(self._evaluate, host, now)
        self._guarded(self._post, now)
        self.feeder.box.close()  # a thread for every round that needs one, none for the others
        self._notice(lost, at_once=everything)
        if worked:
            self.health.evaluation.append(time.perf_counter() - began)

    def _notice(self, lost: Callable[[], Mapping[str, int]], *, at_once: bool) -> None:
        """Say what is being lost; look once a second, and at the end."""
        now = time.monotonic()
        if at_once or now - self._noticed >= 1.0:
            self._noticed = now
            health = self.health
            totals = Counter(lost()) + health.dropped + health.lost
            totals += {UNREADABLE + reason: n for reason, n in health.unreadable.items()}
            self._guarded(
                self._notices.look,
                {**totals, SAMPLED: health.sampled, INVALID: health.invalid},
                now,
            )

    def export(
        self,
        *,
        skipped: Mapping[str, int],
        queued: int,
        capacity: int,
        restarts: int,
        deadline: float | None = None,
        wait: bool = True,
    ) -> None:
        """Send samples and events to every sink.

        Parameters
        ----------
        skipped, queued, capacity, restarts
            As of `Health`.
        deadline
            Of the last export, a time of the monotonic clock; None gives `EXPORT_TIMEOUT`.
        wait
            Whether to wait for it. Else none begins while another one is under way.
        """
        self.open()
        if self._exporter.busy and not wait:
            self._next = time.monotonic() + min(_LATER, self._interval)
            return
        if deadline is None:
            self._exporter.wait(time.monotonic() + EXPORT_TIMEOUT)
            deadline = time.monotonic() + EXPORT_TIMEOUT
        else:
            self._exporter.hurry(self.sinks, deadline)
        self._hear()
        self._next = time.monotonic() + self._interval
        now_ns = time.time_ns()
        samples: list[Sample] = []
        for host in self.hosts:
            samples += self._guarded(self._samples, host) or []
        self.health.skipped = dict(skipped)
        self.health.queued, self.health.capacity = queued, capacity
        self.health.restarts = restarts
        samples += process_samples(self.health, now_ns)
        events = self.events[:]
        del self.events[: len(events)]
        self._exporter.begin(self.sinks, samples, events, self.start_ns, now_ns, deadline)
        if wait:
            self._exporter.wait(deadline)
            self._hear()

    def _hear(self) -> None:
        """Take up what became of exports."""
        for report, begun_ns in self._exporter.reports():
            self.health.exported(report, begun_ns)

    def _sinks(self) -> tuple[Sequence[Sink], float]:
        if self._make_sinks is not None:
            return self._make_sinks(), 0.05
        from otel_ml.emit import build_sinks, export_interval

        return build_sinks(self.environ), max(export_interval(self.environ), 0.05)

    def _evaluate(self, host: Host, now: float) -> None:
        changes = host.engine.evaluate(now)
        if host.engine.state is not None:  # a mute ends even while there is no traffic
            changes += host.engine.state.incidents.expire(now)
        self._tell(host, changes)

    def _obey(self, now: float) -> None:
        """Do what people say through the state directory."""
        if self.inbox is None:
            return
        commands = self.inbox.commands()
        for host, command in self.hosts.orders(commands, now):
            self._tell(host, self._guarded(self.hosts.do, host, command) or [])
        self._news |= bool(commands)
        if (bad := self.inbox.malformed_commands) > self._no_commands:
            new, self._no_commands = bad - self._no_commands, bad
            self._say("malformed commands", "%d lines of the command file are no commands", new)

    def _tell(self, host: Host, changes: Sequence[Change]) -> None:
        for change in changes:
            self._news = True
            self.events.append(incident_event(host.key, change))
            incident = change.incident
            if incident.paged and change.state in ("opened", "closed"):
                what = (change.state, host.key.name, incident.cause, incident.culprit.text)
                _log.warning("incident %s of model %s: %s (%s)", *what)

    def _post(self, now: float, ended: bool = False) -> None:
        """Show the incidents in the state directory, for whoever lists them there."""
        due = ended or self._news or abs(now - self._posted) >= BEAT
        if self._board is None or not due:
            return
        self._news, self._posted = False, now
        self._board.post(self.hosts.posts(now), ended=ended)

    def _samples(self, host: Host) -> list[Sample]:
        return model_samples(host.key, host.engine, host.tally, host.seen, self.settings.min_group)

    def _guarded(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Run one piece of work; what it raises loses that piece only and is said once a minute.

        Notes
        -----
        Conversion runs code of the application's objects, which may raise what ends a thread.
        """
        try:
            return work(*arguments)
        except BaseException as error:
            kind = f"{type(error).__name__} in {getattr(work, '__qualname__', 'conversion')}"
            self._say(kind, "monitoring lost something: %s", kind, error=error)
            return None

    def _say(self, kind: str, text: str, *values: Any, error: BaseException | None = None) -> None:
        now = time.monotonic()
        if now - self._said.get(kind, -_SAY_AGAIN) >= _SAY_AGAIN:
            self._said[kind] = now
            _log.error(text, *values, exc_info=error)


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.0)
