"""The page and the table: everything is said, nothing is executed, every width is kept."""

from __future__ import annotations

import copy
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from otel_ml.backtest import run
from otel_ml.backtest.page import page
from otel_ml.backtest.progress import ProgressBar
from otel_ml.backtest.terminal import tell

Make = Callable[..., dict[str, Any]]
VOID = {"meta", "line", "path", "circle", "rect", "br"}


class Tree(HTMLParser):
    """Checks that elements close in the order in which they opened, and keeps what it meets."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: set[str] = set()
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def document(made: Make) -> dict[str, Any]:
    """Return the report of a table in which a feature is moved."""
    names: dict[str, Any] = {"score": "p", "label": "y", "timestamp": "ts", "sensitive": ["sex"]}
    report = run(
        made(4000, 2, shift_at=2000), made(6000, 1), ignore=["who", "rid"],
        false_incidents="1/100000rows", **names,
    )  # fmt: skip
    return report.to_json()


def _read(text: str) -> Tree:
    tree = Tree()
    tree.feed(text)
    assert tree.open == []
    return tree


def test_the_page_needs_nothing_else(document: dict[str, Any]) -> None:
    text = page(document)
    tree = _read(text)
    assert not tree.names & {"script", "link", "img", "iframe", "object"}
    assert not re.search(r"url\(|@import|\son\w+=", text)
    assert all(link.startswith("https://") for link in tree.links)


def test_the_page_says_what_happened(document: dict[str, Any]) -> None:
    told = _read(page(document)).text
    first = document["incidents"][0]
    assert f"{document['rows']:,} historical predictions" in told
    for said in (
        first["members"][0]["text"],
        first["causes"][0]["next"],
        f"{first['opened_row']:,}",
        "Selection rate by sex",
        "What would another budget have done?",
        "2023-11-14",
        *document["notes"],
    ):
        assert said in told


def test_what_comes_from_data_is_never_markup(document: dict[str, Any]) -> None:
    evil = '<script>alert("1")</script>'
    bad = copy.deepcopy(document)
    bad["model"]["name"] = evil
    bad["notes"].append(evil)
    bad["data"] = [{"name": evil, "first_row": 0}, {"name": evil, "first_row": 100}]
    for row in (*bad["fairness"], *bad["drift"]):
        for name in ("attribute", "group", "feature"):
            if name in row:
                row[name] = evil
    for one in bad["incidents"]:
        one["harm"]["text"] = evil
        one["whom"] = {"text": evil}
        for member in one["members"]:
            member["target"] = member["text"] = evil
        for cause in one["causes"]:
            cause.update(id=evil, title=evil, next=evil, runbook=f"javascript:{evil}")
            cause.update({"for": [evil], "against": [evil]})
    tree = _read(page(bad))
    assert "script" not in tree.names
    assert all(link.startswith("https://") for link in tree.links)
    assert evil in tree.text


@pytest.mark.parametrize("width", [40, 80, 100, 160, 240])
def test_the_table_fits_the_terminal(document: dict[str, Any], width: int) -> None:
    text = tell(document, width)
    first = document["incidents"][0]
    assert f"{first['opened_row']:,}" in text
    assert "1/100000rows (stated)" in text
    table = text.split("accuracy")[0].splitlines()[1:]
    assert max(map(len, table)) <= width
    flat = re.sub(r"\s+", " ", text)
    assert (first["members"][0]["text"] in flat) or width >= 90
    assert "\x1b" not in text
    assert "\x1b[31m" in tell(document, width, colour=True)


def test_nothing_found_is_said() -> None:
    report = run({"x": np.zeros(0)}, {"x": np.arange(500.0)}, false_incidents="1/100000rows")
    assert "no incident" in tell(report.to_json(), 100)
    assert "Nothing to report" in report.html()


class Terminal(io.StringIO):
    """A terminal that keeps what is written."""

    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_is_one_line() -> None:
    now = [0.0]
    out = Terminal()
    bar = ProgressBar(out, {}, lambda: now[0])
    for done in range(0, 1001, 100):
        now[0] += 1.0
        bar(done, 1000, 1)
    bar.close()
    assert "\n" not in out.getvalue()
    assert "1,000 of 1,000 rows" in out.getvalue()
    assert out.getvalue().endswith("\r\x1b[2K")


def test_progress_in_a_log_is_a_line_now_and_then() -> None:
    now = [0.0]
    out = io.StringIO()
    bar = ProgressBar(out, {}, lambda: now[0])
    for done in range(100, 1001, 100):
        now[0] += 2.0
        bar(done, 1000, 0)
    bar.close()
    lines = out.getvalue().splitlines()
    assert [line.split(" ")[0] for line in lines] == ["400", "700", "1,000"]
    assert lines[0] == "400 of 1,000 rows  50 rows/s  12 s left"
    short = io.StringIO()
    bar = ProgressBar(short, {}, lambda: 0.0)
    bar(10, 10, 0)
    assert short.getvalue() == ""
