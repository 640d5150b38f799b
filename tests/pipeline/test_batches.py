"""Joining batches keeps every row, in order, whatever types its columns have."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from otel_ml.batches import join_batches
from otel_ml.types import Batch

COLUMNS = [
    np.array([1.5, np.nan]),
    np.array([1, 2]),
    np.array([True, False]),
    np.array(["a", None], dtype=object),
    np.array(["2020-01-01", "NaT"], dtype="datetime64[s]"),
    np.array([1, 2], dtype="timedelta64[s]"),
    np.array([], dtype=np.float64),
]


def equal(a: Any, b: Any) -> bool:
    return bool(a == b or (a != a and b != b))


@given(
    chosen=st.lists(
        st.tuples(
            st.sampled_from(COLUMNS),
            st.sampled_from(["f", "g"]),
            st.sampled_from([None, "ids"]),
            st.sampled_from([None, 1, 2, 3]),
            st.sampled_from([(), ("KeyError",)]),
        ),
        max_size=8,
    ),
    most=st.integers(1, 10),
)
def test_nothing_is_lost_and_order_is_kept(chosen: list[Any], most: int) -> None:
    batches = []
    for i, (column, name, ids, width, errors) in enumerate(chosen):
        n = len(column)
        batches.append(
            Batch(
                n,
                {name: column},
                scores=None if width is None else np.full((n, width) if width > 1 else n, 0.5),
                ids=None if ids is None else [f"{i}-{j}" for j in range(n)],
                durations=np.array([0.1]),
                sizes=np.array([n]),
                errors=errors,
            )
        )
    joined = list(join_batches(batches, most))
    assert sum(b.n for b in joined) == sum(b.n for b in batches)
    for name in ("f", "g"):
        before = [v for b in batches if name in b.features for v in b.features[name].tolist()]
        after = [v for b in joined if name in b.features for v in b.features[name].tolist()]
        assert len(before) == len(after)
        assert all(
            equal(a, b) or str(a) == str(b) or float(a) == float(b)
            for a, b in zip(before, after, strict=True)
        )
    assert [i for b in batches for i in b.ids or ()] == [i for b in joined for i in b.ids or ()]
    assert [e for b in batches for e in b.errors] == [e for b in joined for e in b.errors]
    for b in joined:
        assert b.scores is None or len(b.scores) == b.n
        assert b.ids is None or len(b.ids) == b.n
        assert b.durations is not None
        assert b.sizes is not None
        assert len(b.durations) == len(b.sizes)
        assert b.sizes.sum() == b.n


def test_single_rows_become_one_batch() -> None:
    rows = [Batch(1, {"a": np.array([float(i)])}, ids=[str(i)]) for i in range(100)]
    (joined,) = join_batches(rows)
    assert joined.features["a"].tolist() == list(range(100))
    assert len(list(join_batches(rows, 30))) == 4
