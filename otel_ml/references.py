"""The configuration of a model in, its reference out; replaced, with the old one kept beside it."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Final

from otel_ml.config import ModelSettings
from otel_ml.errors import OtelMlError, ReferenceError
from otel_ml.profile import Reference
from otel_ml.types import ModelKey

__all__ = ["ACCEPTED", "check_name", "learned_path", "learned_reference", "load_reference", "put"]

ACCEPTED: Final = "references"
"""Folder of the state directory that holds references given by command, one file per id."""

_log = logging.getLogger("otel_ml")


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
        check_name(reference, entry.name, entry)
    if entry.version and reference.model_version not in (None, entry.version):
        raise ReferenceError(
            f"{entry.reference}: a reference of version {reference.model_version!r} of "
            f"{name!r}, configured for version {entry.version!r}",
            remedy="build a reference for this version, or correct `models[].version`",
        )
    return reference


def check_name(reference: Reference, name: str, entry: ModelSettings) -> None:
    """Refuse the reference of another model.

    Raises
    ------
    ReferenceError
        If it is one.
    """
    if reference.model_name != name:
        raise ReferenceError(
            f"{entry.reference}: a reference of model {reference.model_name!r}, "
            f"configured for model {name!r}",
            remedy="name the reference of this model in `models[].reference`, or correct "
            "`models[].name`",
        )


def learned_path(state_dir: Path | None, key: ModelKey) -> Path | None:
    """Return where the reference is kept that a model learned, None without a state directory."""
    if state_dir is None:
        return None
    text = "@".join(str(part) for part in key).encode("utf-8", "surrogatepass")
    return state_dir / f"reference-{hashlib.sha256(text).hexdigest()[:16]}.json"


def learned_reference(path: Path | None) -> Reference | None:
    """Return the reference an earlier process learned, where there is one that can be used."""
    if path is None or not path.exists():
        return None
    try:
        return Reference.load(path)
    except OtelMlError as error:
        _log.error("a reference learned earlier cannot be used: %s", error)
        return None


def put(path: Path | None, new: Reference, old: Reference | None) -> Reference:
    """Keep a reference for the next start; one it replaces stays beside it as ``.bak-<id>``.

    Parameters
    ----------
    path
        The file; None where there is no place for one.
    new
        What to keep.
    old
        What it replaces; None where it is the first.

    Returns
    -------
    Reference
        `new`, or the one with which another process has replaced `old` first: all should compare
        with one.
    """
    if path is None:
        return new
    try:
        if old is not None and path.exists():
            there = Reference.load(path)
            if there.id == new.id:
                return new
            if there.id != old.id and there.source == new.source == "traffic":
                return there
            backup = path.with_name(f"{path.name}.bak-{there.id}")
            if not backup.exists():
                there.save(backup)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new.save(path)
    except (OtelMlError, OSError) as error:
        _log.error("the reference %s is not kept across restarts: %s", new.id, error)
    return new
