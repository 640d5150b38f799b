"""Queued calls and labels in, engines fed and telemetry exported: what the one thread does."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from otel_ml.budget import Budget
from otel_ml.config import ModelSettings, Settings
from otel_ml.engine import Engine
from otel_ml.errors import OtelMlError, ReferenceError
from otel_ml.identity import resolve
from otel_ml.inbox import Inbox
from otel_ml.intake import convert, join_batches
from otel_ml.profile import Reference
from otel_ml.samples import Health, incident_event, model_samples, process_samples, reference_event
from otel_ml.tally import Tally
from otel_ml.types import Batch, Captured, Event, ModelKey, Sample

if TYPE_CHECKING:
    from otel_ml.emit import Sink

__all__ = ["Host", "Worker", "load_reference", "settings_of"]

_log = logging.getLogger("otel_ml")
_EXPORT_TIMEOUT: Final = 3.0
_MAX_MODELS: Final = 50  # each has its own series: beyond, predictions are counted as dropped
_TAKE: Final = 4096  # calls converted before labels and exports get their turn
_SAY_AGAIN: Final = 60.0  # seconds before the same problem is logged again


class Host:
    """One model in the worker: its engine and the counts that need no reference."""

    def __init__(self, key: ModelKey, engine: Engine, settings: ModelSettings) -> None:
        self.key = key
        self.engine = engine
        self.settings = settings
        self.tally = Tally()
        self.seen: set[tuple[Any, ...]] = set()


def settings_of(key: ModelKey, settings: Settings) -> ModelSettings:
    """Return the entry of the configuration for a model; an empty one where there is none."""
    for entry in settings.models:
        if entry.name == key.name:
            return entry
    unnamed = [e for e in settings.models if not e.name]
    return unnamed[0] if len(settings.models) == 1 and unnamed else ModelSettings(name=key.name)


def load_reference(entry: ModelSettings, name: str) -> Reference | None:
    """Return the reference the configuration names for a model, or None.

    Raises
    ------
    ReferenceError
        If the file cannot be used or belongs to another model.
    """
    if entry.reference is None:
        return None
    reference = Reference.load(entry.reference)
    if entry.name and reference.model_name != entry.name:
        raise ReferenceError(
            f"{entry.reference}: a reference of model {reference.model_name!r}, "
            f"configured for model {entry.name!r}",
            remedy="name the reference of this model in `models[].reference`, or correct "
            "`models[].name`",
        )
    if entry.version and reference.model_version not in (None, entry.version):
        raise ReferenceError(
            f"{entry.reference}: a reference of version {reference.model_version!r} of "
            f"{name!r}, configured for version {entry.version!r}",
            remedy="build a reference for this version, or correct `models[].version`",
        )
    return reference


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
    """

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        make_sinks: Callable[[], Sequence[Sink]] | None = None,
    ) -> None:
        self.settings = settings
        self.environ = environ
        self.hosts: dict[ModelKey, Host] = {}
        self.sinks: Sequence[Sink] = ()
        self.events: list[Event] = []
        self.health = Health()
        self.start_ns = time.time_ns()
        self.inbox = None if settings.state_dir is None else Inbox(settings.state_dir)
        self._make_sinks = make_sinks
        self._names: dict[ModelKey, ModelKey] = {}
        self._key = (settings.salt or secrets.token_hex(16)).encode()
        self._interval = 60.0
        self._next = 0.0
        self._said: dict[str, float] = {}

    def open(self) -> None:
        """Make the sinks and set the time of the next export."""
        if self._make_sinks is None:
            from otel_ml.emit import build_sinks, export_interval

            self.sinks = build_sinks(self.environ)
            self._interval = max(export_interval(self.environ), 0.05)
        else:
            self.sinks = self._make_sinks()
            self._interval = 0.05
        # the first export comes early: whoever sets this up wants to see that it works
        self._next = time.monotonic() + min(self._interval, 5.0)

    def close(self) -> None:
        """Release the sinks."""
        for sink in self.sinks:
            sink.shutdown(_EXPORT_TIMEOUT)
        self.sinks = ()

    def due(self) -> bool:
        """Tell whether it is time to export."""
        return time.monotonic() >= self._next

    def take(self, queue: deque[Captured], labels: deque[Any]) -> None:
        """Convert, count and evaluate everything that waits."""
        began = time.perf_counter()
        worked = False
        while queue:
            calls = [queue.popleft() for _ in range(min(len(queue), _TAKE))]
            self._count(calls)
            worked = True
            if self.due():
                break
        worked |= self._take_labels(labels)
        now = time.time()
        for host in list(self.hosts.values()):
            self._guarded(self._evaluate, host, now)
        if worked:
            self.health.evaluation.append(time.perf_counter() - began)

    def export(
        self, *, skipped: Mapping[str, int], queued: int, capacity: int, restarts: int
    ) -> None:
        """Send samples and events to every sink."""
        self._next = time.monotonic() + self._interval
        now_ns = time.time_ns()
        samples: list[Sample] = []
        for host in list(self.hosts.values()):
            made = self._guarded(self._samples, host)
            samples += made or []
        self.health.skipped = dict(skipped)
        self.health.queued, self.health.capacity = queued, capacity
        self.health.restarts = restarts
        samples += process_samples(self.health, now_ns)
        events, self.events = self.events, []
        for sink in self.sinks:
            report = sink.export(
                samples, events, start_ns=self.start_ns, now_ns=now_ns, timeout=_EXPORT_TIMEOUT
            )
            self.health.exported(report.outcomes, report.ok, now_ns)

    def _count(self, calls: Sequence[Captured]) -> None:
        by_host: dict[ModelKey, list[Batch]] = {}
        for call in calls:
            host = self._guarded(self._host, call.model)
            if host is None:
                self.health.drop("overflow" if len(self.hosts) >= _MAX_MODELS else "invalid_input")
                continue
            reference = host.engine.reference
            converted = self._guarded(
                lambda call=call, host=host, reference=reference: convert(
                    call,
                    names=() if reference is None else reference.features,
                    positive=host.settings.positive,
                    ignore=host.settings.ignore,
                    key=self._key,
                )
            )
            if converted is None or converted.batch is None:
                self.health.drop("invalid_input" if converted is None else converted.problem)
                continue
            by_host.setdefault(host.key, []).append(converted.batch)
        for key, batches in by_host.items():
            host = self.hosts[key]
            for batch in join_batches(batches):
                host.tally.add(batch)
                self.health.counted += batch.n + len(batch.errors)
                learning = host.engine.learner is not None
                self._guarded(host.engine.observe, batch)
                if learning and host.engine.reference is not None:
                    self._frozen(host)

    def _host(self, model: object) -> Host | None:
        key, _ = resolve(model, self.settings)
        key = self._names.get(key, key)
        host = self.hosts.get(key)
        if host is not None or len(self.hosts) >= _MAX_MODELS:
            return host
        entry = settings_of(key, self.settings)
        try:
            reference = load_reference(entry, key.name)
        except OtelMlError as error:
            _log.error("monitoring goes on, learning from the first traffic: %s", error)
            reference = None
        if reference is None:
            reference = self._learned(key)
        if reference is not None and not entry.name:
            # the reference knows the model's name, the configuration does not
            named = ModelKey(reference.model_name, key.version or reference.model_version)
            self._names[key] = named
            if named in self.hosts:
                return self.hosts[named]
            key = named
        elif key.version is None and reference is not None and reference.model_version:
            self._names[key] = ModelKey(key.name, reference.model_version)
            key = self._names[key]
            if key in self.hosts:
                return self.hosts[key]
        budget = self.settings.budget
        engine = Engine(
            reference,
            budget=Budget(budget.false_incidents, budget.per, budget.rows_per_day),
            min_effect=self.settings.min_effect,
            learn_rows=self.settings.learn_rows,
            label_capacity=self.settings.label_ttl_rows,
            model=key,
            learn={
                "task": entry.task,
                "positive": entry.positive,
                "threshold": entry.threshold,
                "sensitive": (*entry.sensitive, *entry.slices),
                "min_group": self.settings.min_group,
            },
        )
        host = self.hosts[key] = Host(key, engine, entry)
        self.events.append(reference_event(host.key, engine, time.time_ns()))
        return host

    def _reference_path(self, key: ModelKey) -> str | None:
        if self.settings.state_dir is None:
            return None
        import hashlib

        mark = hashlib.sha256("@".join(str(p) for p in key).encode()).hexdigest()[:16]
        return os.path.join(self.settings.state_dir, f"reference-{mark}.json")

    def _learned(self, key: ModelKey) -> Reference | None:
        """Return the reference an earlier process learned, where there is a state directory."""
        path = self._reference_path(key)
        if path is None or not os.path.exists(path):
            return None
        try:
            return Reference.load(path)
        except OtelMlError as error:
            _log.error("a reference learned earlier cannot be used: %s", error)
            return None

    def _frozen(self, host: Host) -> None:
        self.events.append(reference_event(host.key, host.engine, time.time_ns()))
        path = self._reference_path(host.key)
        if path is not None and host.engine.reference is not None:
            try:
                os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
                host.engine.reference.save(path)
            except (OtelMlError, OSError) as error:
                _log.error("the learned reference is not kept across restarts: %s", error)

    def _take_labels(self, labels: deque[Any]) -> bool:
        by_model: dict[str | None, tuple[list[str], list[Any]]] = {}
        while labels:
            model, ids, values = labels.popleft()
            held = by_model.setdefault(model, ([], []))
            held[0].extend(ids)
            held[1].extend(values)
        if self.inbox is not None:
            for line in self.inbox.read():
                held = by_model.setdefault(line.model, ([], []))
                held[0].append(line.id)
                held[1].append(line.label)
        for model, (ids, values) in by_model.items():
            for host in list(self.hosts.values()):
                if model in (None, host.key.name):
                    self._guarded(host.engine.observe_labels, ids, values)
        return bool(by_model)

    def _evaluate(self, host: Host, now: float) -> None:
        for change in host.engine.evaluate(now):
            self.events.append(incident_event(host.key, change))
            incident = change.incident
            if incident.paged and change.state in ("opened", "closed"):
                _log.warning(
                    "incident %s of model %s: %s (%s)",
                    change.state,
                    host.key.name,
                    incident.cause,
                    incident.culprit.text,
                )

    def _samples(self, host: Host) -> list[Sample]:
        return model_samples(host.key, host.engine, host.tally, host.seen, self.settings.min_group)

    def _guarded(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Run one piece of work; what it raises loses that piece only and is said once a minute."""
        try:
            return work(*arguments)
        except Exception as error:
            kind = f"{type(error).__name__} in {getattr(work, '__qualname__', 'conversion')}"
            now = time.monotonic()
            if now - self._said.get(kind, -_SAY_AGAIN) >= _SAY_AGAIN:
                self._said[kind] = now
                _log.exception("monitoring lost something: %s", kind)
            return None
