"""However labels come, a few soon or a night of them at once: one fault is one incident, by name.

Half of the rows are of each group; the score is right about how often each label comes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

import numpy as np
import pytest
from scipy.stats import binom, poisson

from otel_ml.engine import Budget, Engine
from otel_ml.incidents import Change
from otel_ml.profile import Reference
from otel_ml.testing import ManualClock
from otel_ml.types import FloatArray, IntArray

Fault: TypeAlias = Literal["group", "all"]

_OF_LABELS = ("concept_drift", "label_problem", "calibration_shift", "performance_drop")
_ROUND = 250
_PACES = 20
_START = 2_000  # where faults begin, of the rows of the pace
_CHUNKS = (50, 100, 300, 500, 1000, 2000)
_EVALUATIONS = (50, 100, 250, 500, 1000)


class _Rows:
    """Rows with scores and true labels."""

    def __init__(self, rng: np.random.Generator, n: int) -> None:
        self.x: FloatArray = rng.normal(size=n)
        self.scores: FloatArray = 1 / (1 + np.exp(-2.5 * self.x))
        self.labels: IntArray = (rng.random(n) < self.scores).astype(np.int64)
        self.group = rng.choice(np.array(["a", "b"], dtype=object), n)
        self.ids = [f"r{i}" for i in range(n)]

    def part(self, a: int, b: int) -> dict[str, Any]:
        return {
            "scores": self.scores[a:b],
            "predictions": (self.scores[a:b] >= 0.5).astype(np.int64),
            "slices": {"g": self.group[a:b]},
            "ids": self.ids[a:b],
        }

    def break_labels(self, rng: np.random.Generator, rows: slice, fault: Fault) -> None:
        """Let the opposite come true for 45 % of one group, or for a quarter of all."""
        n = len(self.labels[rows])
        flip = rng.random(n) < (0.45 if fault == "group" else 0.25)
        if fault == "group":
            flip &= self.group[rows] == "b"
        self.labels[rows] = np.where(flip, 1 - self.labels[rows], self.labels[rows])


@pytest.fixture(scope="module")
def reference() -> Reference:
    rows = _Rows(np.random.default_rng(0), 10_000)
    part = rows.part(0, 10_000)
    part.pop("ids")
    return Reference.build(
        {"x": rows.x}, **part, labels=rows.labels, task="binary", model_name="late"
    )


def _engine(reference: Reference) -> tuple[Engine, ManualClock]:
    clock = ManualClock()
    return Engine(reference, budget=Budget(1, per="100000rows"), clock=clock), clock


def _told(changes: Iterable[Change]) -> dict[str, tuple[str, str]]:
    """Return cause and target of every incident, as it was last named."""
    return {c.incident.id: (c.incident.cause, c.incident.culprit.target) for c in changes}


def _paced(reference: Reference, seed: int, fault: Fault, *, even: bool) -> list[Change]:
    """Send 5,000 rows, half of them broken, in chunks and with labels as a pace has them."""
    rng = np.random.default_rng([seed, 1])
    pace = np.random.default_rng([seed, 2])
    rows = _Rows(rng, 5_000)
    rows.break_labels(rng, slice(_START, 4_000), fault)
    engine, clock = _engine(reference)
    changes: list[Change] = []
    at = given = 0
    while at < 5_000:
        size = 50 if even else int(pace.choice(_CHUNKS))
        engine.evaluation_rows = 50 if even else int(pace.choice(_EVALUATIONS))
        end = min(at + size, 5_000)
        engine.observe({"x": rows.x[at:end]}, **rows.part(at, end))
        at = end
        late = 600 if even else 600 + int(pace.integers(600))
        while given < at - late:
            few = at - late if even else min(at - late, given + int(pace.integers(1, 400)))
            engine.observe_labels(rows.ids[given:few], rows.labels[given:few].tolist())
            given = few
        clock.advance(size / 350)
        changes += engine.evaluate()
    return changes


@pytest.mark.slow
@pytest.mark.parametrize("even", [True, False], ids=["even", "in-lumps"])
def test_a_group_that_is_wronged_is_named_at_any_pace(reference: Reference, even: bool) -> None:
    """In 95 of 100 paces there is one incident, and it is of the group's errors.

    Fewer than the 0.1 % quantile of Binomial(20, 0.95) fail.
    """
    right = 0
    for seed in range(_PACES):
        named = _told(_paced(reference, seed, "group", even=even))
        right += list(named.values()) == [("subgroup_performance_drop", "g=b")]
    assert right >= binom.ppf(0.001, _PACES, 0.95)


@pytest.mark.slow
@pytest.mark.parametrize("even", [True, False], ids=["even", "in-lumps"])
def test_a_model_that_is_wrong_for_all_is_one_incident(reference: Reference, even: bool) -> None:
    right = 0
    for seed in range(_PACES):
        named = _told(_paced(reference, seed, "all", even=even))
        right += [target for _, target in named.values()] == ["performance"]
    assert right >= binom.ppf(0.001, _PACES, 0.95)


def _night(reference: Reference, seed: int, *, broken: int, rows: int = 20_000) -> list[Change]:
    """Send a day of rows, then all of their labels at once."""
    rng = np.random.default_rng([seed, 3])
    day = _Rows(rng, rows)
    if broken:
        day.break_labels(rng, slice(rows - broken, rows), "all")
    engine, clock = _engine(reference)
    changes: list[Change] = []
    for at in range(0, rows, _ROUND):
        engine.observe({"x": day.x[at : at + _ROUND]}, **day.part(at, at + _ROUND))
        clock.advance(1.0)
        changes += engine.evaluate()
    assert not changes, "nothing is wrong before labels come"
    engine.observe_labels(day.ids, day.labels.tolist())
    clock.advance(60.0)
    return changes + engine.evaluate()


@pytest.mark.parametrize("broken", [600, 3_000, 10_000])
def test_labels_of_a_day_tell_since_when_it_is_wrong(reference: Reference, broken: int) -> None:
    for seed in range(5):
        changes = _night(reference, seed, broken=broken)
        first = changes[0].incident
        assert first.culprit.target in ("performance", "calibration")
        assert first.cause in _OF_LABELS
        lower, upper = first.change_row_interval
        assert lower <= 20_000 - broken <= upper
        assert upper - lower <= 2_000


@pytest.mark.slow
def test_labels_of_quiet_days_open_nothing(reference: Reference) -> None:
    """A million labelled rows at one false incident per 100,000: ten, give or take chance."""
    opened = sum(
        change.state == "opened"
        for seed in range(50)
        for change in _night(reference, 100 + seed, broken=0)
    )
    assert opened <= poisson.ppf(0.999, 10)


def test_labels_in_any_order_are_evaluated_in_that_of_their_predictions(
    reference: Reference,
) -> None:
    rng = np.random.default_rng(5)
    day = _Rows(rng, 10_000)
    day.break_labels(rng, slice(8_000, 10_000), "all")
    order = rng.permutation(10_000)
    engine, clock = _engine(reference)
    for at in range(0, 10_000, _ROUND):
        engine.observe({"x": day.x[at : at + _ROUND]}, **day.part(at, at + _ROUND))
    clock.advance(60.0)
    engine.observe_labels([day.ids[i] for i in order], [int(day.labels[i]) for i in order])
    (opened, *_) = engine.evaluate()
    lower, upper = opened.incident.change_row_interval
    assert lower <= 8_000 <= upper


def test_labels_count_even_where_an_evaluation_in_between_fails(
    reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = _Rows(np.random.default_rng(6), 1_000)
    engine, _ = _engine(reference)
    engine.observe({"x": day.x}, **day.part(0, 1_000))

    def fails(*_: object) -> None:
        raise RuntimeError("no evaluation")

    monkeypatch.setattr(engine, "_evaluate", fails)
    with pytest.raises(RuntimeError, match="no evaluation"):
        engine.observe_labels(day.ids, day.labels.tolist())
    state = engine.state
    assert state is not None
    assert state.labelled.outcomes is not None
    assert int(state.labelled.outcomes[0].sum()) == 1_000
    assert state.pending.counts[state.sources["error:overall"]].sum() == 1_000
