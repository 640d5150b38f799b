"""A program in, the instructions of what it is told to do out, as valgrind counts them.

Counting begins when the program has started and says that it is ready, and is read between two
requests to it. Programs take one line of input at a time and answer with one line when it is done.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from benchmarks.cost.line import Unavailable

__all__ = ["Counting"]

ROOT: Final = Path(__file__).resolve().parents[2]
_TOOLS: Final = ("valgrind", "callgrind_control")
_TOTAL: Final = re.compile(r"^totals: (\d+)$", re.MULTILINE)


class Counting:
    """A program under callgrind; a context manager.

    Parameters
    ----------
    command
        The program and its arguments.
    environ
        Its environment.
    symbols
        Folder to which callgrind's files are copied, to see where the instructions go.
    """

    def __init__(
        self, command: Sequence[str], environ: Mapping[str, str], symbols: Path | None = None
    ) -> None:
        missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
        if missing:
            raise Unavailable(f"needs {missing[0]}: install valgrind")
        self._folder = tempfile.TemporaryDirectory(prefix="otel-ml-callgrind-")
        self._out = Path(self._folder.name) / "out"
        self._dumps = 0
        self._symbols = symbols
        tool = ["valgrind", "--tool=callgrind", "--quiet", "--instr-atstart=no"]
        tool += ["--trace-children=yes"]  # opentelemetry-instrument replaces itself
        self._process = subprocess.Popen(
            [*tool, f"--callgrind-out-file={self._out}", *command],
            cwd=ROOT,
            env=dict(environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sys.stderr,
            text=True,
        )
        self.ready = self._answer()

    def tell(self, line: str) -> str:
        """Have something done; return the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._answer()

    def start(self) -> None:
        """Begin to count."""
        self._control("-i", "on")

    def count(self) -> int:
        """Return the instructions since the last look, or since the beginning."""
        self._control("-d")
        self._dumps += 1
        found = _TOTAL.search(self._out.with_name(f"out.{self._dumps}").read_text("utf-8"))
        assert found is not None
        return int(found[1])

    def __enter__(self) -> Counting:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._process.__exit__(kind, error, trace)
        if self._symbols is not None:
            shutil.copytree(self._folder.name, self._symbols, dirs_exist_ok=True)
        self._folder.cleanup()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the program ended with {self._process.wait()}")
        return line.strip()

    def _control(self, *what: str) -> None:
        done = subprocess.run(
            ["callgrind_control", *what, str(self._process.pid)],
            capture_output=True,
            text=True,
            check=False,
        )
        if "OK." not in done.stdout:
            raise Unavailable(f"callgrind_control: {done.stdout or done.stderr}")
