"""Work that takes long gives way: the interpreter is another thread's again and again."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from otel_ml import Engine, Reference, counting, samples, turns
from otel_ml.monitors import detector
from otel_ml.profile import coder, derived, duplicates, live_dependence, matrix
from otel_ml.samples import model_samples
from otel_ml.tally import Tally
from otel_ml.types import ModelKey

ROWS = 1_000


class Clock:
    """A clock that is set by hand, and counts the turns it saw given away."""

    def __init__(self) -> None:
        self.now = 100.0
        self.given = 0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds == 0
        self.given += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(
        turns, "time", SimpleNamespace(perf_counter=clock.perf_counter, sleep=clock.sleep)
    )
    monkeypatch.setattr(turns, "_since", clock.now)
    return clock


def test_a_turn_is_given_once_in_a_twentieth_of_a_millisecond(clock: Clock) -> None:
    for _ in range(100):
        turns.give_way()
    assert clock.given == 0
    clock.now += 0.00006
    for _ in range(100):
        turns.give_way()
    assert clock.given == 1
    clock.now += 0.00004
    turns.give_way()
    assert clock.given == 1
    clock.now += 0.00002
    turns.give_way()
    assert clock.given == 2


@pytest.fixture
def watching() -> Engine:
    rng = np.random.default_rng(0)
    taught = {f"f{i}": rng.normal(size=2_000) for i in range(5)}
    texts = np.array(["a", "b"] * 1_000, dtype=object)
    return Engine(Reference.build({**taught, "text": texts}, model_name="m"))


def rows() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    texts = np.array(["a", "b"] * (ROWS // 2), dtype=object)
    return {**{f"f{i}": rng.normal(size=ROWS) for i in range(5)}, "text": texts}


def test_every_evaluation_gives_way(watching: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr(counting, "give_way", lambda: given.append(watching.rows))
    watching.observe(rows())
    counted = [row for row in dict.fromkeys(given) if row]  # some steps come before any row counts
    assert counted == list(range(50, ROWS + 1, 50))


STEPS = (coder, derived, duplicates, live_dependence, matrix, detector)


@pytest.mark.parametrize("module", STEPS, ids=lambda module: module.__name__.split(".")[-1])
def test_the_steps_of_an_evaluation_give_way(
    watching: Engine, monkeypatch: pytest.MonkeyPatch, module: ModuleType
) -> None:
    given: list[None] = []
    monkeypatch.setattr(module, "give_way", lambda: given.append(None))
    watching.observe(rows())
    assert given


def test_every_sample_gives_way(watching: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    watching.observe(rows())
    given: list[None] = []
    monkeypatch.setattr(samples, "give_way", lambda: given.append(None))
    found = model_samples(ModelKey("m"), watching, Tally(), set(), 5)
    assert len(given) == len(found) > 50
