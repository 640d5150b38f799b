"""A script and what is done to it in, how it ended out; what hangs is killed with its children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Finished", "alone", "running", "started"]

ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Finished:
    """A process that ended by itself."""

    code: int
    out: str
    err: str
    seconds: float


def alone(
    script: str,
    *args: str,
    timeout: float = 60.0,
    environ: Mapping[str, str] | None = None,
    send: Sequence[signal.Signals] = (),
    module: bool = False,
) -> Finished:
    """Run a script in a process of its own; one that hangs is killed with its children, and fails.

    Parameters
    ----------
    script, args
        Python source and its arguments.
    timeout
        Seconds until it is killed.
    environ
        Variables beside those of this process that are not of OpenTelemetry.
    send
        Signals to send, one after the other, once it has written a first line.
    module
        The script is the name of a module, which its children can import.
    """
    process = started(script, *args, environ=environ, module=module)
    began = time.monotonic()
    first = ""
    try:
        if send:
            first = _first_line(process)
            for number in send:
                process.send_signal(number)
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"hangs after {timeout} s\n{first}{out}\n{err}") from None
    return Finished(process.returncode, first + out, err, time.monotonic() - began)


def _first_line(process: subprocess.Popen[str]) -> str:
    """Return the first line a process writes, and nothing of what follows: that stays in its pipe.

    A file object would read ahead, and what it has read `communicate` does not see.
    """
    assert process.stdout is not None
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(process.stdout.fileno(), 1)):
        line += byte
    return line.decode()


def started(
    script: str,
    *args: str,
    environ: Mapping[str, str] | None = None,
    module: bool = False,
    stdin: int | None = subprocess.DEVNULL,
) -> subprocess.Popen[str]:
    """Start a script in a process group of its own; see `alone`."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    path = [str(ROOT), *(p for p in sys.path if p)]
    return subprocess.Popen(
        [sys.executable, "-m" if module else "-c", script, *args],
        env={**inherited, "PYTHONPATH": os.pathsep.join(path), **(environ or {})},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@contextmanager
def running(
    script: str,
    *args: str,
    environ: Mapping[str, str] | None = None,
    stdin: int | None = subprocess.DEVNULL,
) -> Iterator[subprocess.Popen[str]]:
    """Run a script until the end of the block; nothing of it is left behind."""
    with started(script, *args, environ=environ, stdin=stdin) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
