"""One table in many libraries gives one reference; what is no table says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from otel_ml.errors import DataError
from otel_ml.profile import CategoryCells, NumericCells, Reference
from otel_ml.profile.frames import read_table, to_columns

_N = 400
_RNG = np.random.default_rng(5)
_AGE = _RNG.integers(18, 90, _N)
_SCORE = np.where(_RNG.random(_N) < 0.1, np.nan, _RNG.normal(size=_N).round(3))
_CITY = _RNG.choice(["Oslo", "Zürich", "Kraków"], _N).astype(object)
_CITY[::17] = None
_FLAG = _RNG.random(_N) < 0.3
_DAY = (np.datetime64("2020-01-01") + _RNG.integers(0, 1000, _N)).astype("M8[us]")

_TABLE: dict[str, Any] = {"age": _AGE, "income": _SCORE, "city": _CITY, "flag": _FLAG, "day": _DAY}


def _arrow() -> pa.Table:
    return pa.table({**_TABLE, "income": pa.array(_SCORE, from_pandas=True)})


def _parquet(path: Path) -> Any:
    pq.write_table(_arrow(), path / "t.parquet")
    return read_table(path / "t.parquet")


_FORMS: dict[str, Any] = {
    "arrays": lambda path: _TABLE,
    "lists": lambda path: {k: v if k == "day" else v.tolist() for k, v in _TABLE.items()},
    "pandas": lambda path: pd.DataFrame(_TABLE),
    "pandas nullable": lambda path: pd.DataFrame(_TABLE).convert_dtypes(),
    "pandas arrow": lambda path: pd.DataFrame(_TABLE).convert_dtypes(dtype_backend="pyarrow"),
    "pandas categorical": lambda path: pd.DataFrame(_TABLE).astype({"city": "category"}),
    "polars": lambda path: pl.DataFrame({**_TABLE, "city": _CITY.tolist()}),
    "polars nulls": lambda path: pl.DataFrame({**_TABLE, "city": _CITY.tolist()}).with_columns(
        pl.col("income").fill_nan(None), pl.col("city").cast(pl.Categorical)
    ),
    "arrow": lambda path: _arrow(),
    "arrow dictionary": lambda path: _arrow().set_column(
        2, "city", pa.array(_CITY.tolist()).dictionary_encode()
    ),
    "parquet": _parquet,
}


@pytest.mark.parametrize("form", _FORMS)
def test_the_same_rows_give_the_same_reference(form: str, tmp_path: Path) -> None:
    expected = Reference.build(_TABLE, model_name="m")
    reference = Reference.build(_FORMS[form](tmp_path), model_name="m")
    assert reference.to_json() == expected.to_json()
    assert reference.sha256 == expected.sha256


def test_a_matrix_with_names_gives_the_reference_of_its_columns() -> None:
    matrix = np.column_stack([_AGE, _SCORE])
    named = to_columns(matrix, names=("age", "income"))
    frame = pd.DataFrame({"age": _AGE.astype(float), "income": _SCORE})
    rows = [{"age": a, "income": s} for a, s in zip(_AGE.tolist(), _SCORE.tolist(), strict=True)]
    record = np.array(
        list(zip(_AGE, _SCORE, strict=True)), dtype=[("age", float), ("income", float)]
    )
    ids = {Reference.build(t, model_name="m").sha256 for t in (named, frame, rows, record)}
    assert len(ids) == 1
    assert list(to_columns(matrix).data) == ["f0", "f1"]
    assert list(to_columns([[1, 2], [3, 4]], names=("a", "b")).data) == ["a", "b"]


def test_a_csv_file_is_read(tmp_path: Path) -> None:
    table = pa.table({"a": [1.5, 2.5], "b": ["x", "y"]})
    pacsv.write_csv(table, tmp_path / "t.csv")
    columns = read_table(tmp_path / "t.csv")
    assert columns.n == 2
    assert columns.data["a"].tolist() == [1.5, 2.5]
    assert columns.data["b"].tolist() == ["x", "y"]


def test_levels_of_a_categorical_are_names_even_where_they_count() -> None:
    frame = pd.DataFrame({"code": pd.Categorical([1, 2, None] * 40), "n": [1, 2, 3] * 40})
    cells = Reference.build(frame, model_name="m").layout.sources
    assert isinstance(cells[0], CategoryCells)
    assert set(cells[0].categories) == {"1", "2"}
    assert isinstance(cells[1], NumericCells)


def test_decimals_are_numbers() -> None:
    table = pa.table({"d": pa.array([f"{i}.25" for i in range(50)]).cast(pa.decimal128(6, 2))})
    cells = Reference.build(table, model_name="m").layout.sources[0]
    assert isinstance(cells, NumericCells)
    assert 49.25 < cells.bounds[-1] < 52


@pytest.mark.parametrize(
    "values",
    [
        pd.to_datetime(["1970-01-02", "NaT"]),
        pd.to_datetime(["1970-01-02", "NaT"]).tz_localize("UTC").tz_convert("Asia/Tokyo"),
        pd.to_timedelta(["1D", None]),
        pd.array(["1970-01-02", None], dtype="date32[pyarrow]"),
    ],
)
def test_dates_and_durations_are_seconds_and_nat_is_missing(values: Any) -> None:
    found = to_columns(pd.DataFrame({"t": values})).data["t"]
    np.testing.assert_array_equal(found, [86_400.0, np.nan])


@pytest.mark.fault("B3")
def test_masked_values_are_missing() -> None:
    numbers = np.ma.masked_array([1, 2, 3], mask=[False, True, False])
    texts = np.ma.masked_array(np.array(["a", "b"], dtype=object), mask=[True, False])
    np.testing.assert_array_equal(to_columns({"x": numbers}).data["x"], [1.0, np.nan, 3.0])
    assert to_columns({"x": texts}).data["x"].tolist() == [None, "b"]


@pytest.mark.fault("B2", "B6")
def test_odd_columns_do_not_stop_the_others() -> None:
    columns = to_columns(
        {
            "huge": [10**400, 1],
            "nested": [[1, 2], [3, 4]],
            "mixed": ["3", 3],
            "bytes": np.array([b"a", b"b"]),
            "complex": np.array([1j, 2]),
            "period": pd.Series(pd.period_range("2020", periods=2)),
            "fine": [1.0, 2.0],
        }
    )
    assert columns.n == 2
    assert columns.data["huge"].tolist() == [np.inf, 1.0]
    assert columns.data["nested"].tolist() == ["[1, 2]", "[3, 4]"]
    assert columns.data["mixed"].tolist() == ["3", 3]
    assert Reference.build(columns, model_name="m").rows("fine") == 2


_frame = pd.DataFrame(np.zeros((2, 2)), columns=["a", "a"])
_arrow_twice = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (_frame, "more than one column is named 'a'"),
        (_arrow_twice, "more than one column is named 'a'"),
        ({1: [1], "1": [2]}, "more than one column is named '1'"),
        (pd.DataFrame([[1, 2]], columns=pd.Index([1, "1"])), "more than one column is named '1'"),
        ({"a": [1], "b": [1, 2]}, "column 'a' has 1 rows, column 'b' has 2"),
        ({"a": np.zeros((2, 2))}, "column 'a' has shape"),
        ({"a": 3}, "column 'a' has shape"),
        (np.zeros((2, 2, 2)), "is no table"),
        (np.array(3.0), "is no table"),
        ([[1, 2], [3]], "different lengths"),
        (object(), "is no table"),
        (pl.LazyFrame({"a": [1]}), "is no table"),
    ],
)
def test_what_is_no_table_says_why_and_what_to_do(table: object, says: str) -> None:
    with pytest.raises(DataError) as caught:
        to_columns(table, where="train.parquet")
    assert says in caught.value.message
    assert "train.parquet" in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize("table", [np.zeros((2, 2)), [[1, 2]]])
def test_names_that_do_not_fit_or_occur_twice_are_refused(table: object) -> None:
    with pytest.raises(DataError, match="2 columns, 3 names"):
        to_columns(table, names=("a", "b", "c"))
    with pytest.raises(DataError, match="more than one column is named 'a'"):
        to_columns(table, names=("a", "a"))


def test_whole_number_and_tuple_names_become_text() -> None:
    frame = pd.DataFrame([[1, 2]], columns=[7, 5])
    assert {k: v.tolist() for k, v in to_columns(frame).data.items()} == {"7": [1], "5": [2]}
    tuples = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("a", 2)]))
    assert [v.tolist() for v in to_columns(tuples).data.values()] == [[1], [2]]


def test_a_column_that_is_not_there_names_the_option_and_the_closest_one() -> None:
    with pytest.raises(DataError) as caught:
        Reference.build(_TABLE, model_name="m", sensitive=["ctiy"])
    assert "'ctiy'" in caught.value.message
    assert "`sensitive`" in caught.value.message
    assert "did you mean 'city'?" in caught.value.remedy


@pytest.mark.parametrize("name", ["missing.parquet", "garbage.parquet", "garbage.csv", "folder"])
def test_a_file_that_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "garbage.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "garbage.csv").write_bytes(b'a,b\n"1')
    with pytest.raises(DataError) as caught:
        read_table(tmp_path / name)
    assert str(tmp_path / name) in caught.value.message
    assert caught.value.remedy
