"""The command line as a whole: help, version, exit codes and where they come from."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otel_ml import __version__

Call = Callable[..., Any]
VERBS = ("demo", "init", "label", "doctor")


def test_help_names_every_verb(otel_ml: Call) -> None:
    ended = otel_ml("--help")
    assert (ended.code, ended.err) == (0, "")
    for verb in VERBS:
        assert f"\n    {verb} " in ended.out


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("demo", ("--out", "--json", "--keep-serving")),
        ("init", ("--reference", "--sensitive", "--force", "1/30d")),
        ("label", ("ID LABEL", "--file", "--state")),
        ("doctor", ("--config", "--json", "Changes nothing.")),
    ],
)
def test_help_of_a_verb(otel_ml: Call, verb: str, said: tuple[str, ...]) -> None:
    ended = otel_ml(verb, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(f"usage: otel-ml {verb} ")
    for words in said:
        assert words in ended.out


def test_version(otel_ml: Call) -> None:
    ended = otel_ml("--version")
    assert (ended.code, ended.out) == (0, f"otel-ml {__version__}\n")


def test_no_verb(otel_ml: Call) -> None:
    ended = otel_ml()
    assert (ended.code, ended.out) == (2, "")
    assert "required: VERB" in ended.err


def test_an_unknown_verb(otel_ml: Call) -> None:
    ended = otel_ml("docter")
    assert (ended.code, ended.out) == (2, "")
    assert "'docter'" in ended.err
    for verb in VERBS:
        assert verb in ended.err


@pytest.mark.parametrize("target", ["gone/out.json", "."])
def test_a_file_that_cannot_be_written_is_named(refused: Call, folder: Path, target: str) -> None:
    assert f"otel-ml doctor: {target}: " in refused("doctor", "--json", target)


def _process(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "otel_ml.cli", *arguments],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_process_of_its_own(table: Path, folder: Path) -> None:
    ended = _process(folder, "init", "--reference", table.name, "--score", "p", "--label", "y")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (folder / "reference.json").exists()


def test_a_process_of_its_own_that_fails(folder: Path) -> None:
    ended = _process(folder, "init", "--reference", "gone.parquet")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == ("otel-ml init: gone.parquet: no such file\n  remedy: check the path\n")
    assert list(folder.iterdir()) == []
