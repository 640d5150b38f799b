"""The label file: partial, malformed and huge lines, truncation, rotation, several readers."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from otel_ml.errors import StateError
from otel_ml.inbox import COMMANDS, LABELS, Inbox, LabelLine, append_command, append_labels
from otel_ml.incidents import Command
from otel_ml.incidents.commands import Verb


def lines(*ids: str) -> list[LabelLine]:
    return [LabelLine(None, i, 1) for i in ids]


def ids(inbox: Inbox) -> list[str]:
    return [line.id for line in inbox.read()]


def test_what_was_there_before_is_not_read_and_what_follows_is_read_once(tmp_path: Path) -> None:
    append_labels(tmp_path, lines("old"))
    inbox = Inbox(tmp_path)
    assert ids(inbox) == []
    append_labels(tmp_path, lines("a", "b"))
    assert ids(inbox) == ["a", "b"]
    assert ids(inbox) == []
    append_labels(tmp_path, lines("c"))
    assert ids(inbox) == ["c"]


def test_the_directory_may_come_into_being_later(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "a" / "b")
    assert ids(inbox) == []
    append_labels(tmp_path / "a" / "b", lines("x"))
    assert ids(inbox) == ["x"]


def test_files_are_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        append_labels(tmp_path / "state", lines("x"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "state" / LABELS).stat().st_mode) == 0o600


def test_two_readers_each_read_everything(tmp_path: Path) -> None:
    first, second = Inbox(tmp_path), Inbox(tmp_path)
    append_labels(tmp_path, lines("a"))
    assert ids(first) == ["a"]
    append_labels(tmp_path, lines("b"))
    assert ids(first) == ["b"]
    assert ids(second) == ["a", "b"]


def test_a_partial_line_waits_for_its_end(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    text = b'{"model": null, "id": "a", "label": "\xc3\xa9"}\n'
    for i in range(len(text)):
        with (tmp_path / LABELS).open("ab") as file:
            file.write(text[i : i + 1])
        found = inbox.read()
        assert [(line.id, line.label) for line in found] == (
            [("a", "é")] if i == len(text) - 1 else []
        )
    assert inbox.malformed == 0


@pytest.mark.parametrize(
    "bad",
    [
        "{",
        "[]",
        "3",
        "null",
        '{"id": "a"}',
        '{"label": 1}',
        '{"id": "a", "label": null}',
        "\x00\xff",
        "[" * 30_000,
        '{"id": "' + "x" * 70_000 + '", "label": 1}',
        '{"id": "' + "x" * 9_000_000 + '", "label": 1}',
    ],
    ids=lambda text: text[:12],
)
def test_a_malformed_line_is_counted_and_its_neighbours_are_read(tmp_path: Path, bad: str) -> None:
    inbox = Inbox(tmp_path)
    append_labels(tmp_path, lines("a"))
    with (tmp_path / LABELS).open("a", encoding="latin-1") as file:
        file.write(bad + "\n\n  \n")
    append_labels(tmp_path, lines("b"))
    assert ids(inbox) == ["a", "b"]
    assert inbox.malformed == 1
    assert len(inbox.labels.rest) < 1_000_000


def test_memory_is_bounded_while_a_line_never_ends(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    for _ in range(5):
        with (tmp_path / LABELS).open("ab") as file:
            file.write(b"x" * 5_000_000)
        assert inbox.read() == []
        assert len(inbox.labels.rest) < 1_000_000
    assert inbox.malformed == 1
    append_labels(tmp_path, lines("a"))
    assert ids(inbox) == ["a"]


def test_truncation_starts_anew(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    append_labels(tmp_path, lines("aaaaaaaaaaaaaaaa"))
    assert ids(inbox) == ["aaaaaaaaaaaaaaaa"]
    os.truncate(tmp_path / LABELS, 0)
    assert ids(inbox) == []
    append_labels(tmp_path, lines("b"))
    assert ids(inbox) == ["b"]


def test_rotation_loses_nothing(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    append_labels(tmp_path, lines("a"))
    assert ids(inbox) == ["a"]
    append_labels(tmp_path, lines("late"))  # not read yet when the file is renamed
    (tmp_path / LABELS).rename(tmp_path / "labels.1")
    append_labels(tmp_path, lines("b", "c"))
    assert ids(inbox) == ["late", "b", "c"]
    (tmp_path / LABELS).rename(tmp_path / "labels.2")
    assert ids(inbox) == []
    append_labels(tmp_path, lines("d"))
    assert ids(inbox) == ["d"]


def test_a_deleted_file_is_not_mistaken_for_the_next(tmp_path: Path) -> None:
    """A file system gives the place of a deleted file to the next one."""
    inbox = Inbox(tmp_path)
    append_labels(tmp_path, lines("a"))
    assert ids(inbox) == ["a"]
    (tmp_path / LABELS).unlink()
    append_labels(tmp_path, lines("b", "c", "d"))
    assert ids(inbox) == ["b", "c", "d"]


def test_a_half_line_of_a_rotated_file_is_counted(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    (tmp_path / LABELS).write_text('{"id": "a", "la')
    assert ids(inbox) == []
    (tmp_path / LABELS).rename(tmp_path / "labels.1")
    append_labels(tmp_path, lines("b"))
    assert ids(inbox) == ["b"]
    assert inbox.malformed == 1


def test_a_line_cut_short_by_its_writer_takes_no_other_along(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    (tmp_path / LABELS).write_text('{"id": "a", "la')
    append_labels(tmp_path, lines("b"))
    assert ids(inbox) == ["b"]
    assert inbox.malformed == 1


def test_many_labels_are_read_at_once(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    wanted = [f"{i:040}" for i in range(100_000)]
    append_labels(tmp_path, lines(*wanted))
    assert (tmp_path / LABELS).stat().st_size > 4 * 1024 * 1024
    assert ids(inbox) == wanted


def test_writers_in_several_processes_do_not_break_each_others_lines(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    code = (
        "import sys; from pathlib import Path; from otel_ml.inbox import *\n"
        "for i in range(300):\n"
        "    append_labels(Path(sys.argv[1]), [LabelLine('m', f'{sys.argv[2]}-{i}', 'x' * 200)])"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), str(k)], cwd=Path(__file__).parents[2]
        )
        for k in range(4)
    ]
    assert [process.wait(60) for process in running] == [0] * 4
    assert sorted(ids(inbox)) == sorted(f"{k}-{i}" for k in range(4) for i in range(300))
    assert inbox.malformed == 0


def test_lines_are_as_documented(tmp_path: Path) -> None:
    append_labels(tmp_path, [LabelLine("m", "a", 1.5), LabelLine(None, "b", "yes")])
    found = [json.loads(line) for line in (tmp_path / LABELS).read_text().splitlines()]
    assert found == [
        {"model": "m", "id": "a", "label": 1.5},
        {"model": None, "id": "b", "label": "yes"},
    ]


def test_a_place_that_cannot_be_written_is_named_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="file") as caught:
        append_labels(tmp_path / "file", lines("a"))
    assert "OTEL_ML_STATE_DIR" in caught.value.remedy


def test_an_unreadable_file_is_no_error(tmp_path: Path) -> None:
    (tmp_path / LABELS).mkdir()
    assert Inbox(tmp_path).read() == []


def _verbs(inbox: Inbox) -> list[str]:
    return [f"{c.verb} {c.id}" for c in inbox.commands()]


def test_of_earlier_commands_those_are_read_that_still_hold(tmp_path: Path) -> None:
    verbs: tuple[Verb, ...] = ("mute", "close", "acknowledge", "unmute")
    for verb in verbs:
        append_command(tmp_path, Command(verb, 1.0, "old"))
    append_command(tmp_path, Command("re-reference", 1.0, model="m", rows=5))
    inbox = Inbox(tmp_path)
    # the worker looks later: what came meanwhile is new
    append_command(tmp_path, Command("close", 1.0, "new"))
    assert _verbs(inbox) == ["mute old", "acknowledge old", "unmute old", "close new"]
    assert _verbs(inbox) == []
    append_command(tmp_path, Command("close", 1.0, "newer"))
    assert _verbs(inbox) == ["close newer"]
    assert inbox.malformed_commands == 0


def test_malformed_commands_are_counted_and_their_neighbours_are_read(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    append_command(tmp_path, Command("close", 1.0, "a"))
    with (tmp_path / COMMANDS).open("a") as file:
        file.write('nonsense\n[]\n{"verb": "close", "at": 1}\n{"verb": "close", "at": 1, "id": "b"')
    append_command(tmp_path, Command("close", 1.0, "c"))
    assert _verbs(inbox) == ["close a", "close c"]
    assert (inbox.malformed_commands, inbox.malformed) == (4, 0)


def test_commands_are_private(tmp_path: Path) -> None:
    append_command(tmp_path / "state", Command("close", 1.0, "a"))
    assert stat.S_IMODE((tmp_path / "state" / COMMANDS).stat().st_mode) == 0o600


def test_a_command_file_that_is_replaced_is_read_anew(tmp_path: Path) -> None:
    append_command(tmp_path, Command("close", 1.0, "old"))
    inbox = Inbox(tmp_path)
    assert _verbs(inbox) == []
    (tmp_path / COMMANDS).rename(tmp_path / "away")
    append_command(tmp_path, Command("close", 1.0, "a"))
    assert _verbs(inbox) == ["close a"]
