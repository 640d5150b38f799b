"""`stack.py`: starting, asking, stopping, and its command line."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import stack as stack_module
from stack import Stack, StackError

pytestmark = pytest.mark.stack

HANG = 60.0  # seconds; a guard, not a measure


def listens(url: str) -> bool:
    with contextlib.suppress(OSError):
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname, parts.port), 1):
            return True
    return False


def urls(stack: stack_module.Stack) -> set[str]:
    return {
        stack.otlp_grpc_endpoint,
        stack.otlp_http_endpoint,
        stack.prometheus_url,
        stack.collector_metrics_url,
    }


# ---- queries


def test_queries_answer_with_one_dict_per_series(stack: stack_module.Stack) -> None:
    assert [series["value"][1] for series in stack.query("vector(2)")] == ["2"]
    assert stack.query("time()", at=1700000000.5)[0]["value"] == [1700000000.5, "1700000000.5"]
    (line,) = stack.query_range("vector(3)", 1700000000, 1700000010, 5)
    assert [value for _, value in line["values"]] == ["3", "3", "3"]
    assert stack.query("no_such_metric") == []


def test_a_query_prometheus_refuses_says_so(stack: stack_module.Stack) -> None:
    with pytest.raises(StackError, match="parse error"):
        stack.query("sum(")


def test_waiting_in_vain_ends_with_the_last_answer(stack: stack_module.Stack) -> None:
    with pytest.raises(StackError, match=r"no_such_metric is still \[\]"):
        stack.wait_for("no_such_metric", timeout=0.1)


# ---- starting and stopping


def test_two_stacks_share_a_machine_and_leave_nothing(
    stack: stack_module.Stack, tmp_path: Path
) -> None:
    with Stack(tmp_path) as second:
        assert not urls(stack) & urls(second)
        assert all(listens(url) for url in urls(stack) | urls(second))
    assert not any(listens(url) for url in urls(second))
    assert all(listens(url) for url in urls(stack))


def test_a_process_that_ends_by_itself_is_reported_with_its_log(
    binaries: stack_module.Binaries, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("receivers: {no_such_receiver: {}}")
    with (
        pytest.raises(StackError, match=r"(?s)collector ended by itself.*no_such_receiver"),
        Stack(tmp_path, extra_collector_config=[broken]),
    ):
        pytest.fail("it started")


def test_a_process_that_dies_inside_the_block_is_reported(
    binaries: stack_module.Binaries, tmp_path: Path
) -> None:
    stack = Stack(tmp_path)

    def lose_prometheus() -> None:
        with stack:
            (prometheus,) = (p for p in stack.processes if p.name == "prometheus")
            prometheus.popen.kill()
            prometheus.popen.wait(HANG)

    with pytest.raises(StackError, match="prometheus ended by itself"):
        lose_prometheus()
    assert not any(listens(url) for url in urls(stack))


# ---- the command line


def program(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(stack_module.HERE / "stack.py"), *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=2 * HANG,
    )


def test_run_gives_the_command_its_addresses_and_returns_its_exit_code(
    binaries: stack_module.Binaries,
) -> None:
    code = (
        "import os, sys, urllib.request as r\n"
        "print(os.environ['OTEL_EXPORTER_OTLP_PROTOCOL'])\n"
        "assert os.environ['OTEL_EXPORTER_OTLP_ENDPOINT'].startswith('http://127.0.0.1:')\n"
        "print(r.urlopen(os.environ['OTEL_ML_STACK_PROMETHEUS'] + '/-/ready').status)\n"
        "sys.exit(7)"
    )
    done = program("run", "--", sys.executable, "-c", code)
    assert (done.returncode, done.stdout.split()) == (7, ["http/protobuf", "200"]), done.stderr
    assert "prometheus_url" in done.stderr


def test_paths_are_json(binaries: stack_module.Binaries) -> None:
    done = program("paths")
    assert json.loads(done.stdout)["promtool"] == str(binaries.promtool)


def test_without_go_and_without_a_cache_the_remedy_is_named(tmp_path: Path) -> None:
    done = program("build", PATH="", OTEL_ML_CACHE=str(tmp_path))
    assert done.returncode == 1
    assert "go.mod" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_go_a_filled_cache_is_enough(binaries: stack_module.Binaries) -> None:
    done = program("paths", PATH="", OTEL_ML_CACHE=str(binaries.promtool.parents[1]))
    assert done.returncode == 0, done.stderr


def test_a_failed_build_shows_what_go_said(tmp_path: Path) -> None:
    go = tmp_path / "go"
    go.write_text(
        '#!/bin/sh\n[ "$1" = version ] && { echo go version go9; exit; }\n'
        "echo no space left; exit 3\n"
    )
    go.chmod(0o755)
    done = program("build", PATH=f"{tmp_path}:/usr/bin:/bin", OTEL_ML_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 1
    assert "no space left" in done.stderr
    assert "Traceback" not in done.stderr


FAKE_GO = """#!/bin/sh
echo "$1" >> "$FAKE/calls"
case "$1" in
  version) echo go version go9 ;;
  list) echo "$FAKE/source" ;;
  run) mkdir _build && touch _build/otelcol-ml ;;
  build)
    sleep 0.5
    for word; do [ "$last" = -o ] && out=$word; last=$word; done
    touch "$out/prometheus" "$out/promtool" "$out/alertmanager" ;;
esac
"""


def test_two_builds_at_once_build_once(tmp_path: Path) -> None:
    (tmp_path / "source" / "ui" / "app").mkdir(parents=True)
    (tmp_path / "source" / "VERSION").write_text("1.0.0")
    (tmp_path / "go").write_text(FAKE_GO)
    (tmp_path / "go").chmod(0o755)
    fake = {"FAKE": str(tmp_path), "OTEL_ML_CACHE": str(tmp_path / "cache")}
    with ThreadPoolExecutor() as pool:
        path = f"{tmp_path}:/usr/bin:/bin"
        both = [pool.submit(program, "build", PATH=path, **fake) for _ in range(2)]
        done = [each.result() for each in both]
    assert [each.returncode for each in done] == [0, 0], done
    assert sum("waiting" in each.stderr for each in done) == 1
    calls = (tmp_path / "calls").read_text().split()
    assert (calls.count("build"), calls.count("run")) == (2, 1)
    (folder,) = (tmp_path / "cache").iterdir()
    left = {path.name for path in folder.iterdir()}
    assert left == {"alertmanager", "collector", "lock", "prometheus", "promtool"}
