"""A model object in, its engine and counts out: naming, references, and what learning keeps."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from otel_ml.budget import Budget
from otel_ml.config import ModelSettings, Settings
from otel_ml.engine import Engine
from otel_ml.errors import OtelMlError, ReferenceError
from otel_ml.identity import resolve
from otel_ml.incidents import Change, Command, Playbook, load_playbook
from otel_ml.incidents.board import recent
from otel_ml.incidents.commands import STANDING
from otel_ml.incidents.register import Register
from otel_ml.learning import Learner
from otel_ml.profile import Reference
from otel_ml.references import (
    ACCEPTED,
    check_name,
    learned_path,
    learned_reference,
    load_reference,
    put,
)
from otel_ml.samples_events import reference_event
from otel_ml.semconv.attributes import (
    DEPLOYMENT_ENVIRONMENT_NAME,
    SERVICE_NAME,
    SERVICE_NAMESPACE,
)
from otel_ml.tally import Tally
from otel_ml.types import Event, ModelKey

__all__ = ["Host", "Hosts", "load_reference", "namespace_of", "settings_of"]

_log = logging.getLogger("otel_ml")
_MAX_MODELS: Final = 50  # each has its own series: beyond, predictions are counted as dropped
_MAX_ORDERS: Final = 1000  # commands kept for models that are not watched yet


class Host:
    """One model in the worker: its engine and the counts that need no reference."""

    def __init__(
        self, key: ModelKey, engine: Engine, settings: ModelSettings, learn: Mapping[str, Any]
    ) -> None:
        self.key = key
        self.engine = engine
        self.settings = settings
        self.learn = learn
        self.told: object = None  # the state to which standing commands were told
        self.replaced: Reference | None = None  # while its successor is learned
        self.retired: Register | None = None  # incidents of before, meanwhile
        self.tally = Tally()
        self.seen: set[tuple[Any, ...]] = set()


def settings_of(key: ModelKey, settings: Settings) -> ModelSettings:
    """Return the entry of the configuration for a model; an empty one where there is none."""
    named = [entry for entry in settings.models if entry.name == key.name]
    for entry in named:
        if entry.version == key.version:
            return entry
    if named:
        return named[0]
    unnamed = [e for e in settings.models if not e.name]
    return unnamed[0] if len(settings.models) == 1 and unnamed else ModelSettings(name=key.name)


def namespace_of(environ: Mapping[str, str]) -> str:
    """Return service and environment as the variables of OpenTelemetry state them.

    The same in every replica, and different where the same model serves somebody else.
    """
    stated = dict(
        pair.split("=", 1)
        for pair in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")
        if "=" in pair
    )
    stated = {key.strip(): value.strip() for key, value in stated.items()}
    if environ.get("OTEL_SERVICE_NAME"):
        stated[SERVICE_NAME] = environ["OTEL_SERVICE_NAME"]
    names = (SERVICE_NAMESPACE, SERVICE_NAME, DEPLOYMENT_ENVIRONMENT_NAME)
    return "/".join(stated.get(name, "") for name in names).strip("/")


def _causes(path: Path | None) -> Playbook | None:
    """Return the causes of a team's own playbook; the built-in ones where it cannot be read."""
    if path is None:
        return None
    try:
        return load_playbook(path)
    except OtelMlError as error:
        _log.error("monitoring goes on with the built-in causes: %s", error)
        return None


