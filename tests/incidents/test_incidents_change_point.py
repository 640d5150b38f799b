"""Where a change began: accuracy, and how often the interval holds the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from otel_ml.incidents import History
from otel_ml.types import FloatArray, Stream

_ROWS = 50
_RUNS = 300
_P = np.array([0.02, *[0.08] * 12, 0.02])


def _stream(law: FloatArray, yes: FloatArray | None = None) -> Stream:
    cells = tuple(str(i) for i in range(len(law)))
    asked = None if yes is None else yes.astype(bool)
    none = np.zeros((1, len(law)))
    weights = np.ones(1)
    return Stream(
        "input_drift", "inputs", "x", "x", "rows", law, none, none, weights, cells, yes=asked
    )


def _history(
    rng: np.random.Generator, stream: Stream, after: FloatArray, change: int, rows: int
) -> History:
    """Rows of the stream's own law up to row `change`, of `after` from there on."""
    history = History([len(stream.law)])
    for start in range(0, rows, _ROWS):
        old = min(max(change - start, 0), _ROWS)
        counts = rng.multinomial(old, stream.law) + rng.multinomial(_ROWS - old, after)
        history.add(counts[None, :], np.zeros((1, 3)), np.array([start]))
    return history


def _tilted(shift: float) -> FloatArray:
    law = _P * np.exp(shift * np.linspace(-1.7, 1.7, len(_P)))
    return np.asarray(law / law.sum())


@pytest.mark.parametrize(
    ("after", "since", "error"),
    [(_tilted(0.5), 800, 25), (_tilted(1.0), 300, 20), (_tilted(2.0), 150, 20)],
    ids=["0.5 sd", "1 sd", "2 sd"],
)
def test_the_interval_holds_the_change(after: FloatArray, since: int, error: int) -> None:
    """At least 95 % of the time: fewer hits than the 0.1 % quantile of Binomial(300, 0.95) fail.

    The change falls anywhere within an evaluation.
    """
    rng = np.random.default_rng(1)
    stream = _stream(_P)
    hits, errors = 0, []
    for _ in range(_RUNS):
        change = int(rng.integers(1000, 3000))
        found = _history(rng, stream, after, change, change + since).change_point(0, stream)
        hits += found.lower <= change <= found.upper
        errors.append(abs(found.row - change))
        assert found.lower <= found.row <= found.upper
    assert hits >= binom.ppf(0.001, _RUNS, 0.95), hits
    assert np.median(errors) <= error


def test_the_interval_of_a_rate_holds_the_change() -> None:
    rng = np.random.default_rng(2)
    stream = _stream(np.array([0.95, 0.05]), np.array([0, 1]))
    hits = 0
    for _ in range(_RUNS):
        change = int(rng.integers(1000, 3000))
        history = _history(rng, stream, np.array([0.8, 0.2]), change, change + 400)
        found = history.change_point(0, stream)
        hits += found.lower <= change <= found.upper
    assert hits >= binom.ppf(0.001, _RUNS, 0.95), hits


def test_a_lasting_difference_within_the_floor_is_not_taken_for_the_change() -> None:
    rng = np.random.default_rng(3)
    far = 0
    for _ in range(100):
        production = rng.dirichlet(2000 * _P)
        history = History([len(_P)])
        for start in range(0, 6000, _ROWS):
            law = production if start < 5000 else _tilted(1.5)
            history.add(rng.multinomial(_ROWS, law)[None, :], np.zeros((1, 3)), np.array([start]))
        far += abs(history.change_point(0, _stream(_P)).row - 5000) > 200
    assert far <= 5


def test_what_came_before_is_not_looked_at() -> None:
    rng = np.random.default_rng(4)
    stream = _stream(_P)
    history = History([len(_P)])
    for start in range(0, 3000, _ROWS):  # an incident from 0 to 1000, and a new one at 2500
        law = _tilted(3.0) if start < 1000 else _tilted(1.5) if start >= 2500 else _P
        history.add(rng.multinomial(_ROWS, law)[None, :], np.zeros((1, 3)), np.array([start]))
    assert abs(history.change_point(0, stream).row - 1000) <= 50
    assert abs(history.change_point(0, stream, 1000).row - 2500) <= 50


def test_the_ring_keeps_the_latest_and_forgets_the_rest() -> None:
    history = History([2], length=10)
    for i in range(25):
        history.add(np.array([[i, 1]]), np.array([[1.0, i, i * i]]), np.array([i * 50]))
    counts, moments = history.since(0, 20 * 50)
    assert counts.tolist() == [20 + 21 + 22 + 23 + 24, 5]
    assert moments.tolist() == [5.0, 110.0, float(sum(i * i for i in range(20, 25)))]
    everything, _ = history.since(0, 0)
    assert everything.tolist() == [sum(range(15, 25)), 10]
    latest, _ = history.since(0, 10**9)
    assert latest.tolist() == [24, 1]


def test_a_stream_that_counted_nothing_has_no_change_point() -> None:
    history = History([2])
    history.add(np.zeros((1, 2), dtype=np.int64), np.zeros((1, 3)), np.array([0]))
    found = history.change_point(0, _stream(np.array([0.5, 0.5])))
    assert (found.row, found.lower, found.upper) == (0, 0, 0)


def _labels(*chunks: tuple[int, int]) -> History:
    """Labels of rows that came in chunks: first row and number; before each, rows without."""
    history = History([2, 2])
    for i, (row, n) in enumerate(chunks):
        history.add(np.array([[50, 0], [0, 0]]), np.zeros((2, 3)), np.array([100 * i, 100 * i]))
        counts = np.array([[50, 0], [n, n]])
        history.add(counts, np.ones((2, 3)), np.array([100 * i + 50, row]))
    return history


def test_what_came_after_a_change_leaves_out_its_own_evaluation_unless_too_little_is_left() -> None:
    history = _labels((0, 20), (500, 400), (1000, 20))
    assert history.after(1, 500)[0].tolist() == [420, 420], "40 rows alone are too few"
    history = _labels((0, 20), (500, 400), (1000, 25))
    assert history.after(1, 500)[0].tolist() == [25, 25]
    assert history.after(1, 1000)[0].tolist() == [25, 25], "or all that there is"
    assert history.after(0, 0)[0].sum() == 250


def test_it_knows_whether_all_since_a_row_is_kept() -> None:
    history = _labels((0, 20), (500, 400), (1000, 20))
    assert history.latest(1) == 1000
    assert history.latest(0) == 250
    assert history.holds(1, 0)
    for i in range(history.length - 3):
        history.add(np.array([[50, 0], [0, 0]]), np.zeros((2, 3)), np.full(2, 2000 + 50 * i))
    # labels of rows 0 to 499 are gone, those of 500 and later are there, whatever rows came since
    assert not history.holds(1, 499)
    assert history.holds(1, 500)
    assert not history.holds(0, 100)
