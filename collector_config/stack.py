"""Run the real stack: binaries and this folder's configurations in, live processes and answers out.

``Stack`` starts the Collector, Prometheus and, if asked, Alertmanager on free loopback ports, waits
until they are ready, and stops them. Standard library only. To import it, put this folder on the
path.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from stack_build import Binaries, StackError, ensure_built, to_stderr
from stack_process import POLL, Process, fetch, free_addresses

__all__ = ["Binaries", "Stack", "StackError", "ensure_built", "fetch"]

HERE = Path(__file__).resolve().parent
ALERTMANAGER_TARGET = '"127.0.0.1:9093"'  # as written in prometheus.yaml

Result = list[dict[str, Any]]


class Stack:
    """Prometheus and the Collector, on ports of their own, for the length of a ``with`` block.

    Parameters
    ----------
    workdir
        Folder for data, logs, generated configuration and ``incidents.jsonl``. Rules for
        Prometheus in its folder ``rules`` (``*.yaml``) are loaded.
    alertmanager
        Start Alertmanager too, and let Prometheus send its alerts there.
    extra_collector_config
        Overlays on ``agent.yaml``, in this order.
    env
        Environment variables for the processes, such as those an overlay refers to.

    Raises
    ------
    StackError
        When the stack cannot be built or started, and at the end of the block when one of its
        processes ended before.
    """

    def __init__(
        self,
        workdir: Path | str,
        *,
        alertmanager: bool = False,
        extra_collector_config: Sequence[Path] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.workdir = Path(workdir).absolute()
        self.binaries = ensure_built()
        self._with_alertmanager = alertmanager
        self._overlays = [Path(path).absolute() for path in extra_collector_config]
        self._env = dict(env or {})
        self.processes: list[Process] = []

    def __enter__(self) -> Stack:
        for last_try in (False, False, True):
            try:
                self._start()
                return self
            except BaseException as error:
                self._stop()
                # Between choosing a free port and using it, somebody else may take it.
                if last_try or "address already in use" not in str(error):
                    raise
        raise AssertionError("unreachable")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            # A failure inside the block is often the consequence of this one, so both are shown.
            if kind is None or issubclass(kind, Exception):
                self.check()
        finally:
            self._stop()

    def _start(self) -> None:
        (self.workdir / "rules").mkdir(parents=True, exist_ok=True)
        grpc, http, health, telemetry, prometheus, alertmanager = free_addresses(6)
        self.otlp_grpc_endpoint, self.otlp_http_endpoint = f"http://{grpc}", f"http://{http}"
        self.prometheus_url = f"http://{prometheus}"
        self.collector_metrics_url = f"http://{telemetry}/metrics"
        self.alertmanager_url = f"http://{alertmanager}" if self._with_alertmanager else None

        config = self.workdir / "prometheus.yaml"
        text = (HERE / "prometheus.yaml").read_text()
        if text.count(ALERTMANAGER_TARGET) != 1:
            raise StackError(
                f"prometheus.yaml must name the target {ALERTMANAGER_TARGET} exactly once."
            )
        # Never the default port: an Alertmanager that listens there is not ours to tell.
        target = f'"{alertmanager}"' if self._with_alertmanager else ""
        config.write_text(text.replace(ALERTMANAGER_TARGET, target))

        if self._with_alertmanager:
            self._launch(
                "alertmanager",
                f"{self.alertmanager_url}/-/ready",
                self.binaries.alertmanager,
                f"--config.file={HERE / 'alertmanager.yaml'}",
                f"--storage.path={self.workdir / 'alertmanager'}",
                f"--web.listen-address={alertmanager}",
                "--cluster.listen-address=",
            )
        self._launch(
            "prometheus",
            f"{self.prometheus_url}/-/ready",
            self.binaries.prometheus,
            f"--config.file={config}",
            f"--storage.tsdb.path={self.workdir / 'prometheus'}",
            f"--web.listen-address={prometheus}",
            "--web.enable-otlp-receiver",
            "--web.enable-lifecycle",
            "--enable-feature=exemplar-storage",
            # An alert that fires before Alertmanager is discovered is repeated after this, not 1m.
            "--rules.alert.resend-delay=1s",
        )
        self._launch(
            "collector",
            f"http://{health}/",
            self.binaries.collector,
            *(f"--config={path}" for path in [HERE / "agent.yaml", *self._overlays]),
            env={
                "OTEL_ML_AGENT_GRPC": grpc,
                "OTEL_ML_AGENT_HTTP": http,
                "OTEL_ML_AGENT_HEALTH": health,
                "OTEL_ML_AGENT_PROMETHEUS": self.prometheus_url,
                "OTEL_ML_AGENT_TELEMETRY_PORT": telemetry.rpartition(":")[2],
            },
        )
        for process in self.processes:
            process.wait_until_ready()

    def _launch(
        self, name: str, ready_url: str, *command: str | Path, env: Mapping[str, str] | None = None
    ) -> None:
        # The caller's own agent settings are for another Collector; `env` is how to set them here.
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_ML_AGENT_")}
        env = {**inherited, **(env or {}), **self._env}
        self.processes.append(Process.launch(self.workdir / f"{name}.log", ready_url, command, env))

    def _stop(self) -> None:
        while self.processes:  # the Collector first: it still has something to deliver
            self.processes.pop().stop()

    def check(self) -> None:
        """Raise if a process has ended by itself."""
        for process in self.processes:
            process.check()

    def query(self, promql: str, at: float | None = None) -> Result:
        """Return Prometheus' answer at a Unix time (default: now), one dict per series."""
        return self._ask("query", {"query": promql} | ({} if at is None else {"time": str(at)}))

    def query_range(self, promql: str, start: float, end: float, step: float) -> Result:
        """Return the answers from start to end (Unix seconds), every step seconds."""
        times = {"start": str(start), "end": str(end), "step": str(step)}
        return self._ask("query_range", {"query": promql} | times)

    def wait_for(
        self, promql: str, predicate: Callable[[Result], object] = bool, timeout: float = 30.0
    ) -> Result:
        """Ask until the predicate holds (by default: there is a series), and return that answer."""
        deadline = time.monotonic() + timeout
        while not predicate(result := self.query(promql)):
            if time.monotonic() > deadline:
                raise StackError(
                    f"After {timeout:.0f} s, {promql} is still {result}.\nLogs: {self.workdir}"
                )
            time.sleep(POLL)
        return result

    def _ask(self, path: str, form: dict[str, str]) -> Result:
        body = urllib.parse.urlencode(form).encode()
        try:
            status, answer = fetch(f"{self.prometheus_url}/api/v1/{path}", body)
        except OSError:
            self.check()
            raise
        if status != 200:
            raise StackError(
                f"Prometheus refused {form['query']}: {answer.decode(errors='replace')}"
            )
        data = json.loads(answer)["data"]
        if data["resultType"] in ("scalar", "string"):
            return [{"metric": {}, "value": data["result"]}]
        result: Result = data["result"]
        return result


