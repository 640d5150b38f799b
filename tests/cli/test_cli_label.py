"""``otel-ml label``: every label is one line in the state directory; a wrong call adds none."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from otel_ml.inbox import Inbox, LabelLine

Call = Callable[..., Any]


def _lines(state: Path) -> list[tuple[str | None, str, object]]:
    text = (state / "labels.jsonl").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    assert all(row.keys() == {"model", "id", "label"} for row in rows)
    return [(row["model"], row["id"], row["label"]) for row in rows]


def test_pairs(otel_ml: Call, folder: Path) -> None:
    ended = otel_ml("label", "--state", "st", "a", "1", "b", "-1", "c", "yes please")
    assert ended.code == 0, ended.err
    assert ended.out == "3 labels reported to st\n"
    assert _lines(folder / "st") == [
        (None, "a", "1"),
        (None, "b", "-1"),
        (None, "c", "yes please"),
    ]


def test_a_worker_reads_them(otel_ml: Call, folder: Path) -> None:
    inbox = Inbox(folder / "st")
    assert otel_ml("label", "--state", "st", "--model", "churn", "a", "1").code == 0
    assert otel_ml("label", "--state", "st", "b", "0").code == 0
    assert inbox.read() == [LabelLine("churn", "a", "1"), LabelLine(None, "b", "0")]


def test_only_this_user_may_read_them(otel_ml: Call, folder: Path) -> None:
    assert otel_ml("label", "--state", "st", "a", "1").code == 0
    assert stat.S_IMODE((folder / "st").stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "st" / "labels.jsonl").stat().st_mode) == 0o600


def test_the_state_directory_of_the_environment(
    otel_ml: Call, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_ML_STATE_DIR", str(folder / "st"))
    assert otel_ml("label", "a", "1").code == 0
    assert _lines(folder / "st") == [(None, "a", "1")]


def test_the_state_directory_of_the_configuration(otel_ml: Call, folder: Path) -> None:
    (folder / "otel-ml.yaml").write_text("state_dir: st\n")
    assert otel_ml("label", "a", "1").code == 0
    assert _lines(folder / "st") == [(None, "a", "1")]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table(otel_ml: Call, folder: Path, suffix: str) -> None:
    columns = {"pid": ["a", "b", "c"], "outcome": [1, 0, 1], "other": [7, 8, 9]}
    file = folder / f"labels{suffix}"
    if suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.table(columns), file)
    else:
        file.write_text("pid,outcome,other\na,1,7\nb,0,8\nc,1,9\n")
    ended = otel_ml(
        *("label", "--file", file.name, "--id", "pid", "--label", "outcome", "--state", "st"),
        *("--model", "churn"),
    )
    assert ended.code == 0, ended.err
    assert ended.out == "3 labels reported to st\n"
    assert _lines(folder / "st") == [("churn", "a", "1"), ("churn", "b", "0"), ("churn", "c", "1")]


@pytest.mark.parametrize(
    ("content", "taken"),
    [
        ("id,label\na,1\nb,\n,0\nd,0\n", [("a", "1"), ("d", "0")]),  # numbers
        ("id,label\na,yes\nb,\n,no\nd,no\n", [("a", "yes"), ("d", "no")]),  # text
    ],
)
def test_rows_without_id_or_label_are_left_out_and_said(
    otel_ml: Call, folder: Path, content: str, taken: list[tuple[str, str]]
) -> None:
    (folder / "labels.csv").write_text(content)
    ended = otel_ml("label", "--file", "labels.csv", "--state", "st")
    assert ended.code == 0, ended.err
    assert ended.out == "2 rows without id or label are left out\n2 labels reported to st\n"
    assert [(i, v) for _, i, v in _lines(folder / "st")] == taken


def test_an_odd_number_of_words(refused: Call) -> None:
    assert "3 words are no pairs" in refused("label", "--state", "st", "a", "1", "b")


@pytest.mark.parametrize("pair", [("", "1"), ("a", "")])
def test_an_empty_word(refused: Call, pair: tuple[str, str]) -> None:
    assert "empty" in refused("label", "--state", "st", *pair)


def test_nothing_to_report(refused: Call) -> None:
    assert "nothing to report" in refused("label", "--state", "st")


def test_pairs_and_a_file(refused: Call, folder: Path) -> None:
    (folder / "labels.csv").write_text("id,label\na,1\n")
    error = refused("label", "--state", "st", "--file", "labels.csv", "a", "1")
    assert "both pairs and --file are given" in error


@pytest.mark.parametrize(
    ("content", "option", "column"),
    [("di,label\na,1\n", "--id", "id"), ("id,lable\na,1\n", "--label", "label")],
)
def test_a_table_without_the_column(
    refused: Call, folder: Path, content: str, option: str, column: str
) -> None:
    (folder / "labels.csv").write_text(content)
    error = refused("label", "--state", "st", "--file", "labels.csv")
    assert f"labels.csv: no column {column!r} (asked for by `{option}`)" in error
    assert f"columns are: {content.partition(chr(10))[0].replace(',', ', ')}" in error


def test_no_such_table(refused: Call) -> None:
    assert "gone.csv: no such file" in refused("label", "--state", "st", "--file", "gone.csv")


def test_no_state_directory(refused: Call) -> None:
    error = refused("label", "a", "1")
    assert "no state directory is known" in error
    assert "OTEL_ML_STATE_DIR" in error


def test_a_broken_configuration(refused: Call, folder: Path) -> None:
    (folder / "otel-ml.yaml").write_text("state_dri: st\n")
    error = refused("label", "a", "1")
    assert "otel-ml.yaml:1: state_dri: unknown key; did you mean state_dir?" in error


@pytest.mark.parametrize("below", ["", "/st"])
def test_a_directory_that_cannot_be_written(refused: Call, folder: Path, below: str) -> None:
    (folder / "taken").write_text("a file")
    error = refused("label", "--state", f"taken{below}", "a", "1")
    assert f"cannot write labels to taken{below}" in error
