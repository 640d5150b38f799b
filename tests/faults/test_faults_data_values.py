"""Numbers, texts, times and shapes of every kind: each value is counted as what it is, or odd."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.extra import pandas as hpd

from otel_ml.profile import Reference
from otel_ml.semconv import metrics as m
from otel_ml.types import Buckets
from tests.faults import odd
from tests.faults.oracles import Trial, faulty

ODD = ("missing", "infinite", "above_range", "below_range", "not_a_number")
EXTREME = st.sampled_from([v for v in odd.NUMBERS if type(v) is float]) | st.floats()


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A reference of a number `a` and a category `b`."""
    rng = np.random.default_rng(3)
    path = tmp_path_factory.mktemp("reference") / "reference.json"
    columns = {"a": rng.normal(size=2000), "b": rng.choice(["x", "y"], 2000)}
    Reference.build(columns, scores=rng.random(2000), model_name="m").save(path)
    return str(path)


def compared(reference: str) -> dict[str, Any]:
    """Return the settings of a pipeline that compares with the reference."""
    return {"models": [{"name": "m", "reference": reference}]}


def finite(trial: Trial) -> None:
    """Assert that no metric is NaN or infinite: one such point would poison a whole export."""
    trial.books()
    for sample in trial.sink.samples():
        value = sample.value
        numbers = (*value.counts, value.sum or 0.0) if isinstance(value, Buckets) else (value,)
        assert all(math.isfinite(number) for number in numbers), sample


def cells(trial: Trial, feature: str) -> dict[str, float]:
    """Return how many values of a feature were counted, by cell."""
    trial.books()
    samples = trial.sink.samples(m.ML_FEATURE_CELLS, ml_feature_name=feature)
    return {str(s.attributes["ml.feature.cell"]): s.value for s in samples if s.value}


# B1, B2, B3


@pytest.mark.fault("B1", "B2")
@odd.MANY
@given(st.lists(st.lists(EXTREME | st.sampled_from(odd.NUMBERS), min_size=60, max_size=60)))
def test_numbers_of_any_size(reference: str, columns: list[list[Any]]) -> None:
    with faulty(settings=compared(reference)) as trial:
        for column in columns:
            trial.observe(60, features={"a": column, "b": ["x"] * 60}, scores=[0.5] * 60)
        finite(trial)


@pytest.mark.fault("B1", "B2")
@pytest.mark.parametrize(
    ("value", "cell"),
    [
        *((v, "missing") for v in (math.nan, None, np.float32("nan"), Decimal("NaN"), "", pd.NA)),
        *((v, "infinite") for v in (math.inf, -math.inf, 10**400, -(10**400), Decimal("1E+400"))),
        *((v, "above_range") for v in (1.7e308, 2**63, np.uint64(2**64 - 1), 1e300, "1e9")),
        *((v, "below_range") for v in (-1.7e308, -(2**63), np.float16(-60000))),
        *((v, "not_a_number") for v in (1j, "text", b"x", [1], {}, "\ud800", object())),
        *(
            (v, None)
            for v in (-0.0, 5e-324, True, np.bool_(False), Decimal("0.5"), "0.5", "1_0e-1")
        ),
    ],
    ids=lambda v: repr(v)[:20].encode("ascii", "backslashreplace").decode(),
)
def test_each_value_is_counted_as_what_it_is(reference: str, value: Any, cell: str | None) -> None:
    usual = np.random.default_rng(1).normal(size=59).tolist()
    with faulty(settings=compared(reference)) as trial:
        trial.observe(60, features={"a": [value, *usual], "b": ["x"] * 60}, scores=[0.5] * 60)
        finite(trial)
        found = cells(trial, "a")
        odd_ones = {name: n for name, n in found.items() if name in ODD}
        assert odd_ones == ({cell: 1.0} if cell else {})


@pytest.mark.fault("B3")
@pytest.mark.parametrize("kind", odd.ARRAYS, ids=str)
def test_every_type_of_array_is_counted(reference: str, kind: Any) -> None:
    """Whatever one feature is made of, the others and the predictions are counted."""
    with faulty(settings=compared(reference)) as trial:
        odd_column = np.zeros(60, dtype=kind)
        trial.observe(60, features={"a": np.ones(60), "b": odd_column}, scores=[0.5] * 60)
        if kind.kind in "fiubO":
            trial.observe(60, features=np.zeros((60, 2), dtype=kind), scores=[0.5] * 60)
        finite(trial)
        assert trial.sink.value(m.ML_PREDICTIONS) == trial.given


