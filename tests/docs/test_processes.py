"""What the page on processes says is so: its code runs, its settings exist, its figures hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from otel_ml import config, ending, pipeline
from otel_ml.config import environment
from otel_ml.testing import MemoryPipeline

PAGE = (Path(__file__).resolve().parents[2] / "docs/processes.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("code", blocks("python"))
def test_the_code_runs(code: str, otel_ml_pipeline: MemoryPipeline) -> None:
    from otel_ml.capture import MLInstrumentor

    try:
        exec(compile(code, "processes.md", "exec"), {})
    finally:
        MLInstrumentor().uninstrument()
    if "observe" in code:
        assert otel_ml_pipeline.sink.value("ml.predictions", ml_model_name="churn") == 2


@pytest.mark.parametrize("text", blocks("yaml"))
def test_the_settings_exist(text: str, tmp_path: Path) -> None:
    file = tmp_path / "otel-ml.yaml"
    file.write_text(text, encoding="utf-8")
    settings = config.load({"OTEL_ML_CONFIG_FILE": str(file)})
    assert settings.capture.flush_on_sigterm
    assert not config.load({}).capture.flush_on_sigterm


def test_the_variables_exist() -> None:
    named = set(re.findall(r"OTEL_ML_[A-Z_]+", PAGE))
    assert {"OTEL_ML_FLUSH_ON_SIGTERM", "OTEL_ML_CAPTURE_OFFLINE"} <= named
    assert named <= set(vars(environment))


def test_the_seconds_are_those_of_the_code() -> None:
    (said,) = set(re.findall(r"(\d+) seconds at most", PAGE))
    assert float(said) == ending.FLUSH_SECONDS
    assert pipeline.end.__defaults__ == (ending.FLUSH_SECONDS,)
