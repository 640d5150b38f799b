"""Times, late labels, batches and traces: each gives back what went in, and stays small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml.backtest.detectable import shift_rows
from otel_ml.backtest.feed import Feed, expand
from otel_ml.backtest.late import LateLabels
from otel_ml.backtest.roles import Roles
from otel_ml.backtest.times import EventClock, Timestamps, iso
from otel_ml.backtest.trace import DriftWindows, EvidenceTrace, RowTimes
from otel_ml.config import Period
from otel_ml.errors import DataError
from otel_ml.profile import Reference, frames
from otel_ml.profile.columns import Columns
from otel_ml.profile.frames import TableFile

NOON = 1_704_110_400.0  # 2024-01-01T12:00:00Z


@pytest.mark.parametrize(
    "column",
    [
        np.array(["2024-01-01T12:00:00"], dtype="M8[ns]"),
        np.array([NOON]),
        np.array([NOON * 1e3]),
        np.array([NOON * 1e6]),
        np.array([int(NOON * 1e9)]),
        np.array([str(NOON)], dtype=object),
        np.array([str(int(NOON * 1000))], dtype=object),
        np.array(["2024-01-01T12:00:00Z"], dtype=object),
        np.array(["2024-01-01 12:00:00"], dtype=object),
        np.array(["2024-01-01T14:00:00+02:00"], dtype=object),
        np.array(["2024/01/01 12:00"], dtype=object),
    ],
    ids=lambda column: f"{column.dtype} {column[0]}",
)
def test_a_time_is_read_in_any_form(column: Any) -> None:
    np.testing.assert_array_equal(Timestamps().seconds(column), [NOON])


def test_what_is_no_time_is_counted() -> None:
    timestamps = Timestamps()
    mixed = np.array(["2024-01-01T12:00:00", None, "soon", 7.5, ""], dtype=object)
    np.testing.assert_array_equal(timestamps.seconds(mixed), [NOON, *[np.nan] * 4])
    assert timestamps.unread == 4


def test_the_clock_of_the_data() -> None:
    clock = EventClock()
    assert clock.advance(np.array([10.0, 12.0, 11.0, np.nan, 13.0])) == 1
    assert clock.time() == 13.0
    assert clock.advance(np.array([5.0, 14.0, 9e9])) == 1  # one late, one absurd
    assert clock.time() == clock.monotonic() == 14.0
    assert clock.advance(np.full(3, np.nan)) == 0
    assert clock.time() == 14.0


@pytest.mark.parametrize("seconds", [np.nan, np.inf, 1e20, -1e20])
def test_what_is_no_moment_has_no_name(seconds: float) -> None:
    assert iso(seconds) == ""
    assert iso(NOON) == "2024-01-01T12:00:00Z"


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=8),
    delay=st.integers(0, 60),
)
def test_every_label_comes_once_and_never_early(sizes: list[int], delay: int) -> None:
    late = LateLabels(Period(rows=delay))
    row, come = 0, []
    for size in sizes:
        rows = np.arange(row + 1, row + size + 1, dtype=np.float64)
        late.add([str(int(r)) for r in rows], rows.tolist(), rows, rows)
        row += size
        ids, labels = late.due(row, 0.0)
        assert [str(int(label)) for label in labels] == ids
        come += [int(i) for i in ids]
        assert come == list(range(1, max(row - delay, 0) + 1))
    assert late.on_their_way == min(delay, row)


@given(
    cuts=st.lists(st.integers(1, 50), min_size=1, max_size=12),
    wanted=st.lists(st.integers(1, 60), min_size=1, max_size=5),
)
def test_batches_have_the_wanted_size_whatever_the_tables(
    cuts: list[int], wanted: list[int]
) -> None:
    starts = np.cumsum([0, *cuts])
    tables = [
        Columns(n, {"x": np.arange(a, a + n) * 1.0}) for a, n in zip(starts, cuts, strict=False)
    ]
    sizes = wanted * (sum(cuts) + 1)
    made: list[list[float]] = []
    for batch in Feed(tables).batches(lambda: sizes[len(made)]):
        last = sum(map(len, made)) + batch.n == sum(cuts)
        assert batch.n == sizes[len(made)] or last
        made.append(batch.data["x"].tolist())
    assert [x for part in made for x in part] == list(range(sum(cuts)))


def test_columns_that_change_end_a_batch() -> None:
    tables = [Columns(3, {"a": np.zeros(3)}), Columns(3, {"a": np.ones(3), "b": np.ones(3)})]
    assert [(b.n, list(b.data)) for b in Feed(tables).batches(lambda: 4)] == [
        (3, ["a"]), (3, ["a", "b"]),
    ]  # fmt: skip


def test_numbers_and_texts_meet_in_a_batch() -> None:
    tables = [
        Columns(2, {"a": np.array([1.0, 2.0])}),
        Columns(2, {"a": np.array(["x", None], dtype=object)}),
    ]
    (batch,) = Feed(tables).batches(lambda: 10)
    assert batch.data["a"].tolist() == [1.0, 2.0, "x", None]


def test_files_of_a_pattern_come_in_order_and_once(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "notes.txt"):
        (tmp_path / name).write_text("x\n1\n")
    found = expand([tmp_path / "b.csv", str(tmp_path / "*.csv"), tmp_path])
    assert [path.name for path in found] == ["b.csv", "a.csv"]


def test_a_large_csv_file_has_the_types_of_a_small_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = 3000
    table = pa.table(
        {
            "whole": np.arange(n),
            "late fraction": [str(i) if i < 2900 else "0.5" for i in range(n)],
            "late text": [str(i) if i < 2950 else "none" for i in range(n)],
            "late flag": ["true" if i < 2990 else "perhaps" for i in range(n)],
            "empty at first": ["" if i < 2000 else str(i) for i in range(n)],
        }
    )
    path = tmp_path / "large.csv"
    pacsv.write_csv(table, path, pacsv.WriteOptions(quoting_style="none"))
    small = TableFile(path)
    expected = next(iter(small.chunks(n))).data
    monkeypatch.setattr(frames, "_WHOLE_BYTES", 0)
    monkeypatch.setattr(frames, "_BLOCK_BYTES", 4000)
    large = TableFile(path)
    assert (large.rows, large.names) == (small.rows, small.names) == (n, tuple(expected))
    parts = list(large.chunks(500))
    for name, column in expected.items():
        found = np.concatenate([part.data[name] for part in parts])
        assert found.dtype.kind == column.dtype.kind, name
        np.testing.assert_array_equal(found, column)
    only = np.concatenate([part.data["whole"] for part in large.chunks(500, ["whole"])])
    assert only.tolist() == list(range(n))


def test_a_parquet_file_in_parts(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": np.arange(1000)}), tmp_path / "t.parquet", row_group_size=300)
    file = TableFile(tmp_path / "t.parquet")
    parts = list(file.chunks(128))
    assert (file.rows, file.names) == (1000, ("x",))
    assert max(part.n for part in parts) <= 128
    assert [x for part in parts for x in part.data["x"].tolist()] == list(range(1000))


def test_evidence_is_thinned_and_keeps_its_peaks() -> None:
    trace = EvidenceTrace()
    rng = np.random.default_rng(0)
    values = rng.normal(size=50_000)
    values[31_234] = 40.0
    for row, value in enumerate(values.tolist()):
        trace.add(row, value)
    trace.add(60_000, -np.inf)
    assert 900 <= len(trace.points) <= 2000
    assert max(trace.points, key=lambda p: p[1]) == (31_234, 40.0)
    assert [row for row, _ in trace.points] == sorted(row for row, _ in trace.points)


def test_times_of_rows_are_few_and_right() -> None:
    times = RowTimes()
    assert np.isnan(times.at(3))
    for row in range(0, 50_000, 5):
        times.add(row, NOON + 2.0 * row)
    assert times.at(31_237) == pytest.approx(NOON + 2 * 31_237)
    assert len(times._rows) <= 4002


def test_drift_windows_stay_few_and_lose_no_row() -> None:
    rng = np.random.default_rng(0)
    reference = Reference.build({"x": rng.normal(size=5000)}, model_name="m")
    drift = DriftWindows(reference)
    total = np.zeros_like(reference.profile.counts)
    for start in range(0, 100_000, 100):
        moved = 3.0 if start >= 50_000 else 0.0
        codes, _ = reference.layout.sources[0].codes(rng.normal(moved, 1, 100))
        total[0] += np.bincount(codes, minlength=total.shape[1])
        drift.add(start, start + 100, total)
    rows = drift.to_json()
    assert 20 <= len(rows) <= 40
    assert sum(row["n"] for row in rows) == 100_000
    assert [row["window"][0] for row in rows[1:]] == [row["window"][1] for row in rows[:-1]]
    before = [row for row in rows if row["window"][1] <= 50_000]
    after = [row for row in rows if row["window"][0] >= 50_000]
    assert max(row["total_variation"] - 2 * row["noise"] for row in before) < 0
    assert min(row["total_variation"] for row in after) > 0.7


def test_roles_that_a_table_lacks() -> None:
    roles = Roles(score=("a", "b"), label="y", sensitive=("s", "t"), threshold=0.3)
    kept = roles.within({"a", "y", "t"})
    assert (kept.score, kept.label, kept.sensitive, kept.threshold) == ((), "y", ("t",), 0.3)
    assert roles.outside == {"a", "b", "y"}
    assert dict(roles.columns()) == {"--label": "y", "--score": "b", "--sensitive": "t"}


def test_a_shift_within_the_floor_is_never_found_and_a_larger_one_sooner() -> None:
    rows = shift_rows([0.04, 0.1, 0.3, 1.0], 3.3, 20, 0.35, 0.02)
    assert rows[0] is None
    known = [n for n in rows if n is not None]
    assert known == sorted(known, reverse=True)
    # of a normal, without a floor, the divergence of a small shift d is d² / 2 a row
    (found,) = shift_rows([0.3], 3.3, 20, 0.35, 0.0)
    needed = 3.3 * np.log(10) + np.log(20 / 0.35)
    assert found is not None
    assert needed / 0.045 < found < 1.15 * needed / 0.045


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        TableFile(tmp_path / "no.csv")
