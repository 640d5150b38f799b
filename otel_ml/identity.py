"""A model object and the settings come in; its name and version go out, and where they are from.

The order is configuration, then the file it was loaded from, then its class. No user code runs:
attributes are read from instance dictionaries, and objects are told by identity, not equality.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Literal, TypeAlias

from otel_ml.types import ModelKey

if TYPE_CHECKING:
    from otel_ml.config import Settings

__all__ = ["Source", "class_names", "loaded_from", "remember", "resolve"]

Source: TypeAlias = Literal["given", "configuration", "load_path", "class"]

_STEMS: dict[int, tuple[weakref.ref[object], str]] = {}
_MAX_DEPTH = 8  # nested pipelines and searches looked into; deeper ones are named by their class


def remember(model: object, path: str | os.PathLike[str], part: str = "") -> None:
    """Note the file a model was loaded from.

    Parameters
    ----------
    model
        The loaded object. One that cannot be weakly referenced is not remembered.
    path
        Path of the file; its stem becomes the name.
    part
        Key of the model within the file, where the file holds several.
    """
    stem = os.path.splitext(os.path.basename(os.fspath(path)))[0]
    if not stem:
        return
    key = id(model)

    def forget(_: weakref.ref[object]) -> None:
        _STEMS.pop(key, None)

    try:
        reference = weakref.ref(model, forget)
    except TypeError:
        return
    _STEMS[key] = (reference, f"{stem}.{part}" if part else stem)


def loaded_from(model: object) -> str | None:
    """Return the stem of the file a model was loaded from, or None."""
    entry = _STEMS.get(id(model))
    return entry[1] if entry is not None and entry[0]() is model else None


def class_names(model: object) -> tuple[str, ...]:
    """Return class names a model answers to, the most telling first.

    Parameters
    ----------
    model
        Any object. A pipeline is told by its last step, a fitted search by its best estimator;
        the names of the wrappers follow.
    """
    names = [type(model).__name__]
    for _ in range(_MAX_DEPTH):
        inner = _inner(model)
        if inner is None:
            break
        model = inner
        names.append(type(model).__name__)
    return tuple(reversed(names))


def resolve(model: object, settings: Settings) -> tuple[ModelKey, Source]:
    """Name a model.

    Parameters
    ----------
    model
        The model object, or a `ModelKey` where the caller named it.
    settings
        Its `models` are matched by class name or by the stem of the load path; an entry without
        `match` is meant for every model when it is the only one, and an entry without a name gives
        its version only.

    Returns
    -------
    key
        Name, and version where something states one: an unknown version is None, never invented.
    source
        ``given``, ``configuration``, ``load_path`` or ``class``.
    """
    if type(model) is ModelKey:
        return _given(model, settings), "given"
    stem = loaded_from(model)
    classes: tuple[str, ...] = ()
    for entry in settings.models:
        if entry.match is None:
            matched = len(settings.models) == 1
        else:
            classes = classes or class_names(model)
            matched = entry.match == stem or entry.match in classes
        if matched and entry.name:
            return ModelKey(entry.name, entry.version), "configuration"
        if matched:
            version = entry.version
            break
    else:
        version = None
    if stem is not None:
        return ModelKey(stem, version), "load_path"
    return ModelKey((classes or class_names(model))[0], version), "class"


def _given(key: ModelKey, settings: Settings) -> ModelKey:
    """Complete a name given by hand with the version the configuration states for it."""
    if key.version is not None:
        return key
    versions = [entry.version for entry in settings.models if entry.name == key.name]
    return ModelKey(key.name, versions[0]) if versions else key


def _inner(model: object) -> object | None:
    """Return what a pipeline or search delegates to, read without running its code."""
    try:
        attributes = object.__getattribute__(model, "__dict__")
    except AttributeError:
        return None
    best = attributes.get("best_estimator_")
    if best is not None:
        return best if hasattr(type(best), "predict") else None
    steps = attributes.get("steps")
    if type(steps) is list and steps and type(steps[-1]) is tuple and len(steps[-1]) == 2:
        last: object = steps[-1][1]
        return None if last is None or type(last) is str else last
    return None