def _run(options: argparse.Namespace, command: Sequence[str]) -> int:
    with contextlib.ExitStack() as cleanup:
        workdir = options.workdir or cleanup.enter_context(
            tempfile.TemporaryDirectory(prefix="otel-ml-")
        )
        stack = Stack(
            workdir, alertmanager=options.alertmanager, extra_collector_config=options.overlay
        )
        cleanup.enter_context(stack)
        for name in (
            "otlp_grpc_endpoint",
            "otlp_http_endpoint",
            "prometheus_url",
            "alertmanager_url",
            "workdir",
        ):
            if value := getattr(stack, name):
                to_stderr(f"{name:20}{value}")
        code = _run_command(stack, command) if command else 0
        with contextlib.suppress(KeyboardInterrupt):
            while options.keep:
                stack.check()
                time.sleep(1)
        return code


def _run_command(stack: Stack, command: Sequence[str]) -> int:
    environment = {
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": stack.otlp_http_endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_ML_STACK_PROMETHEUS": stack.prometheus_url,
    }
    # Ctrl-C reaches the command as well; how it ends is its own business, and waited for. A handler
    # that does nothing, unlike SIG_IGN, is not inherited by the command.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        process = subprocess.Popen(command, env=environment)
        try:
            code = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    except OSError as error:
        raise StackError(f"Cannot run {command[0]}: {error.strerror}.") from None
    finally:
        signal.signal(signal.SIGINT, before)
    return code if code >= 0 else 128 - code  # ended by a signal: what a shell would say


def _leave(signum: int, _: FrameType | None) -> None:
    sys.exit(128 + signum)  # as an exception, so that the stack is stopped on the way out


def main(arguments: Sequence[str]) -> int:
    """Run one verb and return the exit code."""
    split = [*arguments, "--"].index("--")
    parser = argparse.ArgumentParser(description="Build and run the real stack.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("build", help="build what the cache lacks")
    verbs.add_parser("paths", help="print the paths of the binaries as JSON")
    run = verbs.add_parser(
        "run", help="start the stack and run a command: run [OPTION…] -- COMMAND…"
    )
    run.add_argument("--keep", action="store_true", help="stay up until Ctrl-C")
    run.add_argument("--alertmanager", action="store_true", help="start Alertmanager too")
    run.add_argument(
        "--overlay", action="append", default=[], type=Path, help="more Collector configuration"
    )
    run.add_argument(
        "--workdir", type=Path, help="folder for data and logs (default: a temporary one)"
    )
    options, command = parser.parse_args(arguments[:split]), arguments[split + 1 :]
    if options.verb == "run" and not (command or options.keep):
        parser.error("run needs a command after --, or --keep")
    signal.signal(signal.SIGTERM, _leave)
    try:
        if options.verb == "run":
            return _run(options, command)
        paths = {name: str(path) for name, path in asdict(ensure_built()).items()}
    except StackError as error:
        to_stderr(str(error))
        return 1
    if options.verb == "paths":
        print(json.dumps(paths, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
