"""Labels in any order, against a plain model of what must become of each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from otel_ml.profile.labels import LabelJoin
from tests.faults import odd

IDS = st.sampled_from([f"id{i}" for i in range(12)])
ALIASES = st.none() | st.sampled_from([f"alias{i}" for i in range(4)])
LABELS = st.sampled_from(["0", "1", None])


class Labels(RuleBasedStateMachine):
    """Never, twice equal, twice different, early, late, of unknown and of reused ids.

    The reference model is a dictionary of what is known of each id; it never forgets, so the
    capacity is large here. `Forgetting` is the part about room.
    """

    def __init__(self) -> None:
        super().__init__()
        self.join: LabelJoin[int] = LabelJoin(capacity=10_000)
        self.predicted: dict[str, int] = {}
        self.label: dict[str, str] = {}
        self.early: dict[str, str] = {}
        self.states = dict.fromkeys(self.join.states, 0)
        self.joined: list[tuple[int, str]] = []
        self.number = 0

    @rule(key=IDS)
    def predict(self, key: str) -> None:
        self.number += 1
        found = self.join.expect([key], [self.number])
        self.predicted[key] = self.number
        self.label.pop(key, None)  # an id that is used again names the later prediction
        early = self.early.pop(key, None)
        if early is not None:
            self.states["unknown"] -= 1
            self._join(key, early)
        assert [(j.payload, j.label) for j in found] == (
            [] if early is None else [(self.number, early)]
        )

    @rule(key=IDS, label=LABELS)
    def give_a_label(self, key: str, label: str | None) -> None:
        found = self.join.labels([key], [label])
        expected: list[tuple[int, str]] = []
        if label is not None:
            if key not in self.predicted:
                self._early(key, label)
            elif key in self.label:
                same = self.label[key] == label
                self.states["duplicate" if same else "conflict"] += 1
            else:
                self._join(key, label)
                expected = [(self.predicted[key], label)]
        assert [(j.payload, j.label) for j in found] == expected

    def _early(self, key: str, label: str) -> None:
        if key in self.early:
            self.states["duplicate" if self.early[key] == label else "conflict"] += 1
        else:
            self.early[key] = label
            self.states["unknown"] += 1

    def _join(self, key: str, label: str) -> None:
        self.label[key] = label
        self.states["joined"] += 1
        self.joined.append((self.predicted[key], label))

    @invariant()
    def every_label_is_in_one_state(self) -> None:
        assert self.join.states == self.states


class Forgetting(RuleBasedStateMachine):
    """Whatever comes, memory is bounded, and a prediction waits for `capacity` further ones."""

    @initialize(capacity=st.integers(1, 8))
    def begin(self, capacity: int) -> None:
        self.capacity = capacity
        self.join: LabelJoin[int] = LabelJoin(capacity)
        self.recent: list[str] = []
        self.labelled: set[str] = set()
        self.given = 0
        self.number = 0

    @rule(n=st.integers(1, 5), alias=ALIASES)
    def predict(self, n: int, alias: str | None) -> None:
        keys = [f"p{self.number + i}" for i in range(n)]
        self.number += n
        self.join.expect(keys, range(n), [alias] * n)
        self.recent = [*self.recent, *keys]

    @rule(unknown=st.integers(0, 100))
    def label_nothing(self, unknown: int) -> None:
        self.join.labels([f"never{unknown}"], ["1"])
        self.given += 1
        self.recent.append("")  # it takes room as well

    @rule(back=st.integers(0, 7), label=st.sampled_from(["0", "1"]))
    def label_a_recent_one(self, back: int, label: str) -> None:
        if back >= min(len(self.recent), self.capacity):
            return
        key = self.recent[-1 - back]
        if not key or key in self.labelled:
            return
        self.labelled.add(key)
        self.given += 1
        assert len(self.join.labels([key], [label])) == 1, "it is still waited for"

    @invariant()
    def memory_is_bounded(self) -> None:
        if hasattr(self, "join"):
            assert len(self.join) <= 2 * self.capacity
            assert sum(map(len, self.join._aliases)) <= 2 * self.capacity

    @invariant()
    def every_label_is_counted_once(self) -> None:
        if hasattr(self, "join"):
            states = self.join.states
            told = sum(n for state, n in states.items() if state != "expired")
            assert told == self.given


LONG = settings(odd.MANY, max_examples=odd.MANY.max_examples * 10, stateful_step_count=60)
TestLabels = pytest.mark.fault("B13")(Labels.TestCase)
TestLabels.settings = LONG
TestForgetting = pytest.mark.fault("B13")(Forgetting.TestCase)
TestForgetting.settings = LONG


@pytest.mark.fault("B13")
def test_one_id_of_two_models_is_two_predictions() -> None:
    """Each model waits for its own labels: nothing is joined across."""
    import otel_ml
    from otel_ml.semconv import metrics as m
    from tests.faults.oracles import faulty

    rng = np.random.default_rng(0)
    ids = [f"r{i}" for i in range(1200)]
    with faulty(settings={"learn_rows": 500}) as trial:
        for model in ("one", "other"):
            trial.observe(
                1200,
                model=model,
                features={"x": rng.normal(size=1200)},
                scores=rng.random(1200),
                ids=ids,
            )
        trial.call(otel_ml.record_labels, model="one", ids=ids, labels=["1"] * 1200)
        trial.books()
        labels = {
            model: trial.sink.samples(m.ML_LABELS, ml_model_name=model)
            for model in ("one", "other")
        }
        one = sum(float(s.value) for s in labels["one"])
        assert one >= 1200
        assert sum(float(s.value) for s in labels["other"]) == 0
