"""Build the real stack once: the pinned manifests of this folder in, binaries in a cache out.

Standard library only; needs Go, and Linux or macOS. `stack.py` runs what this builds.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILDER = "go.opentelemetry.io/collector/cmd/builder@v0.161.0"
PROMETHEUS, ALERTMANAGER = HERE / "tools" / "prometheus", HERE / "tools" / "alertmanager"
# Cloud vendors' service discoveries are most of Prometheus' build time; nothing here uses them.
BUILD_FLAGS = ("-trimpath", "-tags", "remove_all_sd")
BUILD_LIMIT = 3600.0  # seconds; a guard against hanging, not a measure of speed

Progress = Callable[[str], None]


class StackError(RuntimeError):
    """The stack cannot be built, started or asked; the message ends with what to do about it."""


@dataclass(frozen=True)
class Binaries:
    """Paths of the built programs."""

    collector: Path
    prometheus: Path
    promtool: Path
    alertmanager: Path


def to_stderr(line: str) -> None:
    """Show progress where it does not mix with what a command prints."""
    print(line, file=sys.stderr, flush=True)


def tail(log: Path, lines: int = 25) -> str:
    """Return the end of a log, for an error message."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join(text.splitlines()[-lines:])


def ensure_built(progress: Progress = to_stderr) -> Binaries:
    """Return the binaries; what the cache lacks is built, by one process at a time."""
    go = shutil.which("go")
    folder = _cache_folder(go)
    binaries = Binaries(*(folder / name for name in Binaries.__dataclass_fields__))
    steps = (
        (_build_prometheus, (binaries.prometheus, binaries.promtool)),
        (_build_alertmanager, (binaries.alertmanager,)),
        (_build_collector, (binaries.collector,)),
    )
    if all(path.exists() for path in asdict(binaries).values()):
        return binaries
    if go is None:
        raise StackError(
            "The stack is not built yet, and Go, which builds it, is not on PATH.\n"
            "Install the Go version named in collector_config/tools/prometheus/go.mod or newer (https://go.dev/dl)."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder / "lock", progress):
        for build, targets in steps:
            if all(target.exists() for target in targets):
                continue
            names = " and ".join(target.name for target in targets)
            progress(f"building {names} (minutes, the first time) …")
            started = time.monotonic()
            # In the cache itself, so that the rename stays on one file system and is atomic.
            with tempfile.TemporaryDirectory(dir=folder, prefix="build-") as scratch:
                build(Path(scratch), _Go(go, Path(scratch), names, progress))
                for target in targets:
                    (Path(scratch) / target.name).replace(target)
            progress(f"built {names} in {time.monotonic() - started:.0f} s")
    return binaries


def _cache_folder(go: str | None) -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otel-ml"
    base = Path(os.environ.get("OTEL_ML_CACHE") or base).absolute()
    pinned = hashlib.sha256(repr((BUILDER, BUILD_FLAGS)).encode())
    for manifest in (HERE / "builder.yaml", *sorted((HERE / "tools").glob("*/go.*"))):
        pinned.update(manifest.read_bytes())
    prefix = f"stack-{pinned.hexdigest()[:16]}-"
    if go is None:  # what another Go built from the same manifests is as good
        return max(base.glob(f"{prefix}*"), default=base / f"{prefix}none")
    asked = subprocess.run([go, "version"], cwd=PROMETHEUS, capture_output=True, text=True)
    if asked.returncode:
        raise StackError(f"`go version` failed:\n{asked.stderr}\nReinstall Go (https://go.dev/dl).")
    return base / (
        prefix + re.sub(r"[^\w.]+", "-", asked.stdout.removeprefix("go version").strip())
    )


@contextlib.contextmanager
def _lock(path: Path, progress: Progress) -> Iterator[None]:
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("another process is building; waiting for it …")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield  # closing the file, or dying, gives the lock back


@dataclass(frozen=True)
class _Go:
    """Runs Go for one build step: tells that it lasts, and how the output ended if it fails."""

    path: str
    scratch: Path
    what: str
    progress: Progress

    def __call__(self, *arguments: str, cwd: Path) -> str:
        command = [self.path, *arguments]
        environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
        log = self.scratch / "output"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=cwd, env=environment, stdout=output, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        started = time.monotonic()
        try:
            while process.poll() is None and time.monotonic() - started < BUILD_LIMIT:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(30)
                    break
                self.progress(f"  {self.what}: {time.monotonic() - started:.0f} s so far …")
        finally:
            if process.poll() is None:  # too long, or interrupted: Go's own children go with it
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.returncode:
            raise StackError(
                f"Building {self.what} failed: go {' '.join(arguments)}\n{tail(log)}\n"
                "Modules come from GOPROXY (`go env GOPROXY`): is it reachable? Is Go as new as "
                "collector_config/tools/prometheus/go.mod asks for?"
            )
        return log.read_text(errors="replace")

    def download(self, module: Path) -> tuple[Path, str]:
        """Return the source folder and the release number of the program that a module pins."""
        name = f"github.com/prometheus/{module.name}"
        self("mod", "download", name, cwd=module)
        source = Path(self("list", "-m", "-f", "{{.Dir}}", name, cwd=module).splitlines()[-1])
        return source, (source / "VERSION").read_text().strip()

    def build(self, module: Path, version: str, *arguments: str) -> None:
        """Build the tools that a module names into the scratch folder."""
        stamp = f"-X github.com/prometheus/common/version.Version={version}"
        flags = (*BUILD_FLAGS, "-ldflags", f"-s -w {stamp}", "-o", f"{self.scratch}/")
        self("build", *flags, *arguments, "tool", cwd=module)


def _build_collector(scratch: Path, go: _Go) -> None:
    go("run", BUILDER, "--config", str(HERE / "builder.yaml"), cwd=scratch)
    (scratch / "_build" / "otelcol-ml").replace(scratch / "collector")


def _build_prometheus(_: Path, go: _Go) -> None:
    go.build(PROMETHEUS, go.download(PROMETHEUS)[1])


def _build_alertmanager(scratch: Path, go: _Go) -> None:
    # The module embeds its compiled web page and is published without it, so it does not build as
    # it is. Build a copy that has a page; the API, which is what the stack is for, needs none.
    source, version = go.download(ALERTMANAGER)
    copy, module = scratch / "source", scratch / "copy.mod"
    shutil.copytree(source, copy, copy_function=shutil.copyfile)
    app = copy / "ui" / "app"
    app.chmod(0o755)  # Go keeps its modules read-only
    (app / "dist").mkdir()
    (app / "dist" / "index.html.gz").write_bytes(gzip.compress(b"Built without a web page."))
    shutil.copyfile(ALERTMANAGER / "go.mod", module)
    shutil.copyfile(ALERTMANAGER / "go.sum", module.with_suffix(".sum"))
    replace = f"-replace=github.com/prometheus/alertmanager={copy}"
    go("mod", "edit", replace, str(module), cwd=scratch)
    go.build(ALERTMANAGER, version, f"-modfile={module}")
