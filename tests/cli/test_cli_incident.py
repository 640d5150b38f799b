"""``otel-ml incident``: what workers show is listed once, and an answer is one line for them."""

from __future__ import annotations

import getpass
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otel_ml.clock import SystemClock
from otel_ml.engine import Budget, Engine
from otel_ml.incidents import FOR_EVER, Command
from otel_ml.incidents.board import Board
from otel_ml.profile import Reference
from otel_ml.references import ACCEPTED

Call = Callable[..., Any]


def _reference(name: str = "churn") -> Reference:
    rng = np.random.default_rng(0)
    columns = {"age": rng.normal(size=3000), "pay": rng.normal(size=3000)}
    return Reference.build(columns, model_name=name)


@pytest.fixture(scope="module")
def engine() -> Engine:
    """Return the engine of a model with an open and a closed incident."""
    rng = np.random.default_rng(1)
    made = Engine(_reference(), budget=Budget(1, per="100000rows"), clock=SystemClock())

    def send(rows: int, age: float, pay: float) -> None:
        made.observe({"age": rng.normal(age, 1, rows), "pay": rng.normal(pay, 1, rows)})

    send(500, 0.0, 0.0)
    send(300, 0.0, 2.0)
    send(1500, 0.0, 0.0)
    send(300, 2.0, 0.0)
    made.evaluate()
    assert made.state is not None
    assert [len(made.state.incidents.open), len(made.state.incidents.closed)] == [1, 1]
    return made


def _post(engine: Engine, mutes: list[Command], name: str = "churn") -> Mapping[str, Any]:
    assert engine.state is not None
    held = engine.state.incidents
    return {
        "model": name,
        "version": None,
        "incidents": [i.to_json() for i in (*held.open, *held.closed)],
        "mutes": [c.to_json() for c in mutes],
    }


@pytest.fixture
def board(engine: Engine, folder: Path) -> Board:
    """Show what two workers of one model show; return the board of the second."""
    for _ in range(2):
        made = Board(folder / "st")
        made.post([_post(engine, [])])
    return made


@pytest.fixture
def ids(engine: Engine) -> tuple[str, str]:
    """Return the ids of the open and of the closed incident."""
    assert engine.state is not None
    held = engine.state.incidents
    return held.open[0].id, held.closed[0].id


@pytest.fixture
def what(engine: Engine) -> str:
    """Return cause and target of the open incident."""
    assert engine.state is not None
    return f"{engine.state.incidents.open[0].cause} of age"


def _command(folder: Path, ended: Any) -> Command:
    """Return the only command that was written, as a worker reads it."""
    assert ended.code == 0, ended.err
    (line,) = (folder / "st" / "commands.jsonl").read_text().splitlines()
    return Command.from_json(json.loads(line))


def test_list_shows_each_incident_once(
    otel_ml: Call, board: Board, ids: tuple[str, str], what: str
) -> None:
    ended = otel_ml("incident", "list", "--state", "st")
    assert ended.code == 0, ended.err
    header, row = ended.out.splitlines()
    assert header.split() == ["ID", "STATE", "SEVERITY", "PAGES", "OPENED", "MODEL", "WHAT"]
    assert row.startswith(ids[0][:12])
    assert row.split()[1:4] == ["open", "warning", "yes"]
    assert row.endswith(f"churn  {what}")


def test_list_all_and_json(otel_ml: Call, board: Board, ids: tuple[str, str]) -> None:
    ended = otel_ml("incident", "list", "--all", "--state", "st", "--json", "-")
    document = json.loads(ended.out)
    assert document.keys() == {"schema", "workers", "incidents", "mutes"}
    assert document["schema"] == "otel-ml/incidents/1"
    found = {i["id"]: i for i in document["incidents"]}
    assert {k: i["state"] for k, i in found.items()} == {ids[0]: "open", ids[1]: "closed"}
    assert found[ids[1]]["closed_reason"] == "recovered"
    assert len(found[ids[0]]["workers"]) == 2
    assert [w["state"] for w in document["workers"]] == ["running", "running"]
    assert [w["pid"] for w in document["workers"]] == [os.getpid()] * 2


def test_list_of_another_model(otel_ml: Call, board: Board) -> None:
    assert otel_ml("incident", "list", "--model", "x", "--state", "st").out == "no incidents\n"


def test_list_where_nobody_wrote(otel_ml: Call) -> None:
    ended = otel_ml("incident", "list", "--state", "st")
    assert (ended.code, ended.out) == (0, "no worker has shown incidents here yet\n")


def test_what_is_open_in_one_worker_is_open(
    otel_ml: Call, engine: Engine, board: Board, ids: tuple[str, str], folder: Path
) -> None:
    post = json.loads(json.dumps(_post(engine, [])))
    post["incidents"][0] |= {"closed_row": 9, "closed_at": time.time()}
    Board(folder / "st").post([post])
    document = json.loads(otel_ml("incident", "list", "--state", "st", "--json", "-").out)
    assert [i["id"] for i in document["incidents"]] == [ids[0]]
    assert len(document["incidents"][0]["workers"]) == 3