class Hosts:
    """The models of a process.

    Parameters
    ----------
    settings
        Of this process.
    say
        Takes the events that tell what a model is compared with.
    namespace
        Service and environment of the process.
    """

    def __init__(
        self, settings: Settings, say: Callable[[Event], None], namespace: str = ""
    ) -> None:
        self.settings = settings
        self.namespace = namespace
        self.by_key: dict[ModelKey, Host] = {}
        self._say = say
        self._names: dict[ModelKey, ModelKey] = {}
        self._playbook = _causes(settings.playbook)
        self._standing: list[Command] = []

    def __iter__(self) -> Iterator[Host]:
        return iter(tuple(self.by_key.values()))

    def of(self, model: object) -> Host | None:
        """Return the host of a model; a new one, or None where there are too many."""
        key, source = resolve(model, self.settings)
        key = self._names.get(key, key)
        host = self.by_key.get(key)
        if host is not None or len(self.by_key) >= _MAX_MODELS:
            return host
        entry = settings_of(key, self.settings)
        try:
            reference = load_reference(entry, key.name)
            if reference is not None and source == "given" and not entry.name:
                check_name(reference, key.name, entry)
        except OtelMlError as error:
            _log.error("monitoring goes on, learning from the first traffic: %s", error)
            reference = None
        if reference is None:
            reference = learned_reference(learned_path(self.settings.state_dir, key))
        if reference is not None and not entry.name:
            # the reference knows the model's name, the configuration does not
            named = ModelKey(reference.model_name, key.version or reference.model_version)
            self._names[key] = named
            if named in self.by_key:
                return self.by_key[named]
            key = named
        elif key.version is None and reference is not None and reference.model_version:
            self._names[key] = ModelKey(key.name, reference.model_version)
            key = self._names[key]
            if key in self.by_key:
                return self.by_key[key]
        budget = self.settings.budget
        learn = {
            "task": entry.task,
            "positive": entry.positive,
            "threshold": entry.threshold,
            "sensitive": (*entry.sensitive, *entry.slices),
            "min_group": self.settings.min_group,
        }
        engine = Engine(
            reference,
            budget=Budget(budget.false_incidents, budget.per, budget.rows_per_day),
            min_effect=self.settings.min_effect,
            learn_rows=self.settings.learn_rows,
            label_capacity=self.settings.label_ttl_rows,
            model=key,
            namespace=self.namespace,
            learn=learn,
            playbook=self._playbook,
        )
        for other in self.by_key.values():
            if other.key.name == key.name and key.version is not None:
                other.engine.roll_out(f"version {key.version}", "version")
                engine.roll_out(f"version {key.version}", "version")
        host = self.by_key[key] = Host(key, engine, entry, learn)
        self._say(reference_event(host.key, engine, time.time_ns()))
        return host

    def froze(self, host: Host) -> None:
        """Say what a model is compared with from now on, and keep what it learned."""
        engine = host.engine
        assert engine.reference is not None
        kept = put(self._path(host), engine.reference, host.replaced)
        if kept is not engine.reference:  # another worker learned one first
            engine.re_reference(kept)
        if host.retired is not None and engine.state is not None:
            engine.state.incidents.inherit(host.retired)
        host.replaced = host.retired = None
        self._say(reference_event(host.key, engine, time.time_ns()))

    def _path(self, host: Host) -> Path | None:
        """Return where the next process looks for the reference of a model."""
        configured = None if host.replaced is None else host.settings.reference
        return configured or learned_path(self.settings.state_dir, host.key)

    def orders(self, commands: Sequence[Command], now: float) -> list[tuple[Host, Command]]:
        """Return which model has to do what, in order.

        Parameters
        ----------
        commands
            What is new. Of what was given before, that which still holds is for models whose
            monitoring begins only now.
        now
            Seconds since the Unix epoch.
        """
        standing = [c for c in commands if c.verb in STANDING]
        self._standing = [c for c in (*self._standing, *standing) if c.until > now][-_MAX_ORDERS:]
        out = []
        for host in self:
            told: Sequence[Command] = commands
            if host.engine.state is not None and host.told is not host.engine.state:
                host.told = host.engine.state
                told = [*self._standing, *(c for c in commands if c.verb not in STANDING)]
            out += [(host, c) for c in told if c.model in (None, host.key.name)]
        return out

    def do(self, host: Host, command: Command) -> list[Change]:
        """Do what a command says; return what changed by it.

        Raises
        ------
        OtelMlError
            If a reference is to be accepted that cannot be used.
        """
        if command.verb != "re-reference":
            return host.engine.apply(command)
        engine, accepted = host.engine, None
        if command.reference and self.settings.state_dir is not None:
            path = self.settings.state_dir / ACCEPTED / f"{command.reference}.json"
            accepted = Reference.load(path)
            if engine.reference is not None and engine.reference.id == accepted.id:
                return []
            if accepted.model_name != host.key.name:
                raise ReferenceError(
                    f"{path}: a reference of model {accepted.model_name!r}, "
                    f"to be accepted for {host.key.name!r}",
                    remedy="build a reference of this model with: otel-ml init",
                )
        before = engine.state
        host.replaced = engine.reference or host.replaced
        learn = None if accepted else Learner(host.key, command.rows, host.learn)
        changes = engine.re_reference(accepted, learn)
        if accepted is not None:
            put(self._path(host), accepted, host.replaced)
            host.replaced = None
        elif before is not None:
            host.retired = before.incidents
        _log.warning("the reference of model %s is replaced by command", host.key.name)
        self._say(reference_event(host.key, engine, time.time_ns()))
        return changes

    def posts(self, now: float) -> list[dict[str, Any]]:
        """Return what is shown of each model: its open and recent incidents, and its mutes."""
        out = []
        for host in self:
            state, reference = host.engine.state, host.engine.reference
            held = host.retired if state is None else state.incidents
            shown = [] if held is None else [*held.open, *recent(held.closed, now)]
            out.append(
                {
                    "model": host.key.name,
                    "version": host.key.version,
                    "rows": host.engine.rows,
                    "reference": None if reference is None else reference.id,
                    "incidents": [incident.to_json() for incident in shown],
                    "mutes": [] if held is None else [m.to_json() for m in held.attention.mutes],
                }
            )
        return out
