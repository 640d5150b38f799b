"""Commands of people: who is woken, what closes, what is watched again, and all after a restart."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from otel_ml.engine import Budget, Engine
from otel_ml.errors import DataError, StateError
from otel_ml.incidents import FOR_EVER, Change, Command, Incident
from otel_ml.learning import Learner
from otel_ml.profile import Reference
from otel_ml.testing import ManualClock
from otel_ml.types import ModelKey

_NOW = 1_700_000_000.0
_DAY = 86_400.0


def _reference(seed: int = 0, shift: float = 0.0) -> Reference:
    rng = np.random.default_rng(seed)
    columns = {"a": rng.normal(shift, 1, 5000), "b": rng.normal(size=5000)}
    scores = 1 / (1 + np.exp(shift - columns["a"]))
    return Reference.build(
        columns,
        scores=scores,
        labels=(rng.random(5000) < scores).astype(int),
        sensitivity={"a": 0.2, "b": 0.2},
        model_name="m",
    )


class _Served:
    """Rows of a model whose columns ``a`` and ``b`` can be moved."""

    def __init__(self, engine: Engine | None = None) -> None:
        self.clock = ManualClock(_NOW)
        self.engine = engine or Engine(
            _reference(), budget=Budget(1, per="100000rows"), clock=self.clock
        )
        self.rng = np.random.default_rng(3)

    def send(
        self, rows: int, *, a: float = 0.0, b: float = 0.0, wrong: bool = False
    ) -> list[Change]:
        """Serve rows; labels come at once, and are turned round where `wrong`."""
        changes = []
        for _ in range(rows // 50):
            columns = {"a": self.rng.normal(size=50), "b": self.rng.normal(size=50)}
            scores = 1 / (1 + np.exp(-columns["a"]))
            labels = (self.rng.random(50) < scores).astype(int)
            columns = {"a": columns["a"] + a, "b": columns["b"] + b}
            ids = [str(self.engine.rows + i) for i in range(50)]
            self.engine.observe(columns, scores=scores, ids=ids)
            self.engine.observe_labels(ids, (1 - labels if wrong else labels).tolist())
            changes += self.engine.evaluate(self.clock.time())
        return changes

    def restarted(self) -> None:
        """Go on from a snapshot that went through JSON."""
        state = json.loads(json.dumps(self.engine.snapshot(), allow_nan=False))
        self.engine = Engine.restore(state, clock=self.clock)

    @property
    def incident(self) -> Incident:
        (found,) = self.engine.incidents
        return found


@pytest.fixture(params=[False, True], ids=["going on", "restarted"])
def again(request: pytest.FixtureRequest) -> Callable[[_Served], None]:
    """Restart after every command, or not."""

    def go_on(served: _Served) -> None:
        if request.param:
            served.restarted()

    return go_on


Again = Callable[[_Served], None]


def _faulty(**fault: Any) -> _Served:
    served = _Served()
    served.send(500)
    served.send(400, **fault)
    assert served.incident.paged
    return served


def _states(changes: list[Change]) -> list[str]:
    return [c.state for c in changes]


def test_a_muted_incident_pages_nobody_and_is_followed_all_the_same(again: Again) -> None:
    served = _faulty(a=1.0)
    name = served.incident.id
    told = served.engine.apply(Command("mute", _NOW, name, until=_NOW + 7 * _DAY))
    assert [(c.state, c.incident.id, c.incident.paged) for c in told] == [("updated", name, False)]
    again(served)
    severity = served.incident.severity
    assert served.incident.muted_until == _NOW + 7 * _DAY
    # whatever joins it is muted as well
    changes = served.send(1500, a=1.0, wrong=True)
    joined = next(i for i in served.engine.incidents if i.id == name)
    assert not joined.paged
    assert joined.severity in (severity, "critical")
    assert not any(c.incident.paged for c in changes if c.incident.id == name)


def test_a_mute_ends(again: Again) -> None:
    served = _faulty(a=1.0)
    served.engine.apply(Command("mute", _NOW, served.incident.id, until=_NOW + 3600))
    again(served)
    served.clock.advance(3599)
    assert served.send(100, a=1.0) == []
    served.clock.advance(2)
    (change,) = served.send(50, a=1.0)
    assert change.state == "updated"
    assert change.incident.paged
    assert change.incident.muted_until is None


def test_a_mute_ends_without_traffic() -> None:
    served = _faulty(a=1.0)
    served.engine.apply(Command("mute", _NOW, served.incident.id, until=_NOW + 60))
    assert served.engine.state is not None
    assert served.engine.state.incidents.expire(_NOW + 59) == []
    (change,) = served.engine.state.incidents.expire(_NOW + 61)
    assert change.incident.paged


def test_unmute(again: Again) -> None:
    served = _faulty(a=1.0)
    name = served.incident.id
    served.engine.apply(Command("mute", _NOW, name))
    again(served)
    assert served.incident.muted_until == FOR_EVER
    assert not served.incident.paged
    (change,) = served.engine.apply(Command("unmute", _NOW, name))
    assert change.incident.paged
    assert served.engine.apply(Command("unmute", _NOW, name)) == [], "nothing new"


@pytest.mark.parametrize("monitor", ["", "input_drift"])
def test_a_muted_target_is_recorded_and_pages_nobody(again: Again, monitor: str) -> None:
    served = _Served()
    served.send(500)
    mute = Command("mute", _NOW, target="a", monitor=monitor, until=_NOW + 30 * _DAY)
    assert served.engine.apply(mute) == []
    again(served)
    changes = served.send(300, a=0.8)
    assert _states(changes)[0] == "opened"
    assert {(c.incident.severity, c.incident.paged) for c in changes} == {("info", False)}
    assert {m.monitor for m in served.incident.members} == {"input_drift"}
    # another target pages as ever
    changes = served.send(300, a=0.8, b=1.0)
    (opened,) = [c.incident for c in changes if c.state == "opened"]
    assert opened.culprit.target == "b"
    assert opened.paged
    # and so does this one, once the mute is over
    served.clock.advance(31 * _DAY)
    served.send(50, a=0.8, b=1.0)
    (first,) = [i for i in served.engine.incidents if i.culprit.target == "a"]
    assert (first.severity, first.paged) == ("warning", True)


def test_a_mute_of_another_monitor_or_target_mutes_nothing() -> None:
    served = _Served()
    served.send(500)
    served.engine.apply(Command("mute", _NOW, target="a", monitor="data_quality"))
    served.engine.apply(Command("mute", _NOW, target="b"))
    served.send(300, a=1.0)
    assert served.incident.paged


def test_unmuting_a_target(again: Again) -> None:
    served = _Served()
    served.engine.apply(Command("mute", _NOW, target="a"))
    served.send(500)
    served.send(300, a=0.8)
    again(served)
    assert not served.incident.paged
    (change,) = served.engine.apply(Command("unmute", _NOW, target="a"))
    assert change.incident.paged


def test_what_an_unmuted_stream_shows_pages_though_the_culprit_is_muted() -> None:
    served = _Served()
    served.engine.apply(Command("mute", _NOW, target="a"))
    served.send(500)
    for _ in range(20):
        served.send(50, a=0.8, wrong=True)
    members = {m.monitor for i in served.engine.incidents for m in i.members if i.paged}
    assert "performance" in members


def test_acknowledged_pages_nobody_until_it_gets_worse(again: Again) -> None:
    served = _faulty(a=1.0)
    assert served.incident.severity == "warning"
    name = served.incident.id
    command = Command("acknowledge", _NOW, name, by="anna", note="rolling back")
    (change,) = served.engine.apply(command)
    assert change.state == "updated"
    assert (change.incident.acknowledged_by, change.incident.note) == ("anna", "rolling back")
    assert not change.incident.paged
    again(served)
    assert served.send(50, a=1.0) == []
    assert served.incident.acknowledged
    # labels of the next rows go wrong: it is worse than anna knew
    worse = _worse(served, name)
    assert worse.severity == "critical"
    assert worse.paged
    assert not worse.acknowledged
    # reading the command again does not silence it
    assert served.engine.apply(command) == []
    assert served.incident.paged
    # but saying it again does
    (change,) = served.engine.apply(Command("acknowledge", _NOW + 1, name, by="anna"))
    assert not change.incident.paged


def _worse(served: _Served, name: str) -> Incident:
    """Let labels say that the rows since the change are judged wrongly."""
    for _ in range(40):
        for change in served.send(50, a=1.0, wrong=True):
            if change.incident.id == name and change.incident.severity == "critical":
                assert change.state == "updated"
                return change.incident
    raise AssertionError("errors did not join the incident")


def test_close_looks_again_from_nothing_against_the_same_reference(again: Again) -> None:
    served = _faulty(a=1.0)
    first = served.incident
    frozen = served.engine.reference
    (change,) = served.engine.apply(Command("close", _NOW, first.id, note="known"))
    assert change.state == "closed"
    assert (change.incident.closed_reason, change.incident.note) == ("command", "known")
    assert change.incident.closed_row == served.engine.rows
    assert served.engine.incidents == ()
    assert served.engine.state is not None
    evidence = served.engine.state.detector.evidence()
    held = [m.stream for m in first.members]
    assert np.isneginf(evidence[held]).all(), "evidence starts from nothing"
    again(served)
    assert frozen is not None
    assert served.engine.reference is not None
    assert served.engine.reference.id == frozen.id
    # it persists: another incident, of rows since then only
    changes = served.send(600, a=1.0)
    opened = [c.incident for c in changes if c.state == "opened"]
    assert opened[0].id != first.id
    assert opened[0].change_row_interval[0] >= (change.incident.closed_row or 0)
    assert opened[0].reopened == 0


def test_closing_what_is_over_stays_over() -> None:
    served = _faulty(a=1.0)
    served.engine.apply(Command("close", _NOW, served.incident.id))
    assert served.send(3000) == []


def test_what_is_said_of_an_incident_before_it_opens_here_holds(again: Again) -> None:
    """Another replica was first: its id is known, and so is who takes care of it."""
    other = _faulty(a=1.0)
    name = other.incident.id
    served = _Served()
    served.send(500)
    assert served.engine.apply(Command("acknowledge", _NOW, name, by="anna")) == []
    assert served.engine.apply(Command("mute", _NOW, name)) == []
    again(served)
    changes = served.send(400, a=1.0)
    assert changes[0].state == "opened"
    assert changes[0].incident.id == name
    assert changes[0].incident.acknowledged_by == "anna"
    assert not changes[0].incident.paged


def test_commands_on_ids_that_never_come_are_forgotten() -> None:
    served = _Served()
    for i in range(1000):
        served.engine.apply(Command("mute", _NOW, f"none{i}"))
    assert len(served.engine.snapshot()["state"]["incidents"]["attention"]["waiting"]) == 200


def test_another_reference(again: Again) -> None:
    served = _faulty(a=1.0)
    first = served.incident
    served.engine.apply(Command("mute", _NOW, target="b"))
    state = served.engine.state
    assert state is not None
    opened = sum(state.incidents.opened_total.values())
    accepted = _reference(1, shift=1.0)
    (change,) = served.engine.re_reference(accepted)
    assert change.state == "closed"
    assert (change.incident.id, change.incident.closed_reason) == (first.id, "re-referenced")
    again(served)
    assert served.engine.reference is not None
    assert served.engine.reference.id == accepted.id
    assert served.send(3000, a=1.0) == [], "this is normal now"
    changes = served.send(400, a=1.0, b=1.0)
    assert "opened" in _states(changes), "and this is not"
    assert served.engine.state is not None
    total = sum(served.engine.state.incidents.opened_total.values())
    assert total > opened, "counters go on"
    mutes = served.engine.state.incidents.attention.mutes
    assert [m.target for m in mutes] == ["b"], "what is muted stays muted"


def test_a_reference_from_traffic(again: Again) -> None:
    served = _faulty(a=1.0)
    learner = Learner(ModelKey("m"), 2000, {})
    assert _states(served.engine.re_reference(learn=learner)) == ["closed"]
    assert served.engine.snapshot()["reference"] is None
    again(served)
    assert served.send(2000, a=1.0) == []
    assert served.engine.snapshot()["reference"]["source"] == "traffic"
    assert served.send(2000, a=1.0) == []
    served.send(500, a=-1.0)
    assert served.engine.incidents


def test_neither_or_both_are_refused_and_change_nothing() -> None:
    served = _faulty(a=1.0)
    for both in (
        {},
        {"reference": _reference(), "learn": Learner(ModelKey("m"), 10, {})},
    ):
        with pytest.raises(StateError, match="one of reference and learn"):
            served.engine.re_reference(**both)  # type: ignore[arg-type]  # this is what is tested
    assert served.incident.closed_row is None


def test_commands_while_learning_say_nothing() -> None:
    engine = Engine(clock=ManualClock(_NOW))
    assert engine.apply(Command("close", _NOW, "x")) == []


@pytest.mark.parametrize(
    "command",
    [
        Command("mute", 1.0, "abc", model="m", until=2.0, by="anna"),
        Command("unmute", 1.0, target="age", monitor="input_drift"),
        Command("acknowledge", 1.0, "abc", note="é"),
        Command("close", 1.0, "abc"),
        Command("re-reference", 1.0, model="m", reference="0a1b"),
        Command("re-reference", 1.0, model="m", rows=500),
    ],
    ids=lambda c: str(c.verb),
)
def test_a_command_survives_its_line(command: Command) -> None:
    assert Command.from_json(json.loads(json.dumps(command.to_json()))) == command


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"at": 1.0, "id": "a"}, "verb"),
        ({"verb": "explode", "at": 1.0, "id": "a"}, "verb"),
        ({"verb": "mute", "id": "a"}, "at"),
        ({"verb": "mute", "at": "soon", "id": "a"}, "at"),
        ({"verb": "mute", "at": float("nan"), "id": "a"}, "at"),
        ({"verb": "mute", "at": 1.0}, "id"),
        ({"verb": "close", "at": 1.0, "target": "age"}, "id"),
        ({"verb": "mute", "at": 1.0, "id": 3}, "id"),
        ({"verb": "mute", "at": 1.0, "id": "a", "until": None}, "until"),
        ({"verb": "re-reference", "at": 1.0, "model": "m"}, "reference"),
        ({"verb": "re-reference", "at": 1.0, "reference": "ab"}, "reference"),
        ({"verb": "re-reference", "at": 1.0, "model": "m", "reference": "../x"}, "reference"),
    ],
)
def test_what_is_no_command_is_refused(data: dict[str, Any], key: str) -> None:
    with pytest.raises(DataError, match=f"no command: {key} is"):
        Command.from_json(data)
