from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest

from otel_ml.demo.data import COLUMNS, DATA_FILE, People, example_folder, read_people
from otel_ml.errors import DataError


def test_years_come_in_order_and_in_equal_shares(people: People) -> None:
    assert (np.diff(people.years) >= 0).all()
    assert np.unique(people.years, return_counts=True)[1].tolist() == [9000, 9000, 9000]
    assert people.features.shape == (27_000, len(COLUMNS))
    assert set(np.unique(people.labels)) == {0, 1}


def test_seed_decides(people: People) -> None:
    again = read_people(example_folder(), rows=300, seed=1)
    same = read_people(example_folder(), rows=300, seed=1)
    other = read_people(example_folder(), rows=300, seed=2)
    np.testing.assert_array_equal(again.features, same.features)
    assert not np.array_equal(again.features, other.features)


def test_no_person_comes_twice() -> None:
    # All 10,000 rows of a year are taken: their multiset must be the file's.
    people = read_people(example_folder(), rows=30_000, seed=0)
    with gzip.open(example_folder() / DATA_FILE, "rt") as lines:
        names = lines.readline().strip().split(",")
        table = np.loadtxt(lines, delimiter=",")
    replayed = table[table[:, names.index("year")] > 2015]
    expected = replayed[:, [*(names.index(name) for name in COLUMNS), names.index("employed")]]
    got = np.column_stack([people.features, people.labels])
    np.testing.assert_array_equal(got[np.lexsort(got.T)], expected[np.lexsort(expected.T)])


def test_too_many_rows_are_refused() -> None:
    with pytest.raises(DataError, match="at most 30000"):
        read_people(example_folder(), rows=30_003, seed=0)


def test_missing_column_is_named(tmp_path: Path) -> None:
    with gzip.open(example_folder() / DATA_FILE, "rt") as source:
        text = source.read().replace("RAC1P", "RACE", 1)
    with gzip.open(tmp_path / DATA_FILE, "wt") as target:
        target.write(text)
    with pytest.raises(DataError, match="lacks the columns RAC1P"):
        read_people(tmp_path, rows=300, seed=0)


def test_example_has_no_line_of_monitoring() -> None:
    for name in ("app.py", "features.py", "train.py"):
        code = (example_folder() / name).read_text()
        assert "otel" not in code
        assert "opentelemetry" not in code


def test_data_stay_small() -> None:
    assert (example_folder() / DATA_FILE).stat().st_size < 1_000_000


def test_copy_can_be_found_elsewhere(tmp_path: Path) -> None:
    shutil.copy(example_folder() / DATA_FILE, tmp_path)
    assert len(read_people(tmp_path, rows=30, seed=0)) == 30
