"""``otel-ml init``: what is written is what was asked for; what cannot be, changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

from otel_ml.config import ModelSettings, load
from otel_ml.profile import CategoryCells, NumericCells, Reference, is_derived

Call = Callable[..., Any]
ROLES = (
    *("--score", "p", "--prediction", "pred", "--label", "y", "--timestamp", "seen"),
    *("--id", "rid", "--client", "who", "--sensitive", "sex,age", "--slice", "city"),
    *("--categorical", "code", "--ignore", "income"),
)
WRITTEN = {"reference.json", "otel-ml.yaml"}


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_every_column_role_arrives(
    otel_ml: Call, folder: Path, table: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = table
    if suffix == ".parquet":
        file = folder / "valid.parquet"
        pyarrow.parquet.write_table(pyarrow.csv.read_csv(table), file)
    elif suffix == ".csv.gz":
        file = folder / "valid.csv.gz"
        with pyarrow.CompressedOutputStream(str(file), "gzip") as out:
            out.write(table.read_bytes())
    ended = otel_ml(
        *("init", "--reference", file.name, *ROLES, "--model", "churn", "--model-version", "7"),
        *("--task", "binary", "--positive", "0", "--threshold", "0.4"),
        *("--false-incidents", "2/100000rows"),
    )
    assert ended.code == 0, ended.err

    reference = Reference.load("reference.json")
    assert (reference.model_name, reference.model_version) == ("churn", "7")
    assert (reference.task, reference.threshold) == ("binary", 0.4)
    assert set(reference.features) == {"age", "sex", "city", "code"}
    sources = reference.layout.sources
    cells = {source.name: type(source) for source in sources if not is_derived(source.name)}
    assert cells == {
        "age": NumericCells,
        "sex": CategoryCells,
        "city": CategoryCells,
        "code": CategoryCells,
        "score": NumericCells,
        "prediction": CategoryCells,
    }
    assert reference.rows("age") == 400
    assert reference.group_layout is not None
    assert reference.group_layout.classes == ("1", "0")  # the positive class is the last
    assert [g.attribute for g in reference.group_layout.groups] == ["sex", "age", "city"]
    data = pyarrow.csv.read_csv(table)
    right = np.mean(data["pred"].to_numpy() == data["y"].to_numpy())
    assert reference.outcomes is not None
    assert int(reference.outcomes[0].sum()) == 400
    assert np.trace(reference.outcomes[0]) / 400 == pytest.approx(right)

    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    settings = load({"OTEL_ML_CONFIG_FILE": str(folder / "otel-ml.yaml")})
    assert settings.models == (
        ModelSettings(
            name="churn",
            version="7",
            reference=folder / "reference.json",
            task="binary",
            positive="0",
            threshold=0.4,
            sensitive=("sex", "age"),
            slices=("city",),
            ignore=("income",),
        ),
    )
    assert (settings.budget.false_incidents, settings.budget.per) == (2.0, "100000rows")


def test_what_is_inferred_is_said(otel_ml: Call, folder: Path, table: Path) -> None:
    ended = otel_ml("init", "--reference", table.name, *ROLES)
    assert ended.code == 0
    said = dict(line.split(None, 1) for line in ended.out.splitlines() if line.startswith("  "))
    assert said["task"] == "binary  (inferred)"
    assert said["classes"] == "0, 1"
    assert said["by"] == "quantile     1 features"
    assert "  by value        sex, city, code\n" in ended.out
    assert "sex=f, sex=m" in ended.out
    assert "city=a, city=b, city=c" in ended.out
    assert "valid.csv: 400 rows, 4 features" in ended.out
    assert f"id {Reference.load('reference.json').id}" in ended.out
    assert load({}).models[0].name == "valid"  # the file's stem
    assert set(folder.iterdir()) == {table, *(folder / name for name in WRITTEN)}


def test_what_is_given_is_not_called_inferred(otel_ml: Call, table: Path) -> None:
    ended = otel_ml("init", "--reference", table.name, *ROLES, "--task", "binary")
    assert "inferred" not in ended.out


def test_no_row_is_written(otel_ml: Call, folder: Path, table: Path) -> None:
    assert otel_ml("init", "--reference", table.name, *ROLES).code == 0
    written = (folder / "reference.json").read_text()
    assert '"r17"' not in written
    assert '"c3"' not in written


def test_features_alone_make_a_reference(otel_ml: Call, folder: Path) -> None:
    (folder / "x.csv").write_text("a,b\n" + "".join(f"{i},{i % 3}\n" for i in range(50)))
    ended = otel_ml("init", "--reference", "x.csv")
    assert ended.code == 0, ended.err
    assert "binary  (assumed: no --score, --prediction or --label)" in ended.out
    assert Reference.load("reference.json").features == ("a", "b")
    # what nothing speaks of is not stated to the server
    assert load({}).models == (ModelSettings(name="x", reference=folder / "reference.json"),)


@pytest.mark.parametrize(
    ("options", "task"),
    [
        (("--label", "y"), "binary"),
        (("--label", "city", "--score", "p"), "multiclass"),
        (("--label", "age", "--prediction", "income"), "regression"),
    ],
)
def test_a_label_that_is_given_is_not_called_missing(
    otel_ml: Call, table: Path, options: tuple[str, ...], task: str
) -> None:
    ended = otel_ml("init", "--reference", table.name, *options)
    assert ended.code == 0, ended.err
    assert "none (--label)" not in ended.out
    assert "labels          not compared" in ended.out
    assert Reference.load("reference.json").task == task == load({}).models[0].task


def test_one_score_per_class(otel_ml: Call, folder: Path) -> None:
    rows = [f"{i},{0.2},{0.3},{0.5},{i % 3}" for i in range(60)]
    (folder / "x.csv").write_text("a,p0,p1,p2,y\n" + "\n".join(rows) + "\n")
    ended = otel_ml("init", "--reference", "x.csv", "--score", "p0, p1 ,p2", "--label", "y")
    assert ended.code == 0, ended.err
    reference = Reference.load("reference.json")
    assert reference.task == "multiclass"
    assert reference.group_layout is not None
    assert reference.group_layout.classes == ("0", "1", "2")
    assert reference.outcomes is not None
    assert reference.outcomes[0].sum(axis=1).tolist() == [0, 0, 60, 0][: len(reference.outcomes[0])]


def test_a_table_of_one_row(otel_ml: Call, folder: Path) -> None:
    (folder / "one.csv").write_text("a,b,p,y\n1,x,0.3,1\n")
    ended = otel_ml("init", "--reference", "one.csv", "--score", "p", "--label", "y")
    assert ended.code == 0, ended.err
    assert "one.csv: 1 rows, 2 features" in ended.out
    assert Reference.load("reference.json").rows("a") == 1


def test_a_dollar_sign_stays_one(otel_ml: Call, folder: Path, table: Path) -> None:
    name = "a${HOME}b$$c$"
    assert otel_ml("init", "--reference", table.name, "--model", name).code == 0
    assert load({}).models[0].name == name == Reference.load("reference.json").model_name


def test_force_replaces(otel_ml: Call, folder: Path, table: Path) -> None:
    (folder / "reference.json").write_text("mine")
    (folder / "otel-ml.yaml").write_text("mine")
    assert otel_ml("init", "--reference", table.name, *ROLES, "--force").code == 0
    Reference.load("reference.json")
    assert load({}).models[0].name == "valid"


def test_out_is_another_folder(otel_ml: Call, folder: Path, table: Path) -> None:
    (folder / "deploy").mkdir()
    assert otel_ml("init", "--reference", table.name, *ROLES, "--out", "deploy").code == 0
    assert {path.name for path in (folder / "deploy").iterdir()} == WRITTEN
    assert not (folder / "reference.json").exists()


@pytest.mark.parametrize(
    "option",
    [
        *("--score", "--prediction", "--label", "--timestamp", "--id", "--client"),
        *("--sensitive", "--slice", "--ignore", "--categorical"),
    ],
)
def test_a_misspelt_column_is_named_with_the_nearest(
    refused: Call, table: Path, option: str
) -> None:
    error = refused("init", "--reference", table.name, option, "incme")
    assert f"valid.csv: no column 'incme' (asked for by `{option}`)" in error
    assert "did you mean 'income'?" in error


def test_a_column_like_no_other_lists_those_there_are(refused: Call, table: Path) -> None:
    error = refused("init", "--reference", table.name, "--label", "zzzzzz")
    assert "did you mean" not in error
    assert "columns are: rid, seen, who, age" in error


def test_no_such_file(refused: Call) -> None:
    assert "gone.csv: no such file" in refused("init", "--reference", "gone.csv")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.parquet", b"no parquet"),
        ("t.csv", b""),
        ("t.csv", bytes(range(256)) * 10),
        ("t.csv", b"a,a\n1,2\n"),
        ("t.json", b"[1]"),
    ],
)
def test_what_is_no_table(refused: Call, folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    assert f"{name}: " in refused("init", "--reference", name)


def test_a_folder_is_no_table(refused: Call, folder: Path) -> None:
    (folder / "t.parquet").mkdir()
    assert "t.parquet: no such file" in refused("init", "--reference", "t.parquet")


def test_a_table_without_rows(refused: Call, folder: Path) -> None:
    (folder / "empty.csv").write_text("a,b\n")
    assert "empty.csv: the table has no rows" in refused("init", "--reference", "empty.csv")


@pytest.mark.parametrize("name", sorted(WRITTEN))
def test_a_file_that_is_there_stays(refused: Call, folder: Path, table: Path, name: str) -> None:
    (folder / name).write_text("mine")
    error = refused("init", "--reference", table.name, *ROLES)
    assert f"{name} is there already" in error
    assert "--force" in error


@pytest.mark.parametrize("name", sorted(WRITTEN))
def test_a_folder_in_the_way_stays(refused: Call, folder: Path, table: Path, name: str) -> None:
    (folder / name).mkdir()
    assert f"{name} is a folder" in refused("init", "--reference", table.name, "--force")


def test_no_such_folder(refused: Call, table: Path) -> None:
    assert "deploy: no such folder" in refused("init", "--reference", table.name, "--out", "deploy")


def test_a_folder_that_is_a_file(refused: Call, table: Path) -> None:
    assert f"{table.name}: no such folder" in refused(
        "init", "--reference", table.name, "--out", table.name
    )


@pytest.mark.parametrize("budget", ["many", "1", "0/30d", "1/30", "-1/30d", "nan/30d", "1/0d"])
def test_a_budget_that_is_none(refused: Call, table: Path, budget: str) -> None:
    error = refused("init", "--reference", table.name, f"--false-incidents={budget}")
    assert error.startswith("otel-ml init: --false-incidents: ")


@pytest.mark.parametrize(
    ("options", "key"),
    [
        (("--false-incidents", "100000000/30d"), "budget.false_incidents"),
        (("--model-version", ""), "models[0].version"),
    ],
)
def test_options_that_make_no_configuration_name_its_key(
    refused: Call, table: Path, options: tuple[str, ...], key: str
) -> None:
    error = refused("init", "--reference", table.name, *options)
    assert "otel-ml.yaml:" in error
    assert key in error
    assert ".otel-ml-init-" not in error  # a folder that is gone by then


def test_a_positive_class_that_is_not_there(refused: Call, table: Path) -> None:
    error = refused(
        "init", "--reference", table.name, "--score", "p", "--label", "y", "--positive", "yes"
    )
    assert "valid.csv: positive class 'yes' is not among the labels ['0', '1']" in error


def test_a_positive_class_of_a_task_that_has_none(refused: Call, table: Path) -> None:
    options = ("--score", "p", "--label", "city", "--positive", "a")
    assert "--positive a has no meaning" in refused("init", "--reference", table.name, *options)


@pytest.mark.parametrize("option", ["--label", "--prediction"])
def test_a_binary_task_with_more_classes(refused: Call, table: Path, option: str) -> None:
    error = refused("init", "--reference", table.name, option, "city", "--task", "binary")
    assert f"valid.csv: column 'city' (asked for by `{option}`) has 3 classes" in error


def test_groups_need_a_prediction(refused: Call, table: Path) -> None:
    error = refused("init", "--reference", table.name, "--sensitive", "sex")
    assert "valid.csv: no group can be watched (--sensitive, --slice)" in error


def test_a_score_that_is_no_number(refused: Call, table: Path) -> None:
    error = refused("init", "--reference", table.name, "--score", "city")
    assert "valid.csv: column 'city' (asked for by `--score`) holds 'a'" in error


def test_a_feature_named_like_an_output(refused: Call, folder: Path) -> None:
    (folder / "x.csv").write_text("a,score\n1,2\n")
    assert "x.csv: a feature is named 'score'" in refused("init", "--reference", "x.csv")


def test_no_feature_is_left(refused: Call, folder: Path) -> None:
    (folder / "x.csv").write_text("p,y\n0.5,1\n")
    options = ("--score", "p", "--label", "y")
    assert "x.csv: no feature is left" in refused("init", "--reference", "x.csv", *options)


@pytest.mark.parametrize("threshold", ["1.5", "-0.1", "nan"])
def test_a_threshold_that_is_no_probability(refused: Call, table: Path, threshold: str) -> None:
    error = refused("init", "--reference", table.name, f"--threshold={threshold}")
    assert f"--threshold {float(threshold):g} is no probability" in error


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ((), "--reference"),
        (("--reference", "valid.csv", "--threshold", "half"), "--threshold"),
        (("--reference", "valid.csv", "--task", "ranking"), "--task"),
        (("--reference", "valid.csv", "--lable", "y"), "--lable"),
    ],
)
def test_wrong_arguments(refused: Call, table: Path, options: tuple[str, ...], named: str) -> None:
    assert named in refused("init", *options, code=2)