def test_files_of_dead_processes_are_said_to_be_stale(
    otel_ml: Call, engine: Engine, folder: Path
) -> None:
    made = Board(folder / "st")
    made.post([_post(engine, [])])
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    made.path.write_text(json.dumps(json.loads(made.path.read_text()) | {"pid": child}))
    lines = otel_ml("incident", "list", "--state", "st").out.splitlines()
    assert lines[1].split()[1] == "stale"
    assert lines[2].startswith(f"stale: worker {child} on ")
    assert "may be over" in lines[2]
    error = otel_ml("incident", "close", lines[1].split()[0], "--state", "st").err
    assert "is stale" in error


def test_muted_targets_are_listed(otel_ml: Call, engine: Engine, folder: Path) -> None:
    mute = Command("mute", 1.0, target="age", monitor="input_drift")
    until = Command("mute", 1.0, target="pay", until=time.time() + 90_000)
    Board(folder / "st").post([_post(engine, [mute, until])])
    out = otel_ml("incident", "list", "--state", "st").out
    assert "muted: age (input_drift) of churn for ever\n" in out
    assert "muted: pay of churn until 2" in out


def test_a_damaged_file_is_named(refused: Call, board: Board) -> None:
    board.path.write_text("nonsense")
    error = refused("incident", "list", "--state", "st")
    assert f"{board.path.name}: no list of incidents" in error


def test_show(otel_ml: Call, board: Board, ids: tuple[str, str], what: str) -> None:
    ended = otel_ml("incident", "show", ids[0][:5], "--state", "st")
    assert ended.code == 0, ended.err
    for part in (
        f"incident {ids[0]} of churn: open, warning",
        "pages        yes",
        "input_drift: age moved",
        "next step    ",
        f"runbook      docs/runbooks/{what.split(maxsplit=1)[0]}.md",
    ):
        assert part in ended.out
    closed = otel_ml("incident", "show", ids[1], "--state", "st")
    assert "(recovered)" in closed.out
    document = json.loads(otel_ml("incident", "show", ids[0], "--state", "st", "--json", "-").out)
    assert document["incident"]["members"][0]["target"] == "age"


def test_show_says_which_member_is_not_sure_yet(
    otel_ml: Call, engine: Engine, folder: Path, ids: tuple[str, str]
) -> None:
    post = json.loads(json.dumps(_post(engine, [])))
    (first,) = (i for i in post["incidents"] if i["id"] == ids[0])
    assert not any(member["tentative"] for member in first["members"])
    early = {**first["members"][0], "text": "pay moved", "tentative": True}
    first["members"].append(early)
    Board(folder / "st").post([post])
    out = otel_ml("incident", "show", ids[0], "--state", "st").out
    assert "input_drift: pay moved (to be confirmed)\n" in out
    assert out.count("(to be confirmed)") == 1


@pytest.mark.parametrize("verb", ["show", "mute", "unmute", "acknowledge", "close"])
def test_an_unknown_id_lists_those_that_are_open(
    refused: Call, board: Board, ids: tuple[str, str], what: str, verb: str
) -> None:
    error = refused("incident", verb, "nothing", "--state", "st")
    assert "no incident 'nothing'" in error
    assert f"open are {ids[0]} ({what})" in error
    assert ids[1] not in error


def test_an_ambiguous_beginning(refused: Call, engine: Engine, folder: Path) -> None:
    post = json.loads(json.dumps(_post(engine, [])))
    for incident, name in zip(post["incidents"], ("ab1", "ab2"), strict=True):
        incident["id"] = name
    Board(folder / "st").post([post])
    error = refused("incident", "show", "ab", "--state", "st")
    assert "'ab' is the beginning of 2 ids" in error
    assert "ab1" in error
    assert "ab2" in error


def test_mute(otel_ml: Call, board: Board, ids: tuple[str, str], folder: Path) -> None:
    before = time.time()
    ended = otel_ml("incident", "mute", ids[0][:6], "--for", "7d", "--state", "st")
    command = _command(folder, ended)
    assert (command.verb, command.id, command.model) == ("mute", ids[0], "churn")
    assert before + 7 * 86_400 <= command.until <= time.time() + 7 * 86_400
    assert "pages nobody until 2" in ended.out
    assert "2 running workers take it" in ended.out


def test_mute_for_ever(otel_ml: Call, board: Board, ids: tuple[str, str], folder: Path) -> None:
    ended = otel_ml("incident", "mute", ids[0], "--state", "st")
    assert _command(folder, ended).until == FOR_EVER
    assert "pages nobody for ever" in ended.out


def test_mute_a_target_nobody_watches_yet(otel_ml: Call, folder: Path) -> None:
    ended = otel_ml("incident", "mute", "--target", "age", "--monitor", "m", "--state", "st")
    command = _command(folder, ended)
    assert (command.id, command.target, command.monitor, command.model) == ("", "age", "m", None)
    assert "those that start later will keep to it" in ended.out


