"""A model object in, its engine and counts out: naming, references, and what learning keeps."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from otel_ml.budget import Budget
from otel_ml.config import ModelSettings, Settings
from otel_ml.engine import Engine
from otel_ml.errors import OtelMlError, ReferenceError
from otel_ml.identity import resolve
from otel_ml.profile import Reference
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
    named = [entry for entry in settings.models if entry.name == key.name]
    for entry in named:
        if entry.version == key.version:
            return entry
    if named:
        return named[0]
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
    if entry.name:
        _check_name(reference, entry.name, entry)
    if entry.version and reference.model_version not in (None, entry.version):
        raise ReferenceError(
            f"{entry.reference}: a reference of version {reference.model_version!r} of "
            f"{name!r}, configured for version {entry.version!r}",
            remedy="build a reference for this version, or correct `models[].version`",
        )
    return reference


def _check_name(reference: Reference, name: str, entry: ModelSettings) -> None:
    if reference.model_name != name:
        raise ReferenceError(
            f"{entry.reference}: a reference of model {reference.model_name!r}, "
            f"configured for model {name!r}",
            remedy="name the reference of this model in `models[].reference`, or correct "
            "`models[].name`",
        )


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
                _check_name(reference, key.name, entry)
        except OtelMlError as error:
            _log.error("monitoring goes on, learning from the first traffic: %s", error)
            reference = None
        if reference is None:
            reference = self._learned(key)
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
        engine = Engine(
            reference,
            budget=Budget(budget.false_incidents, budget.per, budget.rows_per_day),
            min_effect=self.settings.min_effect,
            learn_rows=self.settings.learn_rows,
            label_capacity=self.settings.label_ttl_rows,
            model=key,
            namespace=self.namespace,
            learn={
                "task": entry.task,
                "positive": entry.positive,
                "threshold": entry.threshold,
                "sensitive": (*entry.sensitive, *entry.slices),
                "min_group": self.settings.min_group,
            },
        )
        host = self.by_key[key] = Host(key, engine, entry)
        self._say(reference_event(host.key, engine, time.time_ns()))
        return host

    def _reference_path(self, key: ModelKey) -> str | None:
        if self.settings.state_dir is None:
            return None
        text = "@".join(str(part) for part in key).encode("utf-8", "surrogatepass")
        mark = hashlib.sha256(text).hexdigest()[:16]
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

    def froze(self, host: Host) -> None:
        """Say what a model is compared with from now on, and keep what it learned."""
        self._say(reference_event(host.key, host.engine, time.time_ns()))
        path = self._reference_path(host.key)
        if path is not None and host.engine.reference is not None:
            try:
                os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
                host.engine.reference.save(path)
            except (OtelMlError, OSError) as error:
                _log.error("the learned reference is not kept across restarts: %s", error)
