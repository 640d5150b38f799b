"""When an instrumentor is on, what it imports, and that it goes without a trace."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from opentelemetry.instrumentation.dependencies import DependencyConflictError

from otel_ml import config
from otel_ml.capture import MLInstrumentor, _scope
from otel_ml.capture._base import Instrumentor, Patches, _declared_off
from otel_ml.capture.sklearn import SklearnInstrumentor
from otel_ml.capture.starlette import StarletteInstrumentor

ROOT = Path(__file__).parents[2]


class Probe(Instrumentor):
    name = "ml_probe"
    requires = ("pytest >= 1",)
    seen: list[str]

    def __init__(self) -> None:
        super().__init__()
        if not hasattr(self, "seen"):
            self.seen = []
            self.fails = False

    def hooks(self) -> Mapping[str, Callable[[ModuleType], None]]:
        return {"colorsys": self.loaded, "nntplib_that_is_not_there": self.loaded}

    def loaded(self, module: ModuleType) -> None:
        self.seen.append(module.__name__)
        if self.fails:
            raise RuntimeError("of ours")


@pytest.fixture
def probe() -> Iterator[Probe]:
    sys.modules.pop("colorsys", None)
    Probe._instance = None
    probe = Probe()
    yield probe
    probe.instrument(enabled=True)
    probe.uninstrument()
    Probe._instance = None


def test_hooks_run_when_the_module_is_imported(probe: Probe) -> None:
    probe.instrument()
    assert probe.seen == []
    import colorsys

    assert probe.seen == ["colorsys"]
    assert colorsys.__name__ in sys.modules


def test_hooks_run_at_once_for_what_is_imported_and_again_after_a_pause(probe: Probe) -> None:
    import colorsys

    probe.instrument()
    probe.instrument()
    Probe().instrument()
    assert probe.seen == [colorsys.__name__]
    probe.uninstrument()
    probe.uninstrument()
    probe.instrument()
    assert probe.seen == ["colorsys"] * 2


def test_a_hook_of_an_instrumentor_that_is_off_does_nothing(probe: Probe) -> None:
    probe.instrument()
    probe.uninstrument()
    import colorsys

    assert colorsys.__name__ in sys.modules
    assert probe.seen == []


def test_a_failing_hook_does_not_fail_the_import(
    probe: Probe, caplog: pytest.LogCaptureFixture
) -> None:
    probe.fails = True
    probe.instrument()
    import colorsys

    assert colorsys.rgb_to_hsv(0, 0, 0)
    assert "colorsys cannot be monitored" in caplog.text


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_SDK_DISABLED", "TRUE"),
        ("OTEL_ML_ENABLED", "false"),
        ("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "flask, ml_probe"),
        ("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "ml"),
    ],
)
def test_the_environment_turns_it_off(
    probe: Probe, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    probe.instrument(skip_dep_check=True)
    assert not probe.is_instrumented_by_opentelemetry
    monkeypatch.delenv(variable)
    probe.instrument(skip_dep_check=True)
    assert probe.is_instrumented_by_opentelemetry


@pytest.mark.parametrize(
    ("entry", "on"),
    [
        ("ml: {enabled: false}", False),
        ("ml_probe: {enabled: false}", False),
        ("ml_probe: {enabled: '${env:PROBE_ON:-false}'}", False),
        ("ml_probe: {enabled: true}", True),
        ("ml_probe: {}", True),
        ("ml_other: {enabled: false}", True),
        ("[broken", True),
    ],
)
def test_the_declarative_file_turns_it_off(
    probe: Probe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, entry: str, on: bool
) -> None:
    """The loader goes over every entry point again after the file, whatever the file says."""
    path = tmp_path / "otel.yaml"
    path.write_text(f"file_format: '1.0'\ninstrumentation/development:\n  python:\n    {entry}\n")
    monkeypatch.setenv("OTEL_CONFIG_FILE", str(path))
    _declared_off.cache_clear()
    probe.instrument(skip_dep_check=True)
    assert probe.is_instrumented_by_opentelemetry is on


def test_a_refusal_is_remembered(probe: Probe) -> None:
    probe.instrument(enabled=False)
    probe.instrument()
    Probe().instrument(skip_dep_check=True)
    assert not probe.is_instrumented_by_opentelemetry
    probe.instrument(enabled=True)
    assert probe.is_instrumented_by_opentelemetry
    probe.instrument(enabled=False)
    assert not probe.is_instrumented_by_opentelemetry


def test_an_unsupported_library_is_left_alone(
    probe: Probe, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for requirement in ("pytest >= 10000", "a-library-that-is-not-installed"):
        monkeypatch.setattr(Probe, "requires", (requirement,))
        probe.instrument(skip_dep_check=True)
        assert not probe.is_instrumented_by_opentelemetry
        with pytest.raises(DependencyConflictError):
            probe.instrument(raise_exception_on_conflict=True)
    assert caplog.text == ""


def test_the_umbrella_turns_the_others_on_and_off(
    recorder: Any, use_settings: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    members = (SklearnInstrumentor(), StarletteInstrumentor())
    MLInstrumentor().instrument(skip_dep_check=True)
    assert all(member.is_instrumented_by_opentelemetry for member in members)
    for member in members:
        member.instrument(skip_dep_check=True)
    MLInstrumentor().uninstrument()
    assert not any(member.is_instrumented_by_opentelemetry for member in members)
    monkeypatch.setenv("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "ml_starlette")
    MLInstrumentor().instrument()
    assert [m.is_instrumented_by_opentelemetry for m in members] == [True, False]
    MLInstrumentor().uninstrument()


def test_options_are_the_configuration(
    recorder: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    config.reset()
    monkeypatch.setattr(_scope, "_active", None)
    try:
        MLInstrumentor().instrument(
            capture={"client_headers": ["x-api-key"]}, tracer_provider=object()
        )
        assert _scope.settings().capture.client_headers == ("x-api-key",)
    finally:
        MLInstrumentor().uninstrument()
        config.reset()


def test_settings_that_turn_monitoring_off(recorder: Any, use_settings: Callable[..., Any]) -> None:
    pytest.importorskip("sklearn")
    from sklearn.dummy import DummyClassifier

    use_settings({"offline": True}, enabled=False)
    MLInstrumentor().instrument()
    DummyClassifier().fit([[0]], [0]).predict([[0]])
    MLInstrumentor().uninstrument()
    assert recorder.calls == []
    assert recorder.skipped == []


def test_a_pipeline_that_cannot_be_loaded_is_said_once(
    monkeypatch: pytest.MonkeyPatch,
    use_settings: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(_scope, "_current_sink", None)
    monkeypatch.setitem(sys.modules, "otel_ml.pipeline", None)
    monkeypatch.delattr("otel_ml.pipeline", raising=False)
    assert not _scope.prepare()
    assert not _scope.prepare()
    assert caplog.text.count("cannot start in this process") == 1
    _scope.submit(SimpleNamespace())  # type: ignore[arg-type]  # whatever it is


def test_patches_leave_other_peoples_patches() -> None:
    class Base:
        def inherited(self) -> str:
            return "inherited"

    class Target(Base):
        def own(self) -> str:
            return "own"

    before = dict(vars(Target))
    patches = Patches()
    patches.replace(Target, "own", lambda self: "ours")
    patches.replace(Target, "inherited", lambda self: "ours")
    patches.restore()
    assert dict(vars(Target)) == before
    patches.replace(Target, "own", lambda self: "ours")
    theirs = lambda self: "theirs"  # noqa: E731  # compared by identity below
    Target.own = theirs  # type: ignore[method-assign]  # what another library does
    patches.restore()
    assert vars(Target)["own"] is theirs


@pytest.mark.fault("A10")
def test_nothing_heavy_is_imported_and_nothing_starts() -> None:
    script = textwrap.dedent(
        """
        import os, sys, threading
        from importlib import import_module
        def files():
            return set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
        before = files()
        from otel_ml.capture import MLInstrumentor
        import_module("otel_ml.capture.sklearn").SklearnInstrumentor()
        import_module("otel_ml.capture.starlette").StarletteInstrumentor()
        MLInstrumentor().instrument()
        heavy = ["numpy", "sklearn", "joblib", "starlette", "uvicorn", "opentelemetry.sdk",
                 "otel_ml.pipeline", "otel_ml.engine", "concurrent.futures.thread", "anyio"]
        print([name for name in heavy if name in sys.modules])
        print(threading.active_count(), len(files() - before) )
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["[]", "1 0"]
