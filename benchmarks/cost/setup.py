"""Options of the benchmark in; it runs in an environment of its own, which is made if needed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]


def main() -> int:
    wanted = (HERE / "requirements.txt").read_bytes() + (ROOT / "pyproject.toml").read_bytes()
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otel-ml"
    base = Path(os.environ.get("OTEL_ML_CACHE") or base).absolute() / "cost"
    folder = base / f"environment-{hashlib.sha256(wanted).hexdigest()[:8]}"
    python = folder / "bin" / "python"
    if not (folder / ".ready").is_file():
        venv.create(folder, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run(
            [*install, "-r", str(HERE / "requirements.txt"), "-e", str(ROOT)], check=True
        )
        (folder / ".ready").touch()
    return subprocess.run(
        [str(python), "-m", "benchmarks.cost", *sys.argv[1:]], cwd=ROOT, check=False
    ).returncode


if __name__ == "__main__":
    raise SystemExit(main())