def test_unmute(otel_ml: Call, board: Board, ids: tuple[str, str], folder: Path) -> None:
    command = _command(folder, otel_ml("incident", "unmute", ids[0], "--state", "st"))
    assert (command.verb, command.id) == ("unmute", ids[0])


def test_acknowledge(otel_ml: Call, board: Board, ids: tuple[str, str], folder: Path) -> None:
    ended = otel_ml(
        *("incident", "acknowledge", ids[0], "--by", "anna", "--note", "on it", "--state", "st")
    )
    command = _command(folder, ended)
    assert (command.verb, command.by, command.note) == ("acknowledge", "anna", "on it")


def test_acknowledge_by_whoever_runs_it(
    otel_ml: Call, board: Board, ids: tuple[str, str], folder: Path
) -> None:
    ended = otel_ml("incident", "acknowledge", ids[0], "--state", "st")
    assert _command(folder, ended).by == getpass.getuser()


def test_close_says_what_follows(
    otel_ml: Call, board: Board, ids: tuple[str, str], folder: Path
) -> None:
    ended = otel_ml("incident", "close", ids[0], "--state", "st", "--json", "out.json")
    assert _command(folder, ended).verb == "close"
    assert "watched again from nothing, against the same reference" in ended.out
    document = json.loads((folder / "out.json").read_text())
    assert document["command"]["id"] == ids[0]
    assert document["running_workers"] == 2


def test_what_is_closed_cannot_be_closed(refused: Call, board: Board, ids: tuple[str, str]) -> None:
    assert f"incident {ids[1]} is closed" in refused("incident", "close", ids[1], "--state", "st")


def test_re_reference_from_a_file(otel_ml: Call, board: Board, folder: Path) -> None:
    new = _reference()
    new.save(folder / "new.json")
    ended = otel_ml(
        "incident", "re-reference", "--model", "churn", "--file", "new.json", "--state", "st"
    )
    command = _command(folder, ended)
    assert (command.verb, command.model, command.reference) == ("re-reference", "churn", new.id)
    assert Reference.load(folder / "st" / ACCEPTED / f"{new.id}.json").id == new.id
    assert f"compared with reference {new.id} from now on" in ended.out


def test_re_reference_from_traffic(otel_ml: Call, board: Board, folder: Path) -> None:
    ended = otel_ml(
        "incident", "re-reference", "--model", "churn", "--from-traffic", "500", "--state", "st"
    )
    command = _command(folder, ended)
    assert (command.rows, command.reference) == (500, "")
    assert "nothing is watched until then" in ended.out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("mute",), "neither an ID nor --target given"),
        (("mute", "x", "--target", "age"), "both an ID and --target given"),
        (("mute", "--target", "age", "--for", "100rows"), "rows are no time"),
        (("mute", "--target", "age", "--for", "soon"), "soon"),
        (("mute", "--target", "age", "--model", "chrun"), "models are churn"),
        (("re-reference", "--model", "chrun", "--from-traffic", "5"), "models are churn"),
        (("re-reference", "--model", "churn", "--from-traffic", "0"), "no number of rows"),
        (("re-reference", "--model", "churn", "--file", "gone.json"), "gone.json"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    refused: Call, board: Board, arguments: tuple[str, ...], problem: str
) -> None:
    assert problem in refused("incident", *arguments, "--state", "st")


def test_options_of_a_target_do_not_go_with_an_id(
    refused: Call, board: Board, ids: tuple[str, str]
) -> None:
    error = refused("incident", "mute", ids[0], "--monitor", "input_drift", "--state", "st")
    assert "--monitor and --model are for --target" in error


def test_the_reference_of_another_model(refused: Call, board: Board, folder: Path) -> None:
    _reference("other").save(folder / "new.json")
    error = refused(
        "incident", "re-reference", "--model", "churn", "--file", "new.json", "--state", "st"
    )
    assert "a reference of model 'other', not 'churn'" in error


def test_re_reference_needs_a_running_worker(refused: Call, engine: Engine, folder: Path) -> None:
    Board(folder / "st").post([_post(engine, [])], ended=True)
    error = refused(
        "incident", "re-reference", "--model", "churn", "--from-traffic", "5", "--state", "st"
    )
    assert "no running worker of st serves a model 'churn'" in error


def test_no_state_directory(refused: Call) -> None:
    error = refused("incident", "list")
    assert "no state directory is known" in error


def test_help_has_examples(otel_ml: Call) -> None:
    ended = otel_ml("incident", "--help")
    assert ended.code == 0
    assert "otel-ml incident mute 3f2a --for 7d" in ended.out
    for verb in ("list", "show", "mute", "unmute", "acknowledge", "close", "re-reference"):
        assert otel_ml("incident", verb, "--help").code == 0
        assert verb in ended.out
