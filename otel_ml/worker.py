"""Queued calls and labels in, engines fed and telemetry exported: what the one thread does."""

from __future__ import annotations

import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from otel_ml.config import Settings
from otel_ml.hosts import Host, Hosts, load_reference, namespace_of, settings_of
from otel_ml.inbox import Inbox
from otel_ml.incidents import Change
from otel_ml.incidents.board import BEAT, Board
from otel_ml.intake import Converted, convert, join_batches
from otel_ml.profile.values import category_key
from otel_ml.samples import Health, incident_event, model_samples, process_samples
from otel_ml.snapshot import call_rows
from otel_ml.types import Batch, Captured, Event, ModelKey, Sample

if TYPE_CHECKING:
    from otel_ml.emit import Sink

__all__ = ["Host", "Worker", "load_reference", "settings_of"]

_log = logging.getLogger("otel_ml")
_EXPORT_TIMEOUT: Final = 3.0
_TAKE: Final = 4096  # calls converted before labels and exports get their turn
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
        self._key = (settings.salt or secrets.token_hex(16)).encode()
        self._interval = 60.0
        self._next = 0.0
        self._open = False
        self._board = None if inbox is None else Board(inbox.directory)
        self._news = True
        self._posted = 0.0
        self._in_hand = 0
        self._malformed = self._no_commands = 0
        self._said: dict[str, float] = {}

    def open(self) -> None:
        """Make the sinks and set the time of the next export, unless that has been done."""
        if self._open:
            return
        self._open = self._news = True
        made = self._guarded(self._sinks)
        self.sinks, self._interval = ((), self._interval) if made is None else made
        # the first export comes early: whoever sets this up wants to see that it works
        self._next = time.monotonic() + min(self._interval, 5.0)

    def close(self) -> None:
        """Release the sinks, and say that nothing is watched any more."""
        self._guarded(self._post, time.time(), True)
        sinks, self.sinks, self._open = self.sinks, (), False
        for sink in sinks:
            self._guarded(sink.shutdown, _EXPORT_TIMEOUT)

    def due(self) -> bool:
        """Tell whether it is time to export."""
        return time.monotonic() >= self._next

    def take(self, queue: deque[Captured], labels: deque[Any], *, everything: bool = False) -> None:
        """Convert, count and evaluate what waits.

        Parameters
        ----------
        queue, labels
            What waits; other threads go on appending.
        everything
            All that is there now, even if an export is due.
        """
        began = time.perf_counter()
        if self._in_hand:  # the thread was killed in the middle: this is what it lost
            self.health.drop("invalid_input", self._in_hand)
            self._in_hand = 0
        left = len(queue)
        worked = left > 0
        while left > 0:
            calls = [queue.popleft() for _ in range(min(left, _TAKE))]
            left -= len(calls)
            self._in_hand = sum(map(call_rows, calls))
            self._count(calls)
            self._in_hand = 0
            if self.due() and not everything:
                break
        worked |= self._take_labels(labels)
        now = time.time()
        self._guarded(self._obey, now)
        for host in self.hosts:
            self._guarded(self._evaluate, host, now)
        self._guarded(self._post, now)
        if worked:
            self.health.evaluation.append(time.perf_counter() - began)

    def export(
        self, *, skipped: Mapping[str, int], queued: int, capacity: int, restarts: int
    ) -> None:
        """Send samples and events to every sink."""
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
        for sink in self.sinks:
            report = self._guarded(self._export, sink, samples, events, now_ns)
            if report is not None:
                self.health.exported(report.outcomes, report.ok, now_ns)

    def _sinks(self) -> tuple[Sequence[Sink], float]:
        if self._make_sinks is not None:
            return self._make_sinks(), 0.05
        from otel_ml.emit import build_sinks, export_interval

        return build_sinks(self.environ), max(export_interval(self.environ), 0.05)

    def _export(
        self, sink: Sink, samples: Sequence[Sample], events: Sequence[Event], now_ns: int
    ) -> Any:
        return sink.export(
            samples, events, start_ns=self.start_ns, now_ns=now_ns, timeout=_EXPORT_TIMEOUT
        )

    def _count(self, calls: Sequence[Captured]) -> None:
        by_host: dict[ModelKey, list[Batch]] = {}
        for call in calls:
            lost = call_rows(call)
            found = self._guarded(self._converted, call)
            host, converted = (None, None) if found is None else found
            if host is not None and converted is not None and converted.batch is not None:
                by_host.setdefault(host.key, []).append(converted.batch)
                continue
            self.health.drop("invalid_input" if converted is None else converted.problem, lost)
            self._in_hand -= lost
        for key, batches in by_host.items():
            host = self.hosts.by_key[key]
            for batch in self._guarded(lambda b=batches: list(join_batches(b))) or batches:
                n = batch.n + len(batch.errors)
                counted = self._guarded(host.tally.add, batch)
                if counted is None:
                    self.health.drop("invalid_input", n)
                else:
                    self.health.counted += n
                self._in_hand -= n
                self._guarded(self._observe, host, batch)

    def _converted(self, call: Captured) -> tuple[Host | None, Converted]:
        host = self.hosts.of(call.model)
        if host is None:
            return None, Converted(None, "overflow")
        reference = host.engine.reference
        return host, convert(
            call,
            names=() if reference is None else reference.features,
            positive=host.settings.positive,
            ignore=host.settings.ignore,
            key=self._key,
        )

    def _observe(self, host: Host, batch: Batch) -> None:
        learning = host.engine.learner is not None
        host.engine.observe(batch)
        if learning and host.engine.reference is not None:
            self.hosts.froze(host)

    def _take_labels(self, labels: deque[Any]) -> bool:
        by_model: dict[str | None, tuple[list[str], list[Any]]] = {}
        for _ in range(len(labels)):
            model, ids, values = labels.popleft()
            held = by_model.setdefault(model, ([], []))
            held[0].extend(ids)
            held[1].extend(values)
        if self.inbox is not None:
            for line in self.inbox.read():
                held = by_model.setdefault(line.model, ([], []))
                held[0].append(line.id)
                held[1].append(line.label)
            if self.inbox.malformed > self._malformed:
                new, self._malformed = self.inbox.malformed - self._malformed, self.inbox.malformed
                self._say("malformed labels", "%d lines of the label file are no labels", new)
        for model, (ids, values) in by_model.items():
            self._guarded(self._label, model, ids, values)
        return bool(by_model)

    def _label(self, model: str | None, ids: Sequence[str], values: Sequence[Any]) -> None:
        keys = [_key(value) for value in values]
        known = [i for i, key in enumerate(keys) if key is not None]
        for host in self.hosts:
            if model in (None, host.key.name):
                self._guarded(
                    host.engine.observe_labels, [ids[i] for i in known], [keys[i] for i in known]
                )

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


def _key(label: object) -> str | None:
    """Return the class key of a label, None where there is none or it cannot be told."""
    try:
        return category_key(label)
    except BaseException:  # an object of the application: it may raise what ends a thread
        return None
