"""The committed dashboards are what the registry says, and the command checks them honestly."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]

needs_sdk = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="grafana-foundation-sdk needs Python 3.11"
)


@needs_sdk
def test_regenerated_equals_committed() -> None:
    from otel_ml.generate.dashboards import build

    built = build()
    assert sorted(built) == ["model.json", "overview.json"]
    for name, text in built.items():
        assert (ROOT / "dashboards" / name).read_text(encoding="utf-8") == text, name


@needs_sdk
def test_check_names_the_stale_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from otel_ml.generate.dashboards.__main__ import main

    assert main(["--out", str(tmp_path)]) == 0
    assert main(["--out", str(tmp_path), "--check"]) == 0
    capsys.readouterr()
    (tmp_path / "model.json").write_text("{}")
    assert main(["--out", str(tmp_path), "--check"]) == 1
    assert capsys.readouterr().err.startswith(f"stale: {tmp_path / 'model.json'};")
    assert (tmp_path / "model.json").read_text() == "{}"


def test_without_the_library_the_error_has_the_command(tmp_path: Path) -> None:
    # A module that hides the installed one, and fails as a missing one does.
    (tmp_path / "grafana_foundation_sdk.py").write_text(
        "raise ModuleNotFoundError('hidden', name='grafana_foundation_sdk')"
    )
    done = subprocess.run(
        [sys.executable, "-m", "otel_ml.generate.dashboards", "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )
    assert done.returncode == 2
    assert "pip install 'otel-ml[dashboards]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_queries_need_no_library() -> None:
    code = (
        "import sys; from otel_ml.generate.dashboards import panel_queries;"
        "print('grafana_foundation_sdk' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "False"


def test_provisioning_loads_the_folder_and_names_the_interval() -> None:
    folder = ROOT / "dashboards" / "provisioning"
    (provider,) = yaml.safe_load((folder / "dashboards.yaml").read_text())["providers"]
    assert (provider["type"], provider["allowUiUpdates"]) == ("file", False)
    readme = (ROOT / "dashboards" / "README.md").read_text(encoding="utf-8")
    assert f"`{provider['options']['path']}/`" in readme
    (source,) = yaml.safe_load((folder / "datasources.yaml").read_text())["datasources"]
    assert source["type"] == "prometheus"
    assert f"`{source['url'].lstrip('$')}`" in readme
    assert source["jsonData"]["timeInterval"] == "60s"


def test_mixin_imports_every_dashboard() -> None:
    text = (ROOT / "dashboards" / "mixin.libsonnet").read_text(encoding="utf-8")
    imported = re.findall(r"import '([^']+)'", text)
    assert sorted(imported) == sorted(p.name for p in (ROOT / "dashboards").glob("*.json"))
