"""What is generated from the registry is committed, importable, formatted, and free of PyYAML."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from otel_ml import semconv
from otel_ml.semconv import _generate, attributes, events, metrics
from otel_ml.semconv._registry import load

ROOT = Path(__file__).resolve().parents[2]
RENDERED = _generate.render(load())


@pytest.mark.parametrize("name", sorted(RENDERED))
def test_committed_file_is_what_the_registry_says(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == RENDERED[name]


def test_check_names_the_stale_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _generate.main(["--root", str(tmp_path)]) == 0
    assert _generate.main(["--root", str(tmp_path), "--check"]) == 0
    capsys.readouterr()
    changed = tmp_path / "otel_ml" / "semconv" / "events.py"
    changed.write_text(changed.read_text() + "# by hand\n")
    assert _generate.main(["--root", str(tmp_path), "--check"]) == 1
    assert capsys.readouterr().err.startswith("stale: otel_ml/semconv/events.py;")
    assert changed.read_text().endswith("# by hand\n")


def test_constants_match_the_registry() -> None:
    registry = load()
    assert registry.schema_url == semconv.SCHEMA_URL
    for key in registry.attributes:
        assert getattr(attributes, key.replace(".", "_").upper()) == key
    assert list(metrics.ALL) == list(registry.metrics)
    for name, definition in metrics.ALL.items():
        of_registry = registry.metrics[name]
        assert definition.name == name
        assert definition.instrument == of_registry.instrument
        assert definition.unit == of_registry.unit
        assert definition.attributes == of_registry.names()
        assert set(definition.required) <= set(definition.attributes)
    assert events.ATTRIBUTES[events.ML_INCIDENT] == registry.events["ml.incident"].names()
    assert set(events.REQUIRED[events.ML_INCIDENT]) < set(events.ATTRIBUTES[events.ML_INCIDENT])


def test_enum_classes_hold_the_values() -> None:
    assert attributes.MlMonitorName.INPUT_DRIFT == "input_drift"
    for key, attribute in load().attributes.items():
        if not attribute.members:
            continue
        name = "".join(word.capitalize() for word in key.replace(".", "_").split("_"))
        values = {k: v for k, v in vars(getattr(attributes, name)).items() if k.isupper()}
        assert values == {m.id.upper(): m.value for m in attribute.members}


def test_unknown_attribute_of_the_package_is_an_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'SCHEMA'"):
        getattr(semconv, "SCHEMA")  # noqa: B009


def test_generated_modules_do_not_load_yaml() -> None:
    code = (
        "import sys; from otel_ml.semconv import SCHEMA_URL, attributes, events, metrics;"
        "import otel_ml.semconv.prometheus;"
        "print(sorted({'yaml', 'opentelemetry'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.skipif(
    shutil.which("ruff", path=str(Path(sys.executable).parent)) is None, reason="no ruff"
)
def test_generated_modules_are_formatted(tmp_path: Path) -> None:
    _generate.main(["--root", str(tmp_path)])
    command = [str(Path(sys.executable).parent / "ruff"), "format", "--isolated", "--check"]
    done = subprocess.run(
        [*command, "--line-length", "100", "--no-cache", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_page_has_every_name() -> None:
    page = RENDERED["docs/reference/telemetry.md"]
    registry = load()
    for name in (*registry.metrics, *registry.events, *registry.attributes):
        if name not in ("ml.task",):  # of the entity only
            assert f"`{name}`" in page, name
    assert "ml_inference_duration_seconds_bucket" in page
