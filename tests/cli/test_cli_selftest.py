"""The verb: what it lists, refuses, runs and writes, and that it leaves no server behind."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from otel_ml.emit.receiver import Receiver
from otel_ml.selftest.battery import chosen
from otel_ml.selftest.faults import FAULTS
from otel_ml.semconv import metrics as m

Call = Callable[..., Any]
HANG = 90  # seconds; a guard against hanging
SERVER = b"otel_ml.selftest.server"


@pytest.fixture(scope="module")
def shape() -> jsonschema.Draft202012Validator:
    text = (resources.files("otel_ml.selftest") / "schema.json").read_text(encoding="utf-8")
    schema = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def servers(folder: Path) -> list[int]:
    """Return the processes of applications whose folder is below this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if SERVER in words and any(w.startswith(os.fsencode(folder)) for w in words):
                found.append(int(entry.name))
    return found


def test_list_names_every_fault(otel_ml: Call) -> None:
    ended = otel_ml("selftest", "--list")
    assert (ended.code, ended.err) == (0, "")
    for fault in FAULTS.values():
        assert f"{fault.id:<24}" in ended.out
        assert fault.title in ended.out
    quick = otel_ml("selftest", "--list", "--quick").out
    assert {f.id for f in chosen(quick=True)} == {
        line.split()[0] for line in quick.splitlines() if not line.startswith(" ")
    }
    assert len(chosen()) == len(FAULTS) > len(chosen(quick=True))


def test_the_faults_of_the_issue_are_there() -> None:
    modes = "refused black_hole dripping html unavailable rejecting"
    named = {f"collector_{mode}" for mode in modes.split()}
    named |= {"odd_inputs", "queue_full", "worker_killed", "memory", "fork", "poison"}
    named |= {"sigterm", "sigkill", "exit_refused", "exit_black_hole"}
    assert named <= set(FAULTS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--only", "sigquit"), "no fault is called 'sigquit'"),
        (("--only", "baseline,fork,nothing"), "choose among: baseline, "),
        (("--endpoint", "everything"), "invalid choice: 'everything'"),
        (("--fast",), "unrecognized arguments: --fast"),
    ],
)
def test_wrong_arguments(refused: Call, arguments: tuple[str, ...], said: str) -> None:
    assert said in refused("selftest", *arguments, code=2)


@pytest.mark.parametrize("target", ["gone/out.json", "."])
def test_a_report_that_cannot_be_written_is_said_first(refused: Call, target: str) -> None:
    refused("selftest", "--only", "baseline", "--json", target)


@pytest.mark.server
def test_a_run_and_its_report(
    otel_ml: Call, folder: Path, shape: jsonschema.Draft202012Validator
) -> None:
    ended = otel_ml("selftest", "--only", "baseline,collector_html", "--json", "out.json")
    assert ended.err == ""
    report = json.loads((folder / "out.json").read_text())
    shape.validate(report)
    assert ended.code == 0, report["faults"]
    assert report["ok"]
    assert report["mode"] == "only"
    assert [one["id"] for one in report["faults"]] == ["baseline", "collector_html"]
    for one in report["faults"]:
        assert one["verdict"] == "PASS"
        assert one["latency"]["with"]["n"] == one["latency"]["without"]["n"] > 0
        books = one["accounting"]
        assert books["given"] == books["captured"] == books["exported"] > 0
    assert "\x1b" not in ended.out
    assert "✓ baseline" in ended.out
    assert "2 passed, 0 failed, 0 skipped" in ended.out
    assert sorted(folder.iterdir()) == [folder / "out.json"]


@pytest.mark.server
def test_standard_output_is_only_the_report(
    otel_ml: Call, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otel_ml.selftest.faults.importlib.util.find_spec", lambda _: None)
    ended = otel_ml("selftest", "--only", "estimator", "--json", "-")
    (one,) = json.loads(ended.out)["faults"]
    assert (ended.code, one["verdict"]) == (0, "SKIP")
    assert one["reason"] == "scikit-learn is not installed: pip install 'otel-ml[demo]'"
    assert "- estimator" in ended.err
    assert "0 passed, 0 failed, 1 skipped" in ended.err


@pytest.mark.server
def test_kept_output(otel_ml: Call, folder: Path) -> None:
    assert otel_ml("selftest", "--only", "baseline", "--keep", "kept").code == 0
    (run,) = (folder / "kept").iterdir()
    assert {path.name for path in run.iterdir()} == {"00-with", "01-without"}
    assert servers(folder) == []


# The user's own receiver


def test_an_endpoint_that_answers(otel_ml: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        ended = otel_ml("selftest", "--only", "endpoint")
        assert ended.code == 0, ended.out
        # nothing but an empty request, of each signal
        assert [len(request.resource_metrics) for request in receiver.metrics] == [0]
        assert [len(request.resource_logs) for request in receiver.logs] == [0]
        ended = otel_ml("selftest", "--only", "endpoint", "--endpoint", "point")
        assert ended.code == 0, ended.out
        assert receiver.series(m.ML_MONITORING_CAPTURED.name)[0][1] == 0


def test_an_endpoint_that_does_not_answer(
    otel_ml: Call, monkeypatch: pytest.MonkeyPatch, shape: jsonschema.Draft202012Validator
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and never listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        ended = otel_ml("selftest", "--only", "endpoint", "--json", "-")
    report = json.loads(ended.out)
    shape.validate(report)
    assert ended.code == 1
    assert not report["ok"]
    (one,) = report["faults"]
    assert [check["verdict"] for check in one["checks"]] == ["FAIL", "FAIL"]
    assert f"metrics to {url}/v1/metrics" in one["reason"]
    assert "check OTEL_EXPORTER_OTLP_*" in one["reason"]


def test_no_endpoint_at_all(otel_ml: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")
    ended = otel_ml("selftest", "--only", "endpoint")
    assert ended.code == 0
    assert "nothing is sent over OTLP" in ended.out


# Nothing is left behind


@pytest.mark.server
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    ("number", "codes"),
    [
        (signal.SIGINT, {130}),
        (signal.SIGTERM, {130}),
        (signal.SIGKILL, {-signal.SIGKILL}),
    ],
)
def test_no_server_survives(folder: Path, number: signal.Signals, codes: set[int]) -> None:
    command = [sys.executable, "-m", "otel_ml.cli", "selftest", "--keep", "kept"]
    process = subprocess.Popen(
        [*command, "--only", "memory", "--json", "out.json"],
        cwd=folder,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        _until(lambda: len(servers(folder.resolve())) == 2)
        process.send_signal(number)
        output, _ = process.communicate(timeout=HANG)
    finally:
        process.kill()
    assert process.returncode in codes, output
    assert b"Traceback" not in output, output
    _until(lambda: servers(folder.resolve()) == [])
    if number is not signal.SIGKILL:
        assert not (folder / "out.json").exists()


def test_an_interrupt_that_gets_lost_stops_it_nevertheless(
    otel_ml: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is raised in a destructor is dropped by Python."""
    lost: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: lost.append(repr(told.exc_value)))

    class Destroyed:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000):
                pass  # a handler runs between two steps of Python

    def run(bench: Any, trial: Any) -> None:
        Destroyed()

    fault = dataclasses.replace(FAULTS["memory"], run=run)
    monkeypatch.setitem(FAULTS, "memory", fault)
    before = signal.getsignal(signal.SIGINT)
    ended = otel_ml("selftest", "--only", "memory,fork")
    assert lost == ["KeyboardInterrupt()"]
    assert ended.code == 130
    assert signal.getsignal(signal.SIGINT) is before


def _environment() -> Mapping[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
