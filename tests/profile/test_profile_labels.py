"""Labels find their predictions, against a plain dictionary: any order, any delay, bounded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from otel_ml.profile import LabelJoin

_ids = st.sampled_from(["a", "b", "c", "d", "e"])
_labels = st.sampled_from(["0", "1", None])


def _joined(found: list[Any]) -> list[tuple[int, str]]:
    return [(j.payload, j.label) for j in found]


class AgainstADictionary(RuleBasedStateMachine):
    """With room for all, the join is a dictionary of predictions and one of early labels."""

    def __init__(self) -> None:
        super().__init__()
        self.join: LabelJoin[int] = LabelJoin(10_000)
        self.predictions: dict[str, tuple[int, str | None]] = {}
        self.early: dict[str, str] = {}
        self.aliases: dict[str, str] = {}
        self.states = dict.fromkeys(("joined", "unknown", "duplicate", "conflict", "expired"), 0)
        self.made = 0

    @rule(key=_ids, alias=_ids | st.none())
    def predict(self, key: str, alias: str | None) -> None:
        self.made += 1
        names = [n for n in dict.fromkeys((key, alias)) if n is not None]
        found = [self.early.pop(name) for name in names if name in self.early]
        self.states["unknown"] -= len(found)
        self.states["joined"] += bool(found)
        for later in found[1:]:
            self.states["duplicate" if later == found[0] else "conflict"] += 1
        self.predictions[key] = (self.made, found[0] if found else None)
        if alias is not None and alias != key:
            self.aliases[alias] = key
        expected = [(self.made, found[0])] if found else []
        assert _joined(self.join.expect([key], [self.made], [alias])) == expected

    @rule(names=st.lists(st.tuples(_ids, _labels), max_size=4))
    def label(self, names: list[tuple[str, str | None]]) -> None:
        expected = []
        for name, label in names:
            if label is None:
                continue
            key = name if name in self.predictions else self.aliases.get(name, name)
            if key in self.predictions:
                payload, first = self.predictions[key]
                if first is None:
                    self.predictions[key] = (payload, label)
                    self.states["joined"] += 1
                    expected.append((payload, label))
                    continue
            elif key in self.early:
                first = self.early[key]
            else:
                self.early[key] = label
                self.states["unknown"] += 1
                continue
            self.states["duplicate" if first == label else "conflict"] += 1
        found = self.join.labels([n for n, _ in names], [v for _, v in names])
        assert _joined(found) == expected

    @rule()
    def restart(self) -> None:
        again: LabelJoin[int] = LabelJoin(10_000)
        text = json.dumps(self.join.to_json(lambda payload: [payload]), allow_nan=False)
        again.restore(json.loads(text), lambda held: next(iter(held)))
        self.join = again

    @invariant()
    def counts_and_size_agree(self) -> None:
        assert dict(self.join.states) == self.states
        assert len(self.join) == len(self.predictions) + len(self.early)


AgainstADictionary.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
TestAgainstADictionary = AgainstADictionary.TestCase


class Bounded(RuleBasedStateMachine):
    """With little room, what is lost is counted, and never more is held than was promised."""

    capacity = 4

    def __init__(self) -> None:
        super().__init__()
        self.join: LabelJoin[int] = LabelJoin(self.capacity)
        self.made = 0
        self.joined = 0

    @rule(alias=_ids | st.none())
    def predict(self, alias: str | None) -> None:
        self.made += 1
        self.joined += len(self.join.expect([f"p{self.made}"], [self.made], [alias]))

    @rule(back=st.integers(0, 20))
    def label_a_prediction(self, back: int) -> None:
        name = f"p{self.made - back}"
        self.joined += len(self.join.labels([name], ["1"]))

    @rule(name=_ids)
    def label_an_alias_or_nothing(self, name: str) -> None:
        self.joined += len(self.join.labels([name], ["0"]))

    @invariant()
    def nothing_is_lost_uncounted(self) -> None:
        held = self.join.to_json(lambda payload: payload)
        waiting = [
            p for _, p, label in held["young"] + held["old"] if p is not None and label is None
        ]
        assert self.join.states["joined"] == self.joined
        assert self.made == self.joined + self.join.states["expired"] + len(waiting)

    @invariant()
    def memory_is_bounded(self) -> None:
        held = self.join.to_json(lambda payload: payload)
        assert len(self.join) <= 2 * self.capacity
        assert all(len(aliases) <= self.capacity for aliases in held["aliases"])


Bounded.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestBounded = Bounded.TestCase


@pytest.mark.fault("B13")
def test_a_prediction_waits_for_as_many_further_ones_as_stated() -> None:
    join: LabelJoin[int] = LabelJoin(100)
    for i in range(1000):
        join.expect([str(i)], [i])
        if i >= 99:
            assert _joined(join.labels([str(i - 99)], ["1"])) == [(i - 99, "1")]
    assert join.states["expired"] == 0


@pytest.mark.fault("B13")
def test_what_waits_too_long_expires_once_and_its_label_is_unknown() -> None:
    join: LabelJoin[int] = LabelJoin(10)
    join.expect([str(i) for i in range(30)], range(30))
    assert join.states["expired"] == 10
    assert join.labels(["0"], ["1"]) == []
    assert join.states["unknown"] == 1


@pytest.mark.fault("B13")
def test_a_real_id_comes_before_an_alias_of_the_same_name() -> None:
    join: LabelJoin[str] = LabelJoin(10)
    join.expect(["victim"], ["first"])
    join.expect(["mine"], ["second"], ["victim"])  # a request id chosen to be another's prediction
    assert _joined(join.labels(["victim"], ["1"])) == [("first", "1")]  # type: ignore[comparison-overlap]


@pytest.mark.fault("B13")
def test_many_aliases_of_one_prediction_do_not_grow_without_bound() -> None:
    join: LabelJoin[int] = LabelJoin(50)
    for i in range(1000):
        join.expect(["same"], [i], [f"request-{i}"])
    assert sum(len(a) for a in join.to_json(lambda payload: payload)["aliases"]) <= 100
    assert _joined(join.labels(["request-999"], ["1"])) == [(999, "1")]


@pytest.mark.fault("B13")
def test_an_id_used_again_names_the_later_prediction() -> None:
    join: LabelJoin[int] = LabelJoin(10)
    join.expect(["a"], [1])
    join.expect(["a"], [2])
    assert _joined(join.labels(["a", "a"], ["1", "1"])) == [(2, "1")]
    assert join.states["duplicate"] == 1


def test_ids_and_labels_of_different_number_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        LabelJoin[int](10).labels(["a", "b"], ["1"])


def test_an_id_used_again_after_a_generation_is_held_once_and_does_not_expire() -> None:
    join: LabelJoin[int] = LabelJoin(2)
    join.expect(["a", "b", "c"], [1, 2, 3])
    join.expect(["a"], [4])
    assert len(join) == 3
    join.expect(["d"], [5])
    assert join.states["expired"] == 1  # b
    assert _joined(join.labels(["a"], ["1"])) == [(4, "1")]
