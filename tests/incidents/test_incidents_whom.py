"""For whom: the right slice found, and none where everybody is hit, by simulation."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from otel_ml.incidents.whom import RecentRows, Whom, for_whom
from otel_ml.profile import CategoryCells, NumericCells
from otel_ml.profile.profile import Layout
from otel_ml.types import Stream

_CHANGE = 2000
_CLIENTS = np.array([f"c{i}" for i in range(8)], dtype=object)


def _world(rng: np.random.Generator, n: int) -> dict[str, NDArray[Any]]:
    """Return rows with two features that go together, and one that does not."""
    x = rng.normal(size=n)
    return {
        "x": x,
        "y": 0.8 * x + 0.6 * rng.normal(size=n),
        "k": rng.choice(np.array(["a", "b", "c", "d"], dtype=object), n, p=[0.4, 0.3, 0.2, 0.1]),
        "client": rng.choice(_CLIENTS, n, p=[0.3, 0.2, 0.15, 0.1, 0.1, 0.05, 0.05, 0.05]),
    }


_PAST = _world(np.random.default_rng(0), 20_000)
_LAYOUT = Layout(
    (
        NumericCells.build("x", _PAST["x"]),
        NumericCells.build("y", _PAST["y"]),
        CategoryCells.build("k", _PAST["k"]),
    )
)


def _codes(rows: dict[str, NDArray[Any]]) -> NDArray[np.int16]:
    found = [cells.codes(rows[cells.name])[0].astype(np.int16) for cells in _LAYOUT.sources]
    return np.stack(found, axis=1)


def _stream(name: str, defect: str = "") -> Stream:
    cells = _LAYOUT.sources[_LAYOUT.index[name]]
    codes, _ = cells.codes(_PAST[name])
    counts = np.bincount(codes, minlength=cells.size).astype(np.float64) + 0.5
    law = counts / counts.sum()
    yes = np.array([label == defect for label in cells.labels]) if defect else None
    none = np.zeros((1, cells.size))  # the law is all that is asked of it
    monitor, family = ("data_quality", "quality") if defect else ("input_drift", "inputs")
    if not defect:
        law[cells.valid :] = 0
    return Stream(
        monitor, family, name, name, "rows", law, none, none, np.ones(1), cells.labels, defect, yes
    )


def _recent(rng: np.random.Generator, fault: Any, after: int = 500) -> RecentRows:
    recent = RecentRows(_LAYOUT)
    n = _CHANGE + after
    rows = _world(rng, n)
    late = np.arange(n) >= _CHANGE
    fault(rows, late)
    for first in range(0, n, 100):
        part = slice(first, first + 100)
        codes = _codes({k: v[part] for k, v in rows.items()})
        recent.add(np.arange(n)[part], codes, {"client": rows["client"][part]})
    return recent


def _at_most(failures: int, runs: int, rate: float) -> bool:
    """Tell whether so many failures are possible at a rate: chance above one in a thousand."""
    tail = sum(
        math.comb(runs, k) * rate**k * (1 - rate) ** (runs - k) for k in range(failures, runs + 1)
    )
    return tail > 1e-3


def test_the_client_that_sends_empty_values_is_found() -> None:
    """Of 40 runs all but a few: the share of misses is compatible with 2 %."""
    missed = 0
    for seed in range(40):

        def fault(rows: dict[str, Any], late: NDArray[np.bool_]) -> None:
            rows["x"][late & (rows["client"] == "c3")] = np.nan

        whom = for_whom(_recent(np.random.default_rng(seed), fault), _stream("x", "missing"), 2000)
        right = whom is not None and (whom.kind, whom.value) == ("client", "c3")
        if right:
            assert whom is not None
            assert whom.coverage > 0.9
            assert whom.share == pytest.approx(0.1, abs=0.05)
        missed += not right
    assert _at_most(missed, 40, 0.02)


def test_a_slice_by_another_feature_is_found_in_drift_of_a_part_of_its_rows() -> None:
    missed = 0
    for seed in range(40):

        def fault(rows: dict[str, Any], late: NDArray[np.bool_]) -> None:
            rows["x"][late & (rows["k"] == "c")] += 2.5

        whom = for_whom(_recent(np.random.default_rng(seed), fault, 800), _stream("x"), 2000)
        missed += whom is None or (whom.name, whom.value) != ("k", "c")
    assert _at_most(missed, 40, 0.05)


@pytest.mark.parametrize("kind", ["shift", "missing", "half"])
def test_no_slice_is_named_where_everybody_is_hit(kind: str) -> None:
    """Also not a slice by a feature that goes with the one that moved."""
    named = 0
    for seed in range(100):
        rng = np.random.default_rng([seed, len(kind)])

        def fault(
            rows: dict[str, Any], late: NDArray[np.bool_], rng: np.random.Generator = rng
        ) -> None:
            some = late & (rng.random(len(late)) < 0.3)
            if kind == "shift":
                rows["x"][late] += 0.8
            elif kind == "missing":
                rows["x"][some] = np.nan
            else:
                rows["x"][some] += 3.0

        stream = _stream("x", "missing" if kind == "missing" else "")
        named += for_whom(_recent(rng, fault), stream, _CHANGE) is not None
    assert _at_most(named, 100, 0.01)


def test_no_slice_is_named_without_a_change() -> None:
    named = 0
    for seed in range(100):
        recent = _recent(np.random.default_rng(seed + 500), lambda rows, late: None)
        named += for_whom(recent, _stream("x"), _CHANGE) is not None
    assert _at_most(named, 100, 0.01)


def test_a_client_that_is_new_is_found() -> None:
    def fault(rows: dict[str, Any], late: NDArray[np.bool_]) -> None:
        new = late & (rows["client"] == "c0")
        rows["client"][new] = "new"
        rows["x"][new] = 9.0

    whom = for_whom(_recent(np.random.default_rng(1), fault), _stream("x"), _CHANGE)
    assert whom is not None
    assert (whom.kind, whom.value) == ("client", "new")


def test_a_source_that_is_not_kept_has_no_slice() -> None:
    stream = _stream("x")
    recent = _recent(np.random.default_rng(1), lambda rows, late: None)
    other = Stream(
        "performance",
        "performance",
        "performance",
        "error:overall",
        "labels",
        stream.law,
        stream.scores,
        stream.ends,
        stream.weights,
        stream.cells,
    )
    assert for_whom(recent, other, _CHANGE) is None
    assert for_whom(recent, stream, 10_000) is None  # no row since


def test_the_ring_keeps_the_latest_rows_and_survives_a_restart() -> None:
    rng = np.random.default_rng(3)
    ring = RecentRows(_LAYOUT, capacity=300)
    rows = _world(rng, 1000)
    codes = _codes(rows)
    first = 0
    for size in (10, 290, 7, 450, 200, 43):
        part = slice(first, first + size)
        given = {"client": rows["client"][part]} if first else None
        ring.add(np.arange(1000)[part], codes[part], given)
        first += size
        order = np.argsort(ring.rows)
        kept = slice(max(first - 300, 0), first)
        assert np.array_equal(ring.rows[order], np.arange(1000)[kept])
        assert np.array_equal(ring.codes[order], codes[kept])
        if ring.extras:
            known = [v for v in ring.extras["client"][order].tolist() if v is not None]
            assert known == rows["client"][max(first - 300, 10) : first].tolist()
    again = RecentRows(_LAYOUT, capacity=300)
    again.restore(json.loads(json.dumps(ring.to_json())))
    for held in (ring, again):
        held.add(np.array([1000]), codes[:1], {"client": rows["client"][:1]})
    assert np.array_equal(np.sort(ring.rows), np.sort(again.rows))
    assert np.array_equal(ring.codes, again.codes)
    assert len(again) == 300


def test_a_slice_says_how_much_it_covers() -> None:
    whom = Whom("client", "client", "c7", 0.971, 0.112)
    assert whom.text == "client = c7: 97% of the affected rows, 11% of all"
    assert whom.facts()["whom_kind"] == "client"
    assert whom.to_json()["text"] == whom.text
