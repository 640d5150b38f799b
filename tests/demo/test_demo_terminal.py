from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest

from otel_ml.demo import collector
from otel_ml.demo.outcome import Outcome
from otel_ml.demo.run import Options, judge
from otel_ml.demo.terminal import Terminal


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="module")
def outcome(simulated: Any) -> Outcome:
    model = {"name": "m", "rows": 20_000, "accuracy": 0.82}
    return judge(simulated.telemetry, simulated.log, model, Options(folder=Path("o")), {})


def told(out: io.StringIO, simulated: Any, outcome: Outcome, environ: dict[str, str]) -> str:
    terminal = Terminal(out, 27_000, environ)
    terminal.wait("starting")
    for _ in range(3):  # what was told once is not told again
        terminal.update(simulated.log, 2018, collector.incidents(simulated.telemetry))
    terminal.finish(outcome)
    return out.getvalue()


def test_plain_lines_without_a_terminal(simulated: Any, outcome: Outcome) -> None:
    text = told(io.StringIO(), simulated, outcome, {})
    assert "\x1b" not in text
    assert "\r" not in text
    assert text.count("fault injected") == 6
    assert text.count("● incident") == 6
    assert text.count("● closed") == 6
    assert re.search(r"Age in months\s+6,000\s+50 rows  ✓ unit_change, AGEP\s+yes", text)
    assert "27,000 predictions sent, 27,000 counted" in text
    assert "index.html" in text


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_plain_lines_where_asked_for(
    simulated: Any, outcome: Outcome, environ: dict[str, str]
) -> None:
    assert "\x1b" not in told(Tty(), simulated, outcome, environ)


def test_live_line_on_a_terminal(simulated: Any, outcome: Outcome) -> None:
    text = told(Tty(), simulated, outcome, {})
    assert "\r\x1b[2K" in text
    assert "━" in text


def test_what_is_wrong_is_said(simulated: Any, outcome: Outcome) -> None:
    import dataclasses

    worse = dataclasses.replace(
        outcome, counts=dataclasses.replace(outcome.counts, predictions=26_999)
    )
    text = told(io.StringIO(), simulated, worse, {})
    assert "✗ 27000 predictions were sent and 26999 counted." in text
