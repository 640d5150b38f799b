"""File, environment and arguments in, validated `Settings` out; errors name file, line and key."""

from __future__ import annotations

import dataclasses
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, get_origin

from otel_ml.config import environment
from otel_ml.config.document import MAX_BYTES, from_yaml
from otel_ml.config.export import ExportSettings
from otel_ml.config.model import BudgetSettings, CaptureSettings, ModelSettings, Settings
from otel_ml.config.tree import Items, Node, Origin, Scalar, Table, to_tree
from otel_ml.config.units import parse_allowance
from otel_ml.config.values import build, did_you_mean, options, value_of
from otel_ml.errors import ConfigError

__all__ = ["DECLARATIVE", "DEFAULT_FILE", "from_mapping", "load", "unknown_variables"]

_S = TypeVar("_S", Settings, BudgetSettings, CaptureSettings, ExportSettings, ModelSettings)

DEFAULT_FILE: Final = "otel-ml.yaml"
DECLARATIVE: Final = "OTEL_CONFIG_FILE"


def load(env: Mapping[str, str] = os.environ) -> Settings:
    """Read the configuration file and the variables that override it.

    Parameters
    ----------
    env
        The environment. ``OTEL_ML_CONFIG_FILE`` names the file; without it ``./otel-ml.yaml`` is
        read where there is one.

    Returns
    -------
    Settings
        Defaults where nothing else is said. Relative paths are resolved against the file's folder,
        those of variables against the working directory.

    Raises
    ------
    ConfigError
        Naming file, line and key path, or the variable.
    """
    named = env.get(environment.OTEL_ML_CONFIG_FILE)
    source = named or DEFAULT_FILE
    data = _read(source, required=bool(named))
    if data is None:
        return _override(Settings(), env)
    root = from_yaml(data, source, env)
    if root is None:
        return _override(Settings(source=source), env)
    return _override(_settings(root, Path(source).parent), env)


def from_mapping(values: Mapping[str, object], env: Mapping[str, str] = os.environ) -> Settings:
    """Read settings from keyword arguments: the file's shape, without the file.

    Parameters
    ----------
    values
        As under ``instrumentation/development: python: ml:`` of the declarative file.
    env
        Variables that override them, as they do a file. The configuration file is not read.

    Returns
    -------
    Settings
        As from `load`; relative paths are resolved against the working directory.

    Raises
    ------
    ConfigError
        Naming ``OTEL_CONFIG_FILE`` and the key path.
    """
    return _override(_settings(to_tree(values, DECLARATIVE), Path()), env)


def unknown_variables(env: Mapping[str, str] = os.environ) -> list[str]:
    """Say which variables look like ours and are not, each with the nearest one that is."""
    known = [name for name in vars(environment) if name.startswith("OTEL_ML_")]
    strange = sorted(name for name in env if name.startswith("OTEL_ML_") and name not in known)
    return [f"{name} is not a variable of otel-ml{did_you_mean(name, known)}" for name in strange]


def _read(source: str, *, required: bool) -> bytes | None:
    try:
        with open(source, "rb", opener=_open_unblocked) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                Origin(source).fail("not a regular file", "Name a YAML file.")
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError) and not required:
            return None
        reason = getattr(error, "strerror", None) or str(error)
        Origin(source).fail(
            f"the configuration file cannot be read: {reason}",
            f"Correct {environment.OTEL_ML_CONFIG_FILE} or the file's permissions.",
        )


def _open_unblocked(path: str, flags: int) -> int:
    # A named pipe would otherwise hold the application until somebody writes to it.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _settings(root: Node, base: Path) -> Settings:
    settings: Settings = build(Settings, root, base)
    places = dict(root.entries) if isinstance(root, Table) else {}
    listed = places.get("models")
    if isinstance(listed, Items):
        _check_models(settings.models, [node.origin for node in listed.items])
    return dataclasses.replace(settings, source=root.origin.source)


def _check_models(models: Sequence[ModelSettings], places: Sequence[Origin]) -> None:
    seen: dict[tuple[str, str | None, str | None], int] = {}
    for index, (model, here) in enumerate(zip(models, places, strict=True)):
        if len(models) > 1 and not model.name:
            here.key("name", here.line).fail("missing", "Name each model where several are listed.")
        first = seen.setdefault((model.name, model.version, model.match), index)
        if first != index:
            here.fail(
                f"the same name, version and match as models[{first}]",
                "Merge the two, or tell them apart by version or match.",
            )


def _override(settings: Settings, env: Mapping[str, str]) -> Settings:
    settings = _from_env(settings, env)
    allowance = env.get(environment.OTEL_ML_FALSE_INCIDENTS) or ""
    budget = settings.budget
    if "/" in allowance:
        try:
            count, per = parse_allowance(allowance)
        except ConfigError as error:
            Origin(environment.OTEL_ML_FALSE_INCIDENTS).fail(error.message, error.remedy)
        budget = dataclasses.replace(budget, per=per)
        env = {**env, environment.OTEL_ML_FALSE_INCIDENTS: f"{count:.17g}"}
    return dataclasses.replace(
        settings,
        models=_one_model(settings.models, env),
        budget=_from_env(budget, env),
        capture=_from_env(settings.capture, env),
        export=_from_env(settings.export, env),
    )


def _one_model(
    models: tuple[ModelSettings, ...], env: Mapping[str, str]
) -> tuple[ModelSettings, ...]:
    named = [o.env for _, o in options(ModelSettings).values() if o.env and env.get(o.env)]
    if not named:
        return models
    if len(models) > 1:
        Origin(named[0]).fail(
            f"it speaks of one model, and the configuration lists {len(models)}",
            "Say it in the configuration's models, and unset the variable.",
        )
    return (_from_env(models[0] if models else ModelSettings(), env),)


def _from_env(settings: _S, env: Mapping[str, str]) -> _S:
    changed: dict[str, Any] = {}
    for name, (hint, option) in options(type(settings)).items():
        # An empty variable counts as unset, except where empty is a value of its own.
        if option.env is None or option.env not in env:
            continue
        text = env[option.env].strip()
        if not text and option.env != environment.OTEL_ML_RESPONSE_HEADER:
            continue
        here = Origin(option.env)
        node: Node = Scalar(_boolean_word(text) if hint is bool else text, True, here)
        if get_origin(hint) is tuple:
            parts = [part.strip() for part in text.split(",")]
            node = Items(tuple(Scalar(p, False, here) for p in parts if p), here)
        elif hint not in (bool, int, float):
            node = Scalar(text, False, here)
        changed[name] = value_of(hint, option, node, Path())
    return dataclasses.replace(settings, **changed) if changed else settings


def _boolean_word(text: str) -> str:
    return {"1": "true", "0": "false"}.get(text, text)
