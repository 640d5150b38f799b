"""What every instrumentor shares: when to be on, import hooks instead of imports, and the way back.

An instrumentor states its requirement, its modules, and what to do when one of them is loaded;
nothing of a monitored library is imported here.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache, partial
from types import ModuleType
from typing import Any, ClassVar

from opentelemetry.instrumentation.dependencies import (
    DependencyConflictError,
    get_dependency_conflicts,
)
from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined]  # untyped
    BaseInstrumentor,
)
from wrapt import register_post_import_hook

__all__ = ["Instrumentor", "Patches"]

_log = logging.getLogger("otel_ml")

UMBRELLA = "ml"


class Patches:
    """Attributes that were replaced, and what was there before.

    Notes
    -----
    An attribute is put back only if it is still what was put there, so a later patch of somebody
    else's stays; and one that was inherited before is deleted again.
    """

    def __init__(self) -> None:
        self._done: list[tuple[Any, str, object, bool, object]] = []

    def replace(self, owner: Any, name: str, value: object) -> None:
        """Set an attribute of a class or module."""
        own = vars(owner)
        self._done.append((owner, name, value, name in own, own.get(name)))
        setattr(owner, name, value)

    def has(self, owner: Any, name: str) -> bool:
        """Say whether an attribute has been replaced."""
        return any(done[0] is owner and done[1] == name for done in self._done)

    def restore(self) -> None:
        """Put everything back, the last first."""
        while self._done:
            owner, name, value, existed, before = self._done.pop()
            if vars(owner).get(name) is not value:
                continue
            if existed:
                setattr(owner, name, before)
            else:
                delattr(owner, name)


class Instrumentor(BaseInstrumentor):  # type: ignore[misc]  # as above
    """Base of the instrumentors.

    Notes
    -----
    `opentelemetry-instrument` calls `instrument` in every Python process of the service, without
    asking for the dependencies of this instrumentor, and after a declarative configuration file
    has said ``enabled: false`` without telling it. All three are made up for here.
    """

    name: ClassVar[str]
    """Name of the entry point, as in ``OTEL_PYTHON_DISABLED_INSTRUMENTATIONS``."""

    requires: ClassVar[tuple[str, ...]] = ()
    """Requirement specifiers of the supported library."""

    def __init__(self) -> None:
        # A singleton is initialised again whenever it is asked for.
        if not hasattr(self, "_refused"):
            self._refused = False
            self._hooked: set[str] = set()
            self._active = False

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the requirement specifiers of the supported library."""
        return self.requires

    def hooks(self) -> Mapping[str, Callable[[ModuleType], None]]:
        """Return what to do with each module once it is imported."""
        return {}

    def activate(self, **options: Any) -> None:
        """Get ready before any hook runs."""

    def deactivate(self) -> None:
        """Undo what `activate` and the hooks did."""

    def instrument(self, **kwargs: Any) -> None:
        """Turn on, unless it is on or has been refused.

        Parameters
        ----------
        enabled
            False turns it off and is remembered: later calls without the argument do nothing.
        raise_exception_on_conflict
            Raise where the library is missing or not supported, instead of doing nothing.
        kwargs
            Options of the instrumentor.
        """
        kwargs.pop("skip_dep_check", None)
        strict = kwargs.pop("raise_exception_on_conflict", False)
        enabled = kwargs.pop("enabled", None)
        if enabled is not None:
            self._refused = not enabled
        if self._refused:
            if self.is_instrumented_by_opentelemetry:
                self.uninstrument()
            return
        if self.is_instrumented_by_opentelemetry or _off(self.name):
            return
        conflict = get_dependency_conflicts(self.requires)
        if conflict is not None:
            if strict:
                raise DependencyConflictError(conflict)
            _log.debug("%s", conflict)
            return
        super().instrument(skip_dep_check=True, **kwargs)

    def uninstrument(self, **kwargs: Any) -> None:
        """Turn off and put everything back, if it is on."""
        if self.is_instrumented_by_opentelemetry:
            super().uninstrument(**kwargs)

    def _instrument(self, **kwargs: Any) -> None:
        self.activate(**kwargs)
        self._active = True
        for module, hook in self.hooks().items():
            if module not in self._hooked:
                self._hooked.add(module)
                register_post_import_hook(partial(self._imported, hook), module)
            elif module in sys.modules:
                self._imported(hook, sys.modules[module])

    def _uninstrument(self, **kwargs: Any) -> None:
        self._active = False
        self.deactivate()

    def _imported(self, hook: Callable[[ModuleType], None], module: ModuleType) -> None:
        """Run a hook; the application's import goes on whatever happens."""
        if not self._active:
            return
        try:
            hook(module)
        except Exception:
            _log.warning("%s cannot be monitored", module.__name__, exc_info=True)


def _off(name: str) -> bool:
    """Say whether the environment or the declarative file turns an instrumentor off."""
    environ = os.environ
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return True
    if environ.get("OTEL_ML_ENABLED", "").strip().lower() in {"false", "0", "no", "off"}:
        return True
    listed = environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")
    names = {UMBRELLA, name}
    if names & {entry.strip() for entry in listed}:
        return True
    path = environ.get("OTEL_CONFIG_FILE")
    return bool(path) and bool(names & _declared_off(str(path)))


@lru_cache(maxsize=1)
def _declared_off(path: str) -> frozenset[str]:
    """Return the instrumentors with ``enabled: false`` in a declarative configuration file."""
    import yaml

    try:
        with open(path, encoding="utf-8") as file:
            document = yaml.safe_load(file)
    except (OSError, ValueError, yaml.YAMLError):
        # The SDK reports an unreadable file; here it only means that nothing is turned off.
        return frozenset()
    for key in ("instrumentation/development", "python"):
        document = document.get(key) if isinstance(document, dict) else None
    if not isinstance(document, dict):
        return frozenset()
    return frozenset(
        str(name)
        for name, options in document.items()
        if isinstance(options, dict) and _false(options.get("enabled", True))
    )


def _false(value: object) -> bool:
    """Read a boolean that may be an ``${env:NAME:-default}`` reference."""
    if not isinstance(value, str):
        return value is False
    found = re.fullmatch(r"\$\{(?:env:)?(\w+)(?::-(.*))?\}", value.strip())
    if found:
        value = os.environ.get(found[1]) or found[2] or ""
    return value.strip().lower() == "false"
