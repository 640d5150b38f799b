"""The page of faults and the record behind it, on small trees: what is wrong is found and named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults import page
from tests.faults.page import PAGE, RESULTS, ROOT, Mark, faults, main, marks, problems

LISTED = """
- part: One
  faults:
    - {id: A1, fault: This, promise: That, selftest: baseline}
    - {id: A2, fault: These, promise: Those}
"""
TESTS = """
import pytest

pytestmark = [pytest.mark.fault("A1")]

@pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.fault("A2")), 3])
def test_numbers(n):
    if n == 3:
        pytest.skip("too many")

class TestThem:
    @pytest.mark.fault("A2", "A1")
    def test_one(self): ...

def test_last():
    assert {good}

def helper(): ...
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make a small repository with a list and one file of tests."""
    for name in ("tests/faults", "docs"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / page.LIST).write_text(LISTED)
    (tmp_path / "tests" / "test_x.py").write_text(TESTS.format(good=True))
    return tmp_path


def run(root: Path, *arguments: str) -> dict[str, Any]:
    """Run the tests of a tree with the option, and return what was recorded."""
    for name in ("tests/conftest.py", "tests/faults/recording.py"):
        shutil.copy(ROOT / name, root / name)
    (root / "pytest.ini").write_text(
        "[pytest]\nmarkers = fault\naddopts = --import-mode=importlib -p no:cacheprovider\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "tests", "--fault-results", "r.json"]
    environ = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": ""}
    done = subprocess.run(
        [*command, *arguments], cwd=root, env=environ, capture_output=True, text=True, timeout=120
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found: dict[str, Any] = json.loads((root / "r.json").read_text())
    return found


def test_markers_are_found_wherever_they_are(tree: Path) -> None:
    found = {(mark.test, mark.fault) for mark in marks(tree)}
    assert found == {
        *(("test_numbers", name) for name in ("A1", "A2")),
        *(("TestThem::test_one", name) for name in ("A1", "A2")),
        ("test_last", "A1"),
    }
    assert {mark.file for mark in marks(tree)} == {"tests/test_x.py"}


@pytest.mark.parametrize("processes", [(), ("-p", "xdist", "-n", "2")])
def test_results_are_recorded_and_merged(tree: Path, processes: tuple[str, ...]) -> None:
    first = run(tree, *processes)
    numbers = first["tests"]["tests/test_x.py::test_numbers"]
    assert (numbers["passed"], numbers["failed"], numbers["skipped"]) == (2, 0, 1)
    assert numbers["faults"] == ["A1", "A2"]
    assert first["tests"]["tests/test_x.py::test_last"]["passed"] == 1
    assert first["versions"]["python"]
    (tree / "tests" / "test_x.py").write_text(TESTS.format(good=False))
    second = run(tree, *processes, "-k", "test_last")["tests"]
    assert second["tests/test_x.py::test_last"]["failed"] == 1
    assert second["tests/test_x.py::test_last"]["passed"] == 0
    assert second["tests/test_x.py::test_numbers"] == numbers


def test_a_failing_fixture_is_a_failure(tree: Path) -> None:
    (tree / "tests" / "test_x.py").write_text(
        "import pytest\n"
        "@pytest.fixture\n"
        "def late():\n    yield\n    raise ValueError\n"
        "@pytest.mark.fault('A1')\n"
        "def test_it(late): ...\n"
        "def test_unmarked(): ...\n"
    )
    (one,) = run(tree)["tests"].values()
    assert (one["passed"], one["failed"]) == (0, 1)


def test_the_page_shows_what_was_recorded(tree: Path) -> None:
    (tree / "tests" / "test_x.py").write_text(TESTS.format(good=False))
    run(tree)
    (tree / "r.json").rename(tree / RESULTS)
    assert main([], tree) == 0
    assert main(["--check"], tree) == 0
    text = (tree / PAGE).read_text()
    assert "2 faults, 3 test functions: 3 passed, 1 failed, 1 skipped" in text
    row = next(line for line in text.splitlines() if line.startswith("| A1 "))
    assert "**This.** That." in row
    assert "[test_x.py](../tests/test_x.py): `test_numbers`" in row
    assert "otel-ml selftest --only baseline" in row
    assert "**1 failed**, 3 passed, 1 skipped" in row


def test_check_finds_a_stale_page(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"], tree) == 1
    assert not (tree / PAGE).exists()
    assert main([], tree) == 0
    assert main(["--check"], tree) == 0
    (tree / "tests" / "test_x.py").write_text(TESTS.format(good=True) + "\ndef test_y(): ...\n")
    capsys.readouterr()
    assert main(["--check"], tree) == 1
    assert f"stale: {PAGE}" in capsys.readouterr().err
    assert "not run" in (tree / PAGE).read_text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("id: A2", "id: A3"), "faults.yaml: A3 has no test"),
        (("id: A2", "id: A3"), "test_x.py:6: test_numbers names A2"),
        (("id: A2", "id: A1"), "A1 is listed twice"),
        (("baseline", "nothing"), "'nothing', which otel-ml selftest lacks"),
    ],
)
def test_check_finds_what_does_not_fit(
    tree: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], said: str
) -> None:
    (tree / page.LIST).write_text(LISTED.replace(*change))
    assert main([], tree) == 0  # the page is written all the same
    assert main(["--check"], tree) == 1
    assert said in capsys.readouterr().err


def test_a_marker_that_cannot_be_read_is_named() -> None:
    found = list(problems([], [Mark("tests/test_x.py", "test_a", "*NAMES", 3)]))
    assert found == ["tests/test_x.py:3: test_a names *NAMES, which tests/faults/faults.yaml lacks"]


def test_a_row_with_other_keys_is_named(tree: Path) -> None:
    (tree / page.LIST).write_text(LISTED.replace("promise: That", "promised: That"))
    with pytest.raises(ValueError, match="A1 has the keys"):
        faults(tree)


def test_the_list_is_that_of_the_issue() -> None:
    wanted = [f"A{n}" for n in range(1, 13)] + [f"B{n}" for n in range(1, 18)]
    wanted += [f"C{n}" for n in range(1, 13)] + [f"D{n}" for n in (1, 2, 3, 4, 11, 12, 13, 14)]
    of_the_spool = {f"D{n}" for n in range(7, 11)}
    assert [fault.id for fault in faults(ROOT) if fault.id not in of_the_spool] == wanted
