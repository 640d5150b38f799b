"""The backtest as a whole: what is found in known data, and that no data end it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from otel_ml.backtest import run
from otel_ml.errors import DataError, OtelMlError
from otel_ml.profile import Reference

Make = Callable[..., dict[str, Any]]
Check = Callable[[Any], dict[str, Any]]


def _without(table: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: column for name, column in table.items() if name not in names}


def test_a_shift_is_found_where_it_is(made: Make, roles: dict[str, Any], checked: Check) -> None:
    document = checked(run(made(4000, 2, shift_at=2000), made(6000, 1), **roles))
    first = document["incidents"][0]
    assert document["rows"] == 4000
    assert document["evaluations"] == 80
    assert 2000 < first["opened_row"] <= 2100
    assert abs(first["change_row"] - 2000) <= 100
    assert first["members"][0]["target"] == "age"
    assert first["causes"][0]["next"]
    # one row a minute from 2023-11-14 22:13:20
    assert first["opened_at"] == pd.Timestamp(
        1.7e9 + (first["opened_row"] - 1) * 60, unit="s"
    ).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert document["clock"]["source"] == "timestamps"
    assert document["clock"]["rows_per_day"] == pytest.approx(1440, rel=0.01)


def test_nothing_is_found_where_nothing_changed(
    made: Make, roles: dict[str, Any], checked: Check
) -> None:
    document = checked(run(made(6000, 2), made(6000, 1), **roles))
    assert document["incidents"] == []
    assert document["evidence"]["total"]
    assert max(v for _, v in document["evidence"]["total"]) < document["budget"]["threshold_log10"]


def test_every_form_of_a_table_gives_the_same_report(
    made: Make, roles: dict[str, Any], tmp_path: Path
) -> None:
    data, reference = made(2500, 2, shift_at=1500), made(3000, 1)
    table = pa.table(data)
    pq.write_table(table, tmp_path / "one.parquet", row_group_size=700)
    pacsv.write_csv(table, tmp_path / "one.csv")
    for i, start in enumerate(range(0, 2500, 900)):
        (tmp_path / "many").mkdir(exist_ok=True)
        pq.write_table(table.slice(start, 900), tmp_path / "many" / f"{i}.parquet")
    known = Reference.build(
        {name: reference[name] for name in ("age", "income", "city", "sex")},
        scores=reference["p"],
        labels=reference["y"],
        sensitive=("sex",),
        model_name="m",
    )
    forms: dict[str, Any] = {
        "mapping": data,
        "pandas": pd.DataFrame(data),
        "polars": pl.DataFrame({k: v.tolist() for k, v in data.items()}),
        "arrow": table,
        "parquet": tmp_path / "one.parquet",
        "csv": str(tmp_path / "one.csv"),
        "several": [tmp_path / "many" / f"{i}.parquet" for i in range(3)],
        "folder": tmp_path / "many",
        "pattern": str(tmp_path / "many" / "*.parquet"),
    }
    documents = {name: run(form, known, **roles).to_json() for name, form in forms.items()}
    expected = _without(documents["mapping"], "data")
    assert expected["incidents"]
    for name, document in documents.items():
        assert _without(document, "data") == expected, name
    assert [one["first_row"] for one in documents["folder"]["data"]] == [0, 900, 1800]


def test_labels_come_after_their_delay(made: Make, roles: dict[str, Any], checked: Check) -> None:
    reference, data = made(6000, 1), made(6000, 2)
    data["y"][2000:] = 1 - data["y"][2000:]  # concept drift: only labels show it
    opened = {}
    for delay in ("0rows", "2000rows", "1500m"):
        document = checked(run(data, reference, **{**roles, "label_delay": delay}))
        assert document["labels"]["known"] == 6000
        assert (
            document["labels"]["on_their_way"]
            == {"0rows": 0, "2000rows": 2000, "1500m": 1500}[delay]
        )
        found = [one for one in document["incidents"] if one["opened_row"] > 2000]
        assert found, delay
        opened[delay] = found[0]["opened_row"]
    assert opened["0rows"] <= 2000 + 500 + 250
    assert opened["2000rows"] >= 4000
    assert 3500 <= opened["1500m"] < opened["2000rows"]


def test_rows_without_a_label_never_get_one(
    made: Make, roles: dict[str, Any], checked: Check
) -> None:
    data = made(2000, 2)
    labels = data["y"].astype(np.float64)
    labels[::2] = np.nan
    document = checked(run({**data, "y": labels}, made(3000, 1), **roles))
    assert document["labels"] == {
        "known": 1000, "arrived": 1000, "on_their_way": 0, "delay": "0rows",
    }  # fmt: skip
    accuracy = [one for one in document["performance"] if one["metric"] == "accuracy"]
    assert sum(one["n"] for one in accuracy) == 1000


def test_without_a_reference_the_first_rows_become_it(
    made: Make, roles: dict[str, Any], checked: Check
) -> None:
    data = made(6000, 2, shift_at=4000)
    document = checked(run(data, **roles, learn_rows=2000))
    assert document["reference"]["source"] == "traffic"
    assert document["reference"]["learned_rows"] == pytest.approx(2000, abs=500)
    assert [one["members"][0]["target"] for one in document["incidents"]][:1] == ["age"]
    assert document["incidents"][0]["opened_row"] > 4000
    few = checked(run(made(300, 2), **roles, learn_rows=2000))
    assert few["reference"] is None
    assert "too few" in " ".join(few["notes"])


def test_stricter_and_looser_budgets_are_tried(made: Make, roles: dict[str, Any]) -> None:
    data, reference = made(4000, 2, shift_at=2000, shift=0.5), made(6000, 1)
    document = run(data, reference, **{**roles, "compare": None}).to_json()
    stated, stricter, looser = document["budgets"]
    assert [one["stated"] for one in document["budgets"]] == [True, False, False]
    assert stricter["threshold_log10"] == pytest.approx(stated["threshold_log10"] + 1, abs=1e-3)
    assert looser["threshold_log10"] == pytest.approx(stated["threshold_log10"] - 1, abs=1e-3)
    assert stricter["median_rows_later"] is None or stricter["median_rows_later"] >= 0
    chosen = run(data, reference, **{**roles, "compare": "1/1000000rows, 1/7d"}).to_json()
    assert [one["per"] for one in chosen["budgets"]] == ["100000rows", "1000000rows", "7d"]


def test_only_labels_of_a_regression(checked: Check) -> None:
    rng = np.random.default_rng(0)

    def table(rows: int, bias: float) -> dict[str, Any]:
        x = rng.normal(size=rows)
        return {"x": x, "yhat": 3 * x, "y": 3 * x + bias + rng.normal(size=rows)}

    document = checked(
        run(
            table(3000, 1.0), table(3000, 0.0), prediction="yhat", label="y", task="regression",
            false_incidents="1/100000rows", compare="",
        )
    )  # fmt: skip
    by_metric = {
        m: [o for o in document["performance"] if o["metric"] == m] for m in ("mae", "rmse")
    }
    assert {one["metric"] for one in document["performance"]} == {"mae", "rmse"}
    for one in by_metric["rmse"]:  # 1 of noise and 1 of bias
        assert one["lower"] < one["value"] < one["upper"]
    mean = np.mean([one["value"] ** 2 for one in by_metric["rmse"]])
    assert mean == pytest.approx(2.0, rel=0.15)


def test_a_model_of_three_classes(checked: Check) -> None:
    rng = np.random.default_rng(0)

    def table(rows: int) -> dict[str, Any]:
        y = rng.integers(0, 3, rows)
        p = rng.dirichlet((1, 1, 1), rows)
        p[np.arange(rows), y] += 0.5
        p /= p.sum(axis=1, keepdims=True)
        names = np.array(["a", "b", "c"], dtype=object)
        return {
            "x": rng.normal(size=rows),
            "pa": p[:, 0],
            "pb": p[:, 1],
            "pc": p[:, 2],
            "y": names[y],
        }

    document = checked(
        run(
            table(2000),
            table(2000),
            score=["pa", "pb", "pc"],
            label="y",
            false_incidents="1/100000rows",
        )
    )
    assert document["reference"]["task"] == "multiclass"
    metrics = {one["metric"] for one in document["performance"]}
    assert metrics == {"accuracy", "precision", "recall", "f1"}


def test_versions_are_told(made: Make, roles: dict[str, Any]) -> None:
    data = made(1000, 2)
    data["v"] = np.array(["1.0"] * 600 + ["1.1"] * 400, dtype=object)
    document = run(data, made(2000, 1), **roles, version="v").to_json()
    assert document["versions"] == [
        {"version": "1.0", "first_row": 0}, {"version": "1.1", "first_row": 600},
    ]  # fmt: skip
    assert "v" not in document["reference"]["features"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"score": "pp"}, ("'pp'", "--score", "did you mean 'p'")),
        ({"label": "target"}, ("'target'", "--label")),
        ({"false_incidents": "often"}, ("--false-incidents", "1/30d")),
        ({"label_delay": "late"}, ("--label-delay", "late")),
        ({"compare": "1/30d,x"}, ("--compare",)),
        ({"min_effect": 2.0}, ("--min-effect",)),
        ({"learn_rows": 0}, ("--learn-rows",)),
    ],
)
def test_what_cannot_be_says_what_and_the_remedy(
    made: Make, roles: dict[str, Any], changes: dict[str, Any], said: tuple[str, ...]
) -> None:
    with pytest.raises(OtelMlError) as caught:
        run(made(500, 2), made(500, 1), **{**roles, **changes})
    assert caught.value.remedy
    for words in said:
        assert words in str(caught.value)


def test_files_that_are_not_there(made: Make, roles: dict[str, Any], tmp_path: Path) -> None:
    for data in (tmp_path / "no.parquet", str(tmp_path / "*.csv"), tmp_path):
        with pytest.raises(DataError, match=str(tmp_path)):
            run(data, made(500, 1), **roles)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"bad\.parquet"):
        run(tmp_path / "bad.parquet", made(500, 1), **roles)


def test_a_line_of_the_wrong_length_is_left_out_and_told(
    made: Make, roles: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "data.csv"
    pacsv.write_csv(pa.table(made(900, 2)), path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:500], "1,2", *lines[500:]]) + "\n")
    document = run(path, made(2000, 1), **roles).to_json()
    assert document["rows"] == 900
    assert any("1 lines with too many or too few fields" in note for note in document["notes"])
