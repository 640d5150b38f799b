"""The whole demo, as a user runs it: real server, real instrumentation, real engine."""

from __future__ import annotations

import http.client
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

INSTALLED = bool(importlib.metadata.entry_points(group="opentelemetry_instrumentor", name="ml"))
LIMIT = 300.0

pytestmark = [
    pytest.mark.server,
    pytest.mark.slow,
    pytest.mark.skipif(not INSTALLED, reason="needs otel-ml installed: pip install -e '.[demo]'"),
]


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    code = "import sys; from otel_ml.cli import main; sys.exit(main(sys.argv[1:]))"
    command: Sequence[str] = [sys.executable, "-c", code, "demo", "--out", str(folder), *more]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )


def gone(url: str) -> bool:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=5)
    try:
        connection.request("GET", "/health")
    except ConnectionRefusedError:
        return True
    finally:
        connection.close()
    return False


def read_until(process: subprocess.Popen[str], wanted: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if wanted in line:
            return line
    raise AssertionError(f"{wanted!r} was never said")


def url_in(line: str) -> str:
    return next(word for word in line.split() if word.startswith("http://"))


def test_every_fault_is_found_and_rightly_named(folder: Path) -> None:
    process = start(folder, "--json", "-", "--rows-per-second", "600")
    stdout, stderr = process.communicate(timeout=LIMIT)
    told: dict[str, Any] = json.loads(stdout)
    assert told["problems"] == [], stderr
    assert (process.returncode, told["schema"], told["ok"]) == (0, "otel-ml/demo/1", True)
    assert [fault["rightly_named"] for fault in told["faults"]] == [True] * 6
    assert told["paged_before_first_fault"] == 0
    assert told["predictions"]["counted"] == told["predictions"]["sent"] == 27_000
    assert told["labels"]["joined"] == told["labels"]["sent"] == 27_000
    assert told["predictions"]["dropped"] == {}
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "6 of 6 faults found and rightly named" in page


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_no_server_behind(folder: Path, number: signal.Signals) -> None:
    process = start(folder)
    url = url_in(read_until(process, "opentelemetry-instrument"))
    assert not gone(url)
    process.send_signal(number)
    process.communicate(timeout=LIMIT)
    assert process.returncode != 0
    assert gone(url)
