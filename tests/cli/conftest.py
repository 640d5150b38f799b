"""A folder of its own, a table, and the command line called as the script calls it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from otel_ml.cli import main


@dataclass(frozen=True)
class Ended:
    """How a verb ended: exit code and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, without variables of OpenTelemetry."""
    for name in tuple(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def otel_ml(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    def call(*arguments: str) -> Ended:
        try:
            code = main(arguments)
        except SystemExit as end:  # of argparse
            code = end.code if isinstance(end.code, int) else 1
        printed = capsys.readouterr()
        return Ended(code, printed.out, printed.err)

    return call


@pytest.fixture
def refused(otel_ml: Callable[..., Ended], folder: Path) -> Callable[..., str]:
    """Call a verb that must refuse, saying why and what to do, and change no byte."""

    def call(*arguments: str, code: int = 1) -> str:
        before = tree(folder)
        ended = otel_ml(*arguments)
        assert ended.code == code, ended
        assert tree(folder) == before
        assert "Traceback" not in ended.err
        assert ended.out == ""
        problem, _, remedy = ended.err.partition("\n  remedy: ")
        assert code == 2 or (problem.startswith(f"otel-ml {arguments[0]}: ") and remedy.strip())
        return ended.err

    return call


@pytest.fixture
def content(folder: Path) -> Callable[[], dict[str, bytes]]:
    """Return a function that returns every path below the folder with its bytes."""
    return lambda: tree(folder)


@pytest.fixture
def table(folder: Path) -> Path:
    """Write 400 rows of a binary model: features, outputs and everything that is neither."""
    rng = np.random.default_rng(0)
    rows = ["rid,seen,who,age,income,sex,city,code,p,pred,y"]
    for i in range(400):
        p = rng.random()
        rows.append(
            f"r{i},2024-01-{1 + i % 28:02d},c{i % 7},{rng.integers(18, 80)},"
            f"{rng.normal(100, 10):.3f},{'mf'[i % 2]},{'abc'[i % 3]},{i % 5},{p:.4f},"
            f"{int(p > 0.5)},{int(rng.random() < p)}"
        )
    path = folder / "valid.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def tree(folder: Path) -> dict[str, bytes]:
    """Return every path below a folder with its bytes."""
    return {
        str(path.relative_to(folder)): b"" if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }
