"""``otel-ml backtest``: the options arrive, the report is written where it should, errors help."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]
ROLES = (
    *("--score", "p", "--label", "y", "--timestamp", "seen", "--id", "rid", "--client", "who"),
    *("--sensitive", "sex", "--slice", "city", "--categorical", "code", "--ignore", "pred"),
    *("--false-incidents", "1/100000rows"),
)


def test_a_report_in_every_form(otel_ml: Call, folder: Path, table: Path) -> None:
    ended = otel_ml(
        *("backtest", "--reference", table.name, "--data", table.name, *ROLES),
        *("--label-delay", "100rows", "--compare", "1/7d,1/90d", "--min-effect", "0.05"),
        *("--out", "out", "--html", "page.html", "--json", "report.json"),
    )
    assert ended.code == 0, ended.err
    for name in ("out/backtest.json", "out/backtest.html", "page.html", "report.json"):
        assert f"wrote {name}" in ended.out
        assert (folder / name).stat().st_size > 1000
    document = json.loads((folder / "report.json").read_text())
    assert document == json.loads((folder / "out" / "backtest.json").read_text())
    assert document["schema"] == "otel-ml/backtest/1"
    assert document["rows"] == 400
    assert document["budget"]["min_effect"] == 0.05
    assert document["labels"]["on_their_way"] == 100
    assert [one["per"] for one in document["budgets"]] == ["100000rows", "7d", "90d"]
    assert {one["attribute"] for one in document["fairness"]} == {"sex", "city"}
    assert set(document["reference"]["features"]) == {"age", "income", "sex", "city", "code"}
    assert document["model"]["name"] == "valid"
    assert "1/7d" in ended.out


def test_json_on_standard_output_is_nothing_but_json(
    otel_ml: Call, folder: Path, table: Path
) -> None:
    ended = otel_ml(
        "backtest", "--reference", table.name, "--data", table.name, *ROLES, "--json", "-"
    )
    assert json.loads(ended.out)["rows"] == 400
    assert "400 rows: " in ended.err
    quiet = otel_ml(
        "backtest",
        "--reference",
        table.name,
        "--data",
        table.name,
        *ROLES,
        "--json",
        "-",
        "--quiet",
    )
    assert quiet.err == ""
    assert quiet.out == ended.out


def test_the_reference_of_init_gives_the_same(otel_ml: Call, folder: Path, table: Path) -> None:
    # a reference for live traffic knows no names of clients: the column is no role here
    at = ROLES.index("--client")
    roles = (*ROLES[:at], *ROLES[at + 2 :], "--ignore", "pred,who")
    assert otel_ml("init", "--reference", table.name, *roles).code == 0
    reports = []
    for reference in ("reference.json", table.name):
        ended = otel_ml(
            *("backtest", "--reference", reference, "--data", table.name, *roles),
            *("--json", "-", "--quiet"),
        )
        assert ended.code == 0, ended.err
        reports.append(json.loads(ended.out))
    assert reports[0] == reports[1]


def test_without_a_reference(otel_ml: Call, folder: Path, table: Path) -> None:
    ended = otel_ml(
        *("backtest", "--data", table.name, *ROLES, "--learn-rows", "200", "--json", "-"),
        *("--model", "churn"),
    )
    document = json.loads(ended.out)
    assert document["reference"]["source"] == "traffic"
    assert document["model"]["name"] == "churn"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--data", "no.parquet"), "no.parquet: no such file"),
        (("--data", "valid.csv", "--reference", "no.csv"), "no.csv: no such file"),
        (("--data", "valid.csv", "--reference", "no.json"), "no.json"),
        (("--data", "valid.csv", "--score", "q"), "'q' (asked for by `--score`)"),
        (("--data", "valid.csv", "--false-incidents", "few"), "--false-incidents"),
        (("--data", "valid.csv", "--label-delay", "soon"), "--label-delay"),
        (("--data", "valid.csv", "--threshold", "3"), "--threshold"),
        (("--data", "valid.csv", "--html", "no/where.html"), "no such folder"),
        (("--data", "valid.csv", "--json", "."), "folder"),
    ],
)
def test_what_cannot_be_is_refused(
    refused: Callable[..., str], table: Path, options: tuple[str, ...], said: str
) -> None:
    assert said in refused("backtest", *options)


def test_data_are_required(refused: Callable[..., str]) -> None:
    assert "--data" in refused("backtest", code=2)


_MANY = """
import json, resource, sys
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from otel_ml.cli import main

rng, writer = np.random.default_rng(0), None
for start in range(0, int(sys.argv[1]), 100_000):
    n = 100_000
    table = pa.table({"x": rng.normal(size=n), "z": rng.normal(size=n), "p": rng.random(n),
                      "y": rng.integers(0, 2, n)})
    writer = writer or pq.ParquetWriter("many.parquet", table.schema)
    writer.write_table(table)
writer.close()
del table
code = main(["backtest", "--data", "many.parquet", "--score", "p", "--label", "y",
             "--json", "r.json", "--label-delay", "1000rows", "--compare", "", "--quiet"])
rows = json.load(open("r.json"))["rows"]
print(code, rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(folder: Path) -> None:
    peaks = []
    for rows in (200_000, 1_000_000):
        ended = subprocess.run(
            [sys.executable, "-c", _MANY, str(rows)],
            cwd=folder, capture_output=True, text=True, timeout=900, check=True,
        )  # fmt: skip
        code, seen, peak = ended.stdout.split()
        assert (int(code), int(seen)) == (0, rows)
        peaks.append(float(peak))
    # the rows alone are 26 MB more
    assert peaks[1] < peaks[0] + 20, peaks