@pytest.mark.fault("B3")
def test_structured_masked_and_mixed_arrays() -> None:
    structured = np.array([(1, 2.0, b"x")] * 3, dtype=[("a", "i4"), ("b", ">f8"), ("c", "S1")])
    masked = np.ma.masked_invalid([[1.0, np.nan], [2.0, 3.0], [np.inf, 4.0]])
    mixed = np.array([[1, "a"], [2.5, None], [True, b"b"]], dtype=object)
    with faulty() as trial:
        for features in (structured, masked, mixed):
            trial.observe(3, features=features, scores=[0.5] * 3)


@pytest.mark.fault("B3")
def test_a_type_of_another_library_is_read_as_numbers() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    with faulty() as trial:
        column = np.ones(3, dtype=ml_dtypes.bfloat16)
        trial.observe(3, features={"a": column, "b": [1.0] * 3}, scores=[0.5] * 3)


# B4


@pytest.mark.fault("B4")
@pytest.mark.parametrize(
    ("features", "n"),
    [
        (np.float64(1.0), 1),
        (np.array(1.0), 1),
        (np.zeros(3), 3),
        (np.zeros((3, 1)), 3),
        (np.zeros((3, 0)), 3),
        (np.zeros((6, 4))[::2, ::-1], 3),
        (np.asfortranarray(np.zeros((3, 4))), 3),
        (np.broadcast_to(np.zeros(4), (3, 4)), 3),
        ([[1, 2], [3], [4, 5, 6]], 3),
        ({"a": [1, 2, 3], "b": [1]}, 3),
        (np.zeros((3, 2, 2)), 3),
    ],
    ids=lambda v: str(getattr(v, "shape", v))[:30],
)
def test_shapes(features: Any, n: int) -> None:
    """The outputs say how many predictions there were, whatever the features look like."""
    with faulty() as trial:
        trial.observe(n, features=features, scores=np.full(n, 0.5), predictions=["a"] * n)


@pytest.mark.fault("B4")
def test_an_array_of_no_columns_and_no_outputs_is_a_shape() -> None:
    with faulty(loss="shape", given=None) as trial:
        trial.observe(0, features=np.zeros((3, 2)), scores=[0.5, 0.5])


# B6, B7


TABLES: dict[str, Any] = {
    "nullable": pd.DataFrame(
        {"a": pd.array([1, None, 3], dtype="Int64"), "b": pd.array([True, None, False])}
    ),
    "categorical": pd.DataFrame({"a": pd.Categorical(["x", "y", None], categories=["y", "x"])}),
    "ordered": pd.DataFrame({"a": pd.Categorical([1, 2, 1], ordered=True)}),
    "arrow": pd.DataFrame({"a": pd.array(["x", None, "y"], dtype="string[pyarrow]")}),
    "arrow number": pd.DataFrame({"a": pd.array([1.5, None, 2], dtype="double[pyarrow]")}),
    "period": pd.DataFrame({"a": pd.period_range("2026", periods=3, freq="M")}),
    "interval": pd.DataFrame({"a": pd.interval_range(0, 3)}),
    "levels": pd.DataFrame(
        np.zeros((3, 2)), columns=pd.MultiIndex.from_tuples([("a", 1), ("a", 2)])
    ),
    "times": pd.DataFrame({"a": pd.to_datetime(["2026-01-01", "NaT", "2026-01-03"])}),
    "aware": pd.DataFrame({"a": pd.date_range("2026", periods=3, tz="America/New_York")}),
    "durations": pd.DataFrame({"a": pd.to_timedelta(["1s", None, "3h"])}),
    "mixed times": pd.DataFrame(
        {"a": [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31), pd.NaT]}, dtype=object
    ),
    "sparse": pd.DataFrame({"a": pd.arrays.SparseArray([0.0, 0.0, 1.0])}),
    "lists": pd.DataFrame({"a": [[1], [2, 3], None]}),
    "polars": pl.DataFrame({"a": [1, None, 3], "b": ["x", None, "y"], "c": [[1], [], None]}),
    "polars times": pl.DataFrame({"a": [dt.date(1, 1, 1), None, dt.date(9999, 12, 31)]}),
    "arrow table": pa.table({"a": pa.array([1, None, 3]), "b": pa.array([b"\xff", None, b""])}),
    "dictionary": pa.table({"a": pa.array(["x", "y", "x"]).dictionary_encode()}),
    "index": pd.DataFrame({"a": [1.0, 2.0, 3.0]}, index=[5, 5, 7]),
    "numbers as names": pd.DataFrame({0: [1.0, 2.0, 3.0], None: [1, 2, 3]}),
}


@pytest.mark.fault("B6", "B7")
@pytest.mark.parametrize("name", TABLES)
def test_tables_of_every_kind(name: str) -> None:
    """Read with an output beside it, and without: then the table alone says how many rows."""
    with faulty() as trial:
        trial.observe(3, features=TABLES[name], scores=[0.5] * 3)
        trial.observe(3, features=TABLES[name])
        finite(trial)


