"""The run as it happens: in, the replay's log and incidents; out, lines on a terminal.

On a terminal the last line is rewritten in place; elsewhere, or with ``NO_COLOR``, there are only
plain lines, few enough for a log.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from typing import Final, TextIO

from otel_ml.demo.cards import title
from otel_ml.demo.collector import Incident
from otel_ml.demo.outcome import Outcome
from otel_ml.demo.replay import ReplayLog

__all__ = ["Terminal"]

BAR: Final = 24
PLAIN_EVERY_ROWS: Final = 3000
STYLES: Final[Mapping[str, str]] = {
    "red": "31", "green": "32", "yellow": "33", "blue": "34", "dim": "2", "bold": "1",
}  # fmt: skip


class Terminal:
    """Writes the run.

    Parameters
    ----------
    out
        Where to.
    rows
        Rows there will be.
    environ
        ``NO_COLOR`` and ``TERM`` are looked at.
    """

    def __init__(self, out: TextIO, rows: int, environ: Mapping[str, str] = os.environ) -> None:
        dumb = "NO_COLOR" in environ or environ.get("TERM") == "dumb"
        self._live = out.isatty() and not dumb
        self._out = out
        self._rows = rows
        self._told_faults: list[bool] = []
        self._told: dict[str, bool] = {}
        self._plain_next = PLAIN_EVERY_ROWS
        self._bar_shown = False

    def say(self, content: str = "", style: str = "") -> None:
        """Write a line."""
        self._clear()
        self._out.write(self._paint(content, style) + "\n")
        self._out.flush()

    def step(self, content: str, seconds: float | None = None) -> None:
        """Write that a part is done, and how long it took."""
        took = "" if seconds is None else self._paint(f"  {seconds:.1f} s", "dim")
        self.say(f"{self._paint('✓', 'green')} {content}{took}")

    def wait(self, content: str) -> None:
        """Write what is being done, on the line that is rewritten; nothing where there is none."""
        if self._live:
            self._clear()
            self._out.write(f"{self._paint('…', 'dim')} {content}")
            self._out.flush()
            self._bar_shown = True

    def update(self, log: ReplayLog, year: int, known: Sequence[Incident]) -> None:
        """Write what is new since the last call: faults, incidents, progress."""
        for number, passage in enumerate(log.passages):
            if number == len(self._told_faults):
                self._told_faults.append(False)
                head = self._paint("✗ fault injected", "red")
                self.say(f"{self._at(passage.start_row)} {head}  {passage.fault.story}")
            if passage.end_row is not None and not self._told_faults[number]:
                self._told_faults[number] = True
                head = self._paint("✗ fault over    ", "dim")
                self.say(f"{self._at(passage.end_row)} {head}  {passage.fault.title}")
        for one in known:
            if one.id not in self._told:
                self._told[one.id] = False
                self._opened(one)
            if one.closed is not None and not self._told[one.id]:
                self._told[one.id] = True
                head = self._paint("● closed        ", "green")
                row = one.opened_row if one.closed_row is None else one.closed_row
                self.say(f"{self._at(row)} {head}  {title(one)}")
        self._progress(log, year, known)

    def finish(self, outcome: Outcome) -> None:
        """Write the table of faults, the counts, and what was not as it should be."""
        self.say()
        head = f"{'fault':<24}{'from row':>9}  {'found after':>12}  {'called':<42}{'paged':<6}"
        self.say(head, "bold")
        for one in outcome.findings:
            fault, incident = one.passage.fault, one.incident
            right = one.cause_named and one.target_named
            if incident is None:
                told = self._paint(f"{'not found':>12}", "red")
            else:
                name = f"{'✓' if right else '✗'} {incident.cause}, {incident.target}"
                named = self._paint(f"{name:<42}", "green" if right else "red")
                paged = "yes" if incident.paged else "no"
                told = f"{one.rows_to_find:>7,} rows  {named}{paged:<6}"
            self.say(f"{fault.title:<24}{one.passage.start_row:>9,}  {told}")
        self.say()
        counts, log = outcome.counts, outcome.log
        self._count("predictions", log.rows, "sent", counts.predictions, "counted")
        self._count("labels", log.labels, "sent", counts.labels, "joined")
        early = sum(one.paged for one in outcome.before_first)
        self._mark(
            not early,
            f"{early} pages in the {outcome.first_fault_row:,} rows before the first fault",
        )
        for problem in outcome.problems:
            self.say(f"  {self._paint('✗', 'red')} {problem}")
        if outcome.page is not None:
            self.say()
            self.say(f"Everything with pictures: {self._paint(str(outcome.page), 'bold')}")

    def _opened(self, one: Incident) -> None:
        head = self._paint("● incident      ", "yellow")
        paged = "paged" if one.paged else "not paged"
        name = self._paint(title(one), "bold")
        since = f", since row {one.change_row:,}" if one.change_row is not None else ""
        self.say(f"{self._at(one.opened_row)} {head}  {name} ({one.severity}, {paged}{since})")
        harm = "" if one.harm == one.effect else one.harm
        for label, content in (("", one.effect), ("harm: ", harm), ("next: ", one.next_step)):
            if content:
                self.say(f"{'':<28}{self._paint(label, 'dim')}{content}")

    def _count(self, what: str, sent: int, verb: str, counted: int, how: str) -> None:
        self._mark(sent == counted, f"{sent:,} {what} {verb}, {counted:,} {how}")

    def _mark(self, good: bool, content: str) -> None:
        mark = self._paint("✓", "green") if good else self._paint("✗", "red")
        self.say(f"  {mark} {content}")

    def _progress(self, log: ReplayLog, year: int, known: Sequence[Incident]) -> None:
        took = max(time.time() - log.started, 1e-9)
        open_now = sum(one.closed is None for one in known)
        said = (
            f"{log.rows:,} of {self._rows:,} rows  year {year}  "
            f"{log.rows / took:,.0f} rows/s  {open_now} open"
        )
        if self._live:
            self._clear()
            done = round(BAR * log.rows / max(self._rows, 1))
            bar = self._paint("━" * done, "blue") + self._paint("─" * (BAR - done), "dim")
            room = shutil.get_terminal_size().columns - BAR - 2
            self._out.write(f"{bar} {said[: max(room, 0)]}")
            self._out.flush()
            self._bar_shown = True
        elif log.rows >= self._plain_next:
            self._plain_next = (log.rows // PLAIN_EVERY_ROWS + 1) * PLAIN_EVERY_ROWS
            self.say(said)

    def _at(self, row: int) -> str:
        return self._paint(f"{row:>7,}", "dim")

    def _clear(self) -> None:
        if self._bar_shown:
            self._out.write("\r\x1b[2K")
            self._bar_shown = False

    def _paint(self, content: str, style: str) -> str:
        code = STYLES.get(style)
        return f"\x1b[{code}m{content}\x1b[0m" if code and self._live else content
