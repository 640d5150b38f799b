"""`import otel_ml` costs nothing and does nothing, and what it offers is what is documented."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import otel_ml

ROOT = Path(__file__).parents[1]

# What a user finds in the documentation.
DOCUMENTED = {
    "Batch",
    "Budget",
    "ConfigError",
    "DataError",
    "Engine",
    "OtelMlError",
    "Reference",
    "ReferenceError",
    "StateError",
    "__version__",
    "flush",
    "observe",
    "record_labels",
    "shutdown",
}

PROBE = """
import json, os, signal, subprocess, sys, threading
handlers = {s: signal.getsignal(s) for s in signal.valid_signals()}
seen = {"open": [], "socket": [], "thread": []}

def watch(event, args):
    if event == "open" and isinstance(args[0], str):
        seen["open"].append(args[0])
    elif event.startswith("socket."):
        seen["socket"].append(event)

def start(thread, start=threading.Thread.start):
    # before 3.12 there is no auditing event of it, since 3.13 it has another name
    seen["thread"].append(thread.name)
    start(thread)

threading.Thread.start = start

def state():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        children = file.read()
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    return [len(os.listdir("/proc/self/task")), children, repr(hooks), dict(os.environ)]

state_before = state() if os.path.isdir("/proc/self/task") else None
before = set(sys.modules)
files = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
sys.addaudithook(watch)
exec(sys.argv[1])
import_files = [f for f in seen["open"] if not f.endswith((".py", ".pyc", ".so"))]
print(json.dumps({
    "modules": sorted(set(sys.modules) - before),
    "files": import_files,
    "sockets": seen["socket"],
    "threads": seen["thread"],
    "running": [t.name for t in threading.enumerate()],
    "open": sorted(set(os.listdir("/proc/self/fd")) - files) if files else [],
    "state": state_before is None or state() == state_before,
    "signals": [str(s) for s, h in handlers.items() if signal.getsignal(s) is not h],
}))
"""


def fresh(code: str, config: str | None = "/no/such/file") -> dict[str, Any]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROBE, code],
        cwd=ROOT,
        # numpy's linear algebra has threads of its own, which are not ours to judge
        env={
            **environ,
            **({} if config is None else {"OTEL_ML_CONFIG_FILE": config}),
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    # nothing else was printed, at exit neither
    found: dict[str, Any] = json.loads(done.stdout)
    return found


HEAVY = ("opentelemetry.sdk", "opentelemetry.exporter", "grpc", "yaml", "requests", "google")
LIBRARIES = ("sklearn", "pandas", "polars", "scipy", "pyarrow", "narwhals", "fastapi", "starlette")


def loaded(found: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    return [
        m for m in found["modules"] if m in names or m.startswith(tuple(f"{n}." for n in names))
    ]


def check_quiet(found: dict[str, Any]) -> None:
    assert found["threads"] == []
    assert found["running"] == ["MainThread"]
    assert found["sockets"] == []
    assert found["files"] == []
    assert found["open"] == []
    assert found["signals"] == []
    assert found["state"], "threads of the system, children, hooks or environment have changed"


def test_import_loads_next_to_nothing() -> None:
    found = fresh("import otel_ml")
    assert loaded(found, (*HEAVY, *LIBRARIES, "numpy", "opentelemetry")) == []
    assert [m for m in found["modules"] if m.startswith("otel_ml")] == [
        "otel_ml",
        "otel_ml._version",
    ]
    check_quiet(found)


def test_all_public_names_load_no_sdk_no_server_and_start_nothing() -> None:
    found = fresh("import otel_ml\nfor name in otel_ml.__all__: getattr(otel_ml, name)")
    assert loaded(found, (*HEAVY, *LIBRARIES)) == []
    check_quiet(found)


@pytest.mark.parametrize(
    "module", ["otel_ml.pipeline", "otel_ml.engine", "otel_ml.emit", "otel_ml.capture"]
)
def test_parts_load_no_sdk_and_start_nothing(module: str) -> None:
    found = fresh(f"import {module}")
    assert loaded(found, (*HEAVY[:3], *LIBRARIES)) == []
    check_quiet(found)


@pytest.mark.parametrize(
    "group", ["opentelemetry_instrumentor", "opentelemetry_environment_variables"]
)
def test_entry_points_are_light(group: str) -> None:
    """`opentelemetry-instrument` loads them in every Python process of a service."""
    points = [p.value for p in importlib.metadata.entry_points(group=group) if "otel_ml" in p.value]
    if not points:
        pytest.skip("otel-ml is not installed here")
    code = "\n".join(
        f"import {p.partition(':')[0]} as m; {'m.' + p.partition(':')[2] if ':' in p else 'm'}"
        for p in points
    )
    found = fresh(code)
    assert loaded(found, (*HEAVY, *LIBRARIES, "numpy", "otel_ml.engine", "otel_ml.pipeline")) == []
    check_quiet(found)


def test_turning_instrumentation_on_starts_nothing() -> None:
    """In every process, most of which never predict."""
    # whether to flush on SIGTERM has to be known before the first prediction
    code = "from otel_ml.capture import MLInstrumentor; MLInstrumentor().instrument()"
    found = fresh(code, config=None)
    assert loaded(found, (*HEAVY[:3], *LIBRARIES, "otel_ml.engine")) == []
    assert found["threads"] == found["sockets"] == found["signals"] == []


def test_testing_needs_no_pytest() -> None:
    found = fresh("import otel_ml.testing")
    assert loaded(found, ("pytest", "_pytest", "pluggy")) == []
    assert found["threads"] == found["sockets"] == found["signals"] == []


def test_the_public_names_are_the_documented_ones() -> None:
    assert set(otel_ml.__all__) == DOCUMENTED
    assert sorted(otel_ml.__all__) == list(otel_ml.__all__)
    assert set(dir(otel_ml)) == DOCUMENTED
    init = ast.parse((ROOT / "otel_ml" / "__init__.py").read_text())
    typed = {
        alias.name
        for node in ast.walk(init)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("otel_ml.")
        for alias in node.names
    }
    assert typed == DOCUMENTED, "what a type checker sees is what there is"


@pytest.mark.parametrize("name", sorted(DOCUMENTED - {"__version__"}))
def test_every_public_name_has_a_docstring(name: str) -> None:
    thing = getattr(otel_ml, name)
    assert inspect.getdoc(thing)
    if inspect.isclass(thing):
        public = [
            member
            for key, member in inspect.getmembers(thing)
            if not key.startswith("_")
            and (inspect.isfunction(member) or inspect.ismethod(member))
            and str(member.__module__).startswith("otel_ml")
        ]
        for member in public:
            assert inspect.getdoc(member), member


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = otel_ml.nonsense
    with pytest.raises(ImportError, match="nonsense"):
        exec("from otel_ml import nonsense")


POINTS = ("ml", "ml_sklearn", "ml_starlette")


def load(point: str) -> str:
    return (
        "from importlib.metadata import entry_points\n"
        f"(point,) = entry_points(group='opentelemetry_instrumentor', name={point!r})\n"
        "loaded = point.load()\n"
    )


@pytest.mark.parametrize("point", POINTS)
def test_each_entry_point_is_light(point: str) -> None:
    found = fresh(load(point))
    ours = ("otel_ml.engine", "otel_ml.pipeline", "otel_ml.emit", "otel_ml.profile")
    assert loaded(found, (*HEAVY, *LIBRARIES, "numpy", *ours)) == []


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("times", ["loaded().instrument()\n", "loaded().instrument()\n" * 2])
def test_instrumenting_by_entry_point_starts_nothing(point: str, times: str) -> None:
    found = fresh(f"{load(point)}{times}loaded().uninstrument()", config=None)
    assert loaded(found, (*HEAVY, *LIBRARIES, "otel_ml.engine", "otel_ml.emit")) == []
    assert found["threads"] == found["sockets"] == found["signals"] == found["open"] == []
    assert found["running"] == ["MainThread"]
    assert found["state"]


@pytest.mark.parametrize("name", ["Engine", "observe", "record_labels"])
def test_a_name_loads_no_sdk_and_starts_nothing(name: str) -> None:
    found = fresh(f"import otel_ml; otel_ml.{name}")
    assert loaded(found, (*HEAVY, *LIBRARIES)) == []
    check_quiet(found)


@pytest.mark.parametrize("name", sorted(DOCUMENTED - {"__version__"}))
def test_a_public_name_is_public_where_it_lives(name: str) -> None:
    value = getattr(otel_ml, name)
    home = importlib.import_module(otel_ml._HOME[name])
    assert name in home.__all__
    assert getattr(home, name) is value is getattr(otel_ml, name)
    summary = (vars(value)["__doc__"] if isinstance(value, type) else value.__doc__) or ""
    first = summary.strip().partition("\n")[0]
    assert len(first.split()) >= 3
    assert first.endswith((".", ":"))
    assert not first.startswith(f"{name}("), "a dataclass without a docstring of its own"


def test_the_version_is_that_of_the_installed_package() -> None:
    assert otel_ml.__version__ == importlib.metadata.version("otel-ml")


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("threads", "threading.Thread(target=threading.Event().wait, daemon=True).start()"),
        ("running", "threading.Thread(target=threading.Event().wait, daemon=True).start()"),
        ("sockets", "import socket; kept = socket.socket(); kept.detach()"),
        ("files", "kept = os.open(os.devnull, os.O_RDONLY)"),
        ("open", "import socket; kept = socket.socket(); kept.detach()"),
        ("signals", "signal.signal(signal.SIGTERM, lambda *_: None)"),
        ("state", "threading.Thread(target=threading.Event().wait, daemon=True).start()"),
        (
            "state",
            "import atexit; kept = subprocess.Popen(['sleep', '5'])\n"
            "atexit.register(kept.wait); atexit.register(kept.kill)",
        ),
        ("state", "sys.excepthook = print"),
        ("state", "os.environ['OPENBLAS_NUM_THREADS'] = '2'"),
    ],
)
def test_what_is_not_quiet_is_noticed(key: str, code: str) -> None:
    found = fresh(code)
    assert found[key] != fresh("pass")[key]
    with pytest.raises(AssertionError):
        check_quiet(found)


def test_what_is_loaded_is_noticed() -> None:
    assert "opentelemetry.sdk.version" in loaded(fresh("import opentelemetry.sdk.version"), HEAVY)
    assert "numpy" in loaded(fresh("import numpy"), ("numpy",))


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_is_printed_at_exit_is_noticed(stream: str) -> None:
    with pytest.raises((AssertionError, json.JSONDecodeError)):
        fresh(f"import atexit; atexit.register(print, 'bye', file=sys.{stream})")
