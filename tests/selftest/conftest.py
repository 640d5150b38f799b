"""A clean environment, and a way to break the product inside the servers that are started."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

Sabotage = Callable[[str], None]

# Before anything else runs in the watched server; nothing of the product knows of this.
HEAD = """
import sys

if "--watched" in sys.orig_argv:
    from otel_ml import pipeline as product

    genuine = product.observe
    calls = 0

"""


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sabotage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sabotage:
    """Return a function that runs code in every watched server before the product is used."""
    folder = tmp_path / "sabotage"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))

    def write(code: str) -> None:
        body = textwrap.indent(textwrap.dedent(code), "    ")
        (folder / "sitecustomize.py").write_text(HEAD + body, encoding="utf-8")

    return write
