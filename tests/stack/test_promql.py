"""Prometheus' own parser reads every query of the dashboards."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from otel_ml.generate.dashboards import panel_queries, template_queries

if TYPE_CHECKING:
    from stack import Binaries

pytestmark = pytest.mark.stack

DASHBOARDS = Path(__file__).resolve().parents[2] / "dashboards"
VALUES = dict.fromkeys(
    ("model", "feature", "slice", "measure", "group_measure", "top_numeric", "top_categorical"),
    "x",
)


def promtool(
    binaries: Binaries, folder: Path, exprs: list[str]
) -> subprocess.CompletedProcess[str]:
    rules = [{"record": f"test:query_{n}:x", "expr": expr} for n, expr in enumerate(exprs)]
    file = folder / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    command = [str(binaries.promtool), "check", "rules", str(file)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("name", ["overview.json", "model.json"])
def test_promtool_reads_every_query(binaries: Binaries, tmp_path: Path, name: str) -> None:
    dashboard = json.loads((DASHBOARDS / name).read_text(encoding="utf-8"))
    exprs = [expr for _, expr in panel_queries(dashboard, VALUES)]
    exprs += [template.expr for template in template_queries(dashboard, VALUES)]
    done = promtool(binaries, tmp_path, exprs)
    assert done.returncode == 0, done.stderr
    assert f"{len(exprs)} rules found" in done.stdout


def test_promtool_refuses_what_is_no_query(binaries: Binaries, tmp_path: Path) -> None:
    assert promtool(binaries, tmp_path, ["sum by (a (m)"]).returncode != 0
