from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_ml import config
from otel_ml.config import ModelSettings, Settings


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    config.reset()
    yield
    config.reset()


def test_is_read_once() -> None:
    Path("otel-ml.yaml").write_text("learn_rows: 50", encoding="utf-8")
    first = config.active()
    assert first.learn_rows == 50
    Path("otel-ml.yaml").write_text("learn_rows: 60", encoding="utf-8")
    assert config.active() is first
    config.reset()
    assert config.active().learn_rows == 60


def test_arguments_replace_the_file_until_others_come() -> None:
    Path("otel-ml.yaml").write_text("learn_rows: 50", encoding="utf-8")
    assert config.configure({"min_group": 5}).learn_rows == 2000
    assert config.active().min_group == 5
    assert config.configure({}).min_group == 5
    assert config.configure(None).min_group == 5
    assert config.configure({"min_group": 6}).min_group == 6


def test_no_arguments_mean_the_file() -> None:
    Path("otel-ml.yaml").write_text("learn_rows: 50", encoding="utf-8")
    assert config.configure({}).learn_rows == 50


def test_a_broken_file_is_logged_once_and_monitoring_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Path("otel-ml.yaml").write_text("learn_rows: 50\nmodles: []", encoding="utf-8")
    monkeypatch.setenv("OTEL_ML_MODEL_NAME", "churn")
    with caplog.at_level(logging.WARNING):
        settings = config.active()
        assert config.active() is settings
    assert settings.enabled
    assert settings.learn_rows == 2000
    assert settings.models == (ModelSettings("churn"),)
    assert settings.config_error is not None
    assert settings.config_error.startswith("otel-ml.yaml:2: modles: unknown key")
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "otel-ml.yaml:2: modles" in record.getMessage()


@pytest.mark.parametrize("off", ["false", "0", "no", "OFF"])
def test_off_holds_whatever_else_is_broken(monkeypatch: pytest.MonkeyPatch, off: str) -> None:
    Path("otel-ml.yaml").write_text("[", encoding="utf-8")
    monkeypatch.setenv("OTEL_ML_ENABLED", off)
    assert not config.active().enabled
    config.reset()
    monkeypatch.setenv("OTEL_ML_MIN_EFFECT", "lots")
    assert not config.active().enabled
    assert config.active().config_error is not None


def test_broken_arguments_do_not_raise(caplog: pytest.LogCaptureFixture) -> None:
    settings = config.configure({"budget": {"per": "month"}})
    assert settings == Settings(config_error=settings.config_error)
    assert "OTEL_CONFIG_FILE: budget.per" in caplog.text
    assert config.active() is settings


def test_a_working_directory_that_is_gone_does_not_raise(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    assert config.active() == Settings()
    config.reset()
    assert config.configure({"state_dir": "x"}).config_error is not None


def test_strange_variables_are_pointed_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_ML_REFRENCE", "100%s.json")
    assert config.active() == Settings()
    assert "OTEL_ML_REFRENCE is not a variable of otel-ml" in caplog.text


def test_threads_share_one_answer(caplog: pytest.LogCaptureFixture) -> None:
    Path("otel-ml.yaml").write_text("[", encoding="utf-8")
    answers: list[Settings] = []
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait()
        answers.append(config.active())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert len({id(answer) for answer in answers}) == 1
    assert len(caplog.records) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_while_the_file_is_read_leaves_the_child_free() -> None:
    code = (
        "import os, sys\n"
        "from otel_ml import config\n"
        "config._lock.acquire()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    config.active(); os._exit(7)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    path = str(Path(config.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], timeout=60, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == 7


def test_loads_nothing_heavy() -> None:
    code = (
        "import sys, otel_ml.config as c, otel_ml.config.environment\n"
        "c.active()\n"
        "print(sorted(m for m in sys.modules if m in ('numpy', 'yaml', 'opentelemetry')))\n"
    )
    path = str(Path(config.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.stdout == "[]\n", done.stderr
