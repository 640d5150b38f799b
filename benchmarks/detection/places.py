"""Environment in, the folders of caches and results out, and the identity of what is measured."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path
from typing import Final

import otel_ml

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
RESULTS: Final = HERE / "results"


def cache_folder() -> Path:
    """Return where models, environments and streams for peers are kept, outside the tree."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otel-ml"
    folder = Path(os.environ.get("OTEL_ML_CACHE") or base).absolute() / "detection"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


ENGINE_PARTS: Final = ("stats", "profile", "monitors", "incidents")


def package_folder() -> Path:
    """Return where the measured package is."""
    return Path(otel_ml.__file__).resolve().parent


@cache
def engine_id() -> str:
    """Return a checksum of the package's statistics: those of another engine are measured anew."""
    digest = hashlib.sha256()
    package = package_folder()
    for path in sorted(package.rglob("*.py")) + sorted(package.rglob("*.yaml")):
        relative = path.relative_to(package).as_posix()
        if relative.split("/")[0] in ENGINE_PARTS or "/" not in relative:
            digest.update(relative.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]
