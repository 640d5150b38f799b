"""The parts under `stack.py`: a server that can be awaited and stopped, ports, a request."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stack_build import StackError, tail, to_stderr

# Guards against hanging, in seconds; not measures of speed.
START_LIMIT, STOP_LIMIT, REQUEST_LIMIT = 60.0, 15.0, 30.0
POLL = 0.05  # seconds between two looks at something that is awaited
# No proxy from the environment: everything asked here is on loopback.
_http = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Process:
    """A running server, its log, and the address that answers 200 once it is ready."""

    name: str
    log: Path
    ready_url: str
    popen: subprocess.Popen[bytes]

    @classmethod
    def launch(
        cls, log: Path, ready_url: str, command: Sequence[str | Path], env: Mapping[str, str]
    ) -> Process:
        """Start the command in the log's folder; it is named after its log."""
        with log.open("wb") as output:
            popen = subprocess.Popen(
                command,
                cwd=log.parent,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the caller, who then stops it in order
            )
        return cls(log.stem, log, ready_url, popen)

    def check(self) -> None:
        """Raise if the process has ended by itself."""
        if (code := self.popen.poll()) is not None:
            raise StackError(
                f"{self.name} ended by itself (exit code {code}):\n{tail(self.log)}\n"
                f"The whole log: {self.log}"
            )

    def wait_until_ready(self) -> None:
        """Return when the process answers; raise if it ends or does not answer in time."""
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            self.check()
            with contextlib.suppress(OSError):
                if fetch(self.ready_url)[0] == 200:
                    return
            time.sleep(POLL)
        raise StackError(f"{self.name} is not ready after {START_LIMIT:.0f} s:\n{tail(self.log)}")

    def stop(self) -> None:
        """Ask the process to end, and end it if it does not."""
        self.popen.terminate()
        try:
            self.popen.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            to_stderr(f"{self.name} did not end in {STOP_LIMIT:.0f} s and was killed: {self.log}")
            self.popen.kill()
            self.popen.wait()


def fetch(url: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Return status and body of the answer to a GET, or with a body a POST."""
    try:
        with _http.open(url, body, REQUEST_LIMIT) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def free_addresses(count: int) -> list[str]:
    """Return different loopback addresses that nobody listens on at the moment."""
    with contextlib.ExitStack() as held:  # all at once, so that they differ
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
