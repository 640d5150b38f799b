"""Commands in the state directory: every worker takes those for its models and shows them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otel_ml import config, pipeline
from otel_ml.inbox import COMMANDS, append_command
from otel_ml.incidents import Command
from otel_ml.incidents.board import Board, read_posts
from otel_ml.profile import Reference
from otel_ml.references import ACCEPTED
from otel_ml.semconv import metrics as m
from otel_ml.testing import MemoryPipeline

HANG = 20.0


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def start(
    monkeypatch: pytest.MonkeyPatch, state: Path, reference_file: Callable[..., Path]
) -> Iterator[Callable[..., MemoryPipeline]]:
    """Start pipelines that share a reference and a state directory."""
    running: list[MemoryPipeline] = []
    monkeypatch.setenv("OTEL_ML_STATE_DIR", str(state))
    monkeypatch.setenv("OTEL_ML_REFERENCE", str(reference_file()))

    def begin() -> MemoryPipeline:
        config.reset()
        made = MemoryPipeline()
        pipeline.replace(made)
        running.append(made)
        return made

    before = pipeline.replace(None)
    yield begin
    pipeline.replace(before)
    for each in running:
        each.shutdown(HANG)
    config.reset()


def serve(running: MemoryPipeline, calls: Any, rows: int, shift: float = 0.0) -> None:
    values = np.random.default_rng(7).normal(size=(rows, 2))
    values[:, 0] += shift
    running.submit(calls.of(values))
    assert running.flush(HANG)


def faulty(running: MemoryPipeline, calls: Any) -> str:
    """Serve a fault; return the id of its incident."""
    serve(running, calls, 1000)
    serve(running, calls, 600, shift=2.0)
    return str(running.sink.events("ml.incident")[0].attributes["ml.incident.id"])


def states(running: MemoryPipeline) -> list[Any]:
    return [e.attributes["ml.incident.state"] for e in running.sink.events("ml.incident")]


def shown(state: Path) -> list[dict[str, Any]]:
    return [dict(i) for p in read_posts(state) for model in p.models for i in model["incidents"]]


def test_mute_turns_the_alert_off_and_the_incident_stays(
    start: Any, calls: Any, state: Path
) -> None:
    running = start()
    name = faulty(running, calls)
    assert running.sink.value(m.ML_INCIDENT_ACTIVE, ml_incident_paged=True) == 1
    append_command(state, Command("mute", time.time(), name, until=time.time() + 3600))
    assert running.flush(HANG)
    assert running.sink.value(m.ML_INCIDENT_ACTIVE, ml_incident_paged=True) == 0
    assert running.sink.value(m.ML_INCIDENT_ACTIVE, ml_incident_paged=False) == 1
    event = running.sink.events("ml.incident")[-1]
    assert event.attributes["ml.incident.state"] == "updated"
    assert event.attributes["ml.incident.paged"] is False
    assert "ml.incident.muted_until" in event.attributes
    append_command(state, Command("unmute", time.time(), name))
    assert running.flush(HANG)
    assert running.sink.value(m.ML_INCIDENT_ACTIVE, ml_incident_paged=True) == 1


def test_acknowledge_and_close_are_said(start: Any, calls: Any, state: Path) -> None:
    running = start()
    name = faulty(running, calls)
    append_command(state, Command("acknowledge", time.time(), name, by="anna", note="mine"))
    assert running.flush(HANG)
    event = running.sink.events("ml.incident")[-1]
    assert event.attributes["ml.incident.acknowledged_by"] == "anna"
    assert event.attributes["ml.incident.note"] == "mine"
    append_command(state, Command("close", time.time(), name))
    assert running.flush(HANG)
    event = running.sink.events("ml.incident")[-1]
    assert event.attributes["ml.incident.state"] == "closed"
    assert event.attributes["ml.incident.closed_reason"] == "command"
    assert "against the same reference" in str(event.body)
    assert running.sink.value(m.ML_INCIDENT_ACTIVE) == 0


def test_every_worker_takes_a_command_and_leaves_other_models_alone(
    start: Any, calls: Any, state: Path
) -> None:
    first, second = start(), start()
    names = {faulty(first, calls), faulty(second, calls)}
    assert len(names) == 1, "both name the incident alike"
    append_command(state, Command("close", time.time(), names.pop(), model="another"))
    for running in (first, second):
        assert running.flush(HANG)
        assert "closed" not in states(running)
    append_command(state, Command("close", time.time(), shown(state)[0]["id"]))
    for running in (first, second):
        assert running.flush(HANG)
        assert states(running)[-1] == "closed"


def test_a_mute_holds_for_workers_that_start_later_and_a_close_does_not(
    start: Any, calls: Any, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = start()
    name = faulty(first, calls)
    assert first.shutdown(HANG)
    append_command(state, Command("mute", time.time(), target="a", model="FakeModel"))
    append_command(state, Command("mute", time.time() - 9, target="b", until=time.time() - 1))
    append_command(state, Command("close", time.time(), name))
    with (state / COMMANDS).open("a") as file:
        file.write('{"verb": "explode"}\n')
    later = start()
    assert faulty(later, calls) == name
    assert "lines of the command file are no commands" in caplog.text
    assert "closed" not in states(later)
    post = next(p for p in read_posts(state) if p.models and p.models[0]["mutes"])
    assert [mute["target"] for mute in post.models[0]["mutes"]] == ["a"], "the other one is over"
    (incident,) = [i for i in post.models[0]["incidents"] if i["id"] == name]
    # scores that moved are no stream of the muted feature
    assert incident["paged"] == any(i["target"] != "a" for i in incident["members"])


def test_incidents_are_shown_in_the_state_directory(start: Any, calls: Any, state: Path) -> None:
    running = start()
    serve(running, calls, 500)
    (post,) = read_posts(state)
    assert post.state == "running"
    assert post.pid == os.getpid()
    assert [(i["model"], i["incidents"]) for i in post.models] == [("FakeModel", [])]
    name = faulty(running, calls)
    assert name in [i["id"] for i in shown(state)]
    assert running.shutdown(HANG)
    (post,) = read_posts(state)
    assert post.state == "ended"
    (folder,) = (state / "incidents").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o600
    serve(running, calls, 50)
    (post,) = read_posts(state)
    assert post.state == "running", "it goes on with its next prediction"


def test_a_file_of_a_process_that_is_gone_is_stale(state: Path) -> None:
    Board(state).post([{"model": "m", "incidents": [], "mutes": []}])
    (post,) = read_posts(state)
    assert post.state == "running"
    (post,) = read_posts(state, time.time() + 10_000)
    assert post.state == "stale", "it has been silent for long"
    (path,) = (state / "incidents").glob("*.json")
    data = json.loads(path.read_text())
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    path.write_text(json.dumps(data | {"pid": child}))
    assert [p.state for p in read_posts(state)] == ["stale"]
    path.write_text(json.dumps(data | {"pid": child, "host": "elsewhere"}))
    assert [p.state for p in read_posts(state)] == ["running"], "of there nothing is known"


def test_files_of_long_ago_are_removed_by_whoever_starts(state: Path) -> None:
    old, young = Board(state), Board(state)
    for board in (old, young):
        board.post([])
    week = 8 * 86_400
    os.utime(old.path, (time.time() - week, time.time() - week))
    Board(state).post([])
    assert not old.path.exists()
    assert young.path.exists()


def _accepted(state: Path, shift: float) -> Reference:
    """Put a reference where a command finds it."""
    rows = np.random.default_rng(9).normal(size=(4000, 2))
    rows[:, 0] += shift
    scores = 1 / (1 + np.exp(-rows.sum(axis=1)))
    made = Reference.build(
        {"a": rows[:, 0], "b": rows[:, 1]}, scores=scores, model_name="FakeModel"
    )
    (state / ACCEPTED).mkdir(parents=True, exist_ok=True)
    made.save(state / ACCEPTED / f"{made.id}.json")
    return made


def test_a_reference_is_accepted_kept_and_said(
    start: Any, calls: Any, state: Path, tmp_path: Path
) -> None:
    first, second = start(), start()
    for running in (first, second):
        faulty(running, calls)
    configured = tmp_path / "FakeModel-reference.json"
    old = Reference.load(configured)
    new = _accepted(state, 2.0)
    append_command(state, Command("re-reference", time.time(), model="FakeModel", reference=new.id))
    for running in (first, second):
        assert running.flush(HANG)
        event = running.sink.events("ml.reference")[-1]
        assert event.attributes["ml.reference.id"] == new.id
        closed = running.sink.events("ml.incident")[-1]
        assert closed.attributes["ml.incident.state"] == "closed"
        assert closed.attributes["ml.incident.closed_reason"] == "re-referenced"
        assert running.sink.value(m.ML_INCIDENT_ACTIVE) == 0
    assert Reference.load(configured).id == new.id, "the next process starts with it"
    backups = list(tmp_path.glob("*.bak-*"))
    assert [p.name for p in backups] == [f"{configured.name}.bak-{old.id}"]
    assert Reference.load(backups[0]).id == old.id
    third = start()
    serve(third, calls, 50)
    assert third.sink.events("ml.reference")[-1].attributes["ml.reference.id"] == new.id


def test_a_reference_that_is_not_there_changes_nothing(
    start: Any, calls: Any, state: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    running = start()
    faulty(running, calls)
    before = (tmp_path / "FakeModel-reference.json").read_bytes()
    append_command(state, Command("re-reference", time.time(), model="FakeModel", reference="ab12"))
    assert running.flush(HANG)
    assert "closed" not in states(running)
    assert (tmp_path / "FakeModel-reference.json").read_bytes() == before
    assert "cannot read the reference" in caplog.text


def test_a_reference_is_learned_from_traffic_once_for_all_workers(
    start: Any, calls: Any, state: Path, tmp_path: Path
) -> None:
    first, second = start(), start()
    for running in (first, second):
        faulty(running, calls)
    configured = tmp_path / "FakeModel-reference.json"
    old = Reference.load(configured)
    append_command(state, Command("re-reference", time.time(), model="FakeModel", rows=1000))
    ids: list[Any] = []
    for running in (first, second):
        assert running.flush(HANG)
        event = running.sink.events("ml.reference")[-1]
        assert event.attributes["ml.reference.state"] == "learning"
        serve(running, calls, 400, shift=2.0)
        assert running.sink.events("ml.reference")[-1] == event
        serve(running, calls, 600 + 50 * len(ids), shift=2.0)
        event = running.sink.events("ml.reference")[-1]
        assert event.attributes["ml.reference.state"] == "frozen"
        ids.append(event.attributes["ml.reference.id"])
        opened = running.sink.value(m.ML_INCIDENTS)
        assert opened == 1, "counters go on"
    assert ids[0] == ids[1] == Reference.load(configured).id != old.id
    assert [p.name for p in tmp_path.glob("*.bak-*")] == [f"{configured.name}.bak-{old.id}"]


def test_a_file_that_cannot_be_written_does_not_end_monitoring(
    start: Any, calls: Any, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state.mkdir()
    (state / "incidents").write_text("in the way")
    running = start()
    faulty(running, calls)
    assert "opened" in states(running)
    assert "Board.post" in caplog.text or "_post" in caplog.text
