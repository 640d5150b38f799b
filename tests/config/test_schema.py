from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from otel_ml.config import Settings, environment, from_mapping, load
from otel_ml.config.export import ExportSettings
from otel_ml.config.model import BudgetSettings, CaptureSettings, ModelSettings
from otel_ml.config.schema import json_schema, main, reference_page
from otel_ml.config.values import options
from otel_ml.errors import ConfigError

ROOT = Path(__file__).parents[2]


def _valid(value: object) -> bool:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


def test_committed_files_are_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["--check"]) == 0


def test_check_finds_a_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ["--folder", str(tmp_path)]
    assert main([*folder, "--check"]) == 1
    assert main(folder) == 0
    assert main([*folder, "--check"]) == 0
    page = tmp_path / "configuration.md"
    page.write_text(page.read_text(encoding="utf-8") + "x", encoding="utf-8")
    assert main([*folder, "--check"]) == 1
    assert "configuration.md is out of date" in capsys.readouterr().err


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"models": [{"name": "a", "version": 1.1, "task": "binary", "sensitive": ["sex"]}]},
        {"models": [{"task": None, "threshold": 0, "reference": None}], "salt": None},
        {"budget": {"false_incidents": 0.5, "per": "7d", "rows_per_day": 10}},
        {"capture": {"offline": True, "queue_size": 1}, "enabled": False},
    ],
)
def test_schema_and_loader_both_accept(value: dict[str, Any]) -> None:
    from_mapping(value, {})
    assert _valid(value)


@pytest.mark.parametrize(
    "value",
    [
        {"modles": []},
        {"models": {}},
        {"models": [{"threshold": 2}]},
        {"models": [{"threshold": "0.5"}]},
        {"models": [{"task": "ranking"}]},
        {"models": [{"name": ["a"]}]},
        {"budget": {"false_incidents": 0}},
        {"enabled": "yes"},
        {"learn_rows": 1.5},
        {"min_group": 0},
        {"config_error": "x"},
    ],
)
def test_schema_and_loader_both_refuse(value: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        from_mapping(value, {})
    assert not _valid(value)


def test_schema_accepts_variables_in_values() -> None:
    assert _valid({"models": [{"threshold": "${env:CUT:-0.3}", "task": "${env:TASK}"}]})


def test_the_page_has_every_key_and_variable_and_its_example_loads(tmp_path: Path) -> None:
    page = reference_page()
    for prefix, cls in (
        ("", Settings),
        ("budget.", BudgetSettings),
        ("capture.", CaptureSettings),
        ("export.", ExportSettings),
        ("models[].", ModelSettings),
    ):
        for name, (_, option) in options(cls).items():
            if name not in ("budget", "capture", "export", "models"):
                assert f"| `{prefix}{name}` |" in page
                assert option.doc in page
    for name in vars(environment):
        if name.startswith("OTEL_"):
            assert f"`{name}`" in page
    example = page.split("```yaml\n")[1].split("```")[0]
    file = tmp_path / "ml.yaml"
    file.write_text(example, encoding="utf-8")
    assert load({"OTEL_ML_CONFIG_FILE": str(file)}).models[0].version == "2.1"
    assert _valid(yaml.safe_load(example))


def test_the_schema_is_plain_json() -> None:
    assert json.loads(json.dumps(json_schema())) is not None