@pytest.mark.fault("B6")
def test_two_columns_of_one_name() -> None:
    """They cannot be told apart: counted as predictions, without their values."""
    with faulty() as trial:
        twice = pd.DataFrame(np.zeros((3, 2)), columns=["a", "a"])
        trial.observe(3, features=twice, scores=[0.5] * 3)


@pytest.mark.fault("B6", "B7")
@settings(odd.MANY, max_examples=odd.MANY.max_examples // 2)
@given(
    hpd.data_frames(
        [
            hpd.column("number", dtype=float),
            hpd.column("text", elements=st.text() | st.none(), dtype=object),
            hpd.column("time", dtype="datetime64[ns]"),
            hpd.column("duration", dtype="timedelta64[ns]"),
            hpd.column("flag", dtype=bool),
        ],
        index=hpd.range_indexes(min_size=1, max_size=8),
    )
)
def test_tables_of_anything(frame: pd.DataFrame) -> None:
    with faulty() as trial:
        trial.observe(len(frame), features=frame, scores=np.full(len(frame), 0.5))


@pytest.mark.fault("B7")
@odd.MANY
@given(st.lists(st.datetimes() | st.dates() | st.timedeltas() | st.none(), min_size=1))
def test_times_of_every_year(values: list[Any]) -> None:
    with faulty() as trial:
        n = len(values)
        trial.observe(n, features={"when": values}, scores=[0.5] * n)
        trial.observe(n, features=pl.DataFrame({"i": range(n)}), event_times=[1e18] * n)
        trial.observe(n, features={"i": [1] * n}, event_times=[math.nan] * n)


# B8


@pytest.mark.fault("B8")
@odd.MANY
@given(st.lists(st.text() | st.binary() | st.sampled_from(odd.TEXTS), min_size=1), st.text())
def test_texts_of_every_kind(texts: list[Any], name: str) -> None:
    """In cells, names of features, models, ids, slices, predictions and labels."""
    import otel_ml

    n = len(texts)
    with faulty() as trial:
        features = {name: texts, "\ud800": texts}
        trial.observe(
            n,
            model=name or "m",
            features=features,
            predictions=[str(t) for t in texts],
            slices={"s": texts},
            ids=[str(t) for t in texts],
        )
        trial.call(
            otel_ml.record_labels, ids=[str(t) for t in texts], labels=texts, model=name or "m"
        )
        finite(trial)


@pytest.mark.fault("B8", "B5")
def test_a_text_of_ten_megabytes_is_cut() -> None:
    text = "ä" * 10_000_000
    with faulty(growth=64 << 20) as trial:
        for _ in range(20):
            trial.observe(1, features={"a": [text]}, predictions=[text], slices={"s": [text]})
        del text
        trial.books()
        longest = max(
            len(v) for s in trial.sink.samples() for v in s.attributes.values() if type(v) is str
        )
        assert longest <= 1000


# B10


@pytest.mark.fault("B10")
def test_columns_that_are_missing_new_or_in_another_order_are_told_by_name(
    reference: str,
) -> None:
    rng = np.random.default_rng(2)

    def some() -> tuple[Any, Any]:
        return rng.normal(size=60), rng.choice(["x", "y"], 60)

    with faulty(settings=compared(reference)) as trial:
        for _ in range(20):
            a, b = some()
            trial.observe(60, features={"b": b, "a": a}, scores=rng.random(60))
        trial.books()
        assert not trial.sink.events("ml.incident"), "another order is no change"
        for _ in range(40):
            a, b = some()
            trial.observe(60, features={"A": a, "b": b}, scores=rng.random(60))
        trial.books()
        causes = [e.attributes["ml.incident.cause"] for e in trial.sink.events("ml.incident")]
        assert causes == ["schema_change"]


@pytest.mark.fault("B10")
@settings(odd.MANY, max_examples=odd.MANY.max_examples // 2)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(["a", "b", "A", "c", "b ", ""]), unique=True, max_size=4),
            st.sampled_from([1, 1.5, "1", "x", True, None, b"1"]),
        ),
        max_size=8,
    )
)
def test_any_columns_in_any_order(reference: str, batches: list[tuple[list[str], Any]]) -> None:
    with faulty(settings=compared(reference)) as trial:
        for names, value in batches:
            trial.observe(5, features={n: [value] * 5 for n in names}, scores=[0.5] * 5)
        finite(trial)


# B1 to B4 at once


@pytest.mark.fault("B1", "B3", "B4")
@odd.MANY
@given(
    hnp.arrays(
        hnp.scalar_dtypes(),
        hnp.array_shapes(min_dims=1, max_dims=2, max_side=5),
    )
)
def test_arrays_of_anything(array: Any) -> None:
    with faulty() as trial:
        trial.observe(len(array), features=array, scores=np.full(len(array), 0.5))
