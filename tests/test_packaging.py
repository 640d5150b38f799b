"""What is installed: the wheel holds all its files, and brings the few packages it promises."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
BASE = {
    "opentelemetry-api",
    "opentelemetry-sdk",
    "opentelemetry-exporter-otlp",
    "opentelemetry-instrumentation",
    "numpy",
    "grpcio",
    "pyyaml",
    "wrapt",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True, timeout=300)
    (built,) = folder.glob("*.whl")
    return built


def test_every_file_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "otel_ml", "examples/acs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    wanted = {name.replace("examples/acs/", "otel_ml/_acs/") for name in tracked}
    assert wanted <= held
    assert not [name for name in held if "__pycache__" in name or name.endswith(".joblib")]


def test_the_base_install_is_a_few_packages(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True, timeout=120)
    python = environment / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", str(wheel)]
    subprocess.run(install, check=True, timeout=300)
    (folder,) = environment.glob("lib/python*/site-packages/otel_ml-*.dist-info")
    required = {
        re.split(r"[^A-Za-z0-9-]", line, maxsplit=1)[0].lower()
        for line in PathDistribution(folder).requires or ()
        if "extra ==" not in line
    }
    assert required == BASE
    # the library and the command line work with nothing else
    code = (
        "import numpy as np, otel_ml\n"
        "r = otel_ml.Reference.build({'x': np.arange(100.)}, model_name='m')\n"
        "e = otel_ml.Engine(r)\n"
        "e.observe({'x': np.arange(100.)})\n"
        "assert e.rows == 100 and e.evaluate(0.0) == []\n"
    )
    subprocess.run([str(python), "-W", "error", "-c", code], check=True, timeout=60)
    doctor = subprocess.run(
        [str(environment / "bin" / "otel-ml"), "demo", "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert doctor.returncode != 0
    assert "otel-ml[demo]" in doctor.stderr
