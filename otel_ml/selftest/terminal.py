"""Outcomes as they come in, lines on a terminal out: one per fault, then the table."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final, TextIO

from otel_ml.selftest.battery import Outcome
from otel_ml.selftest.faults import Fault

__all__ = ["Terminal", "listing"]

_STYLES: Final[Mapping[str, str]] = {"red": "31", "green": "32", "yellow": "33", "dim": "2"}
_MARKS: Final[Mapping[str, tuple[str, str]]] = {
    "PASS": ("✓", "green"),
    "FAIL": ("✗", "red"),
    "SKIP": ("-", "yellow"),
}
_WRAP: Final = 100


class Terminal:
    """Writes the run.

    Parameters
    ----------
    out
        Where to; coloured, with a line that is rewritten, only on a terminal.
    environ
        ``NO_COLOR`` and ``TERM`` are looked at.
    """

    def __init__(self, out: TextIO, environ: Mapping[str, str] = os.environ) -> None:
        dumb = "NO_COLOR" in environ or environ.get("TERM") == "dumb"
        self._out = out
        self._live = out.isatty() and not dumb

    def begin(self, fault: Fault) -> None:
        """Say what is being done, where the line can be rewritten."""
        if self._live:
            self._write(f"{self._paint('…', 'dim')} {fault.title}", end="")

    def end(self, outcome: Outcome) -> None:
        """Write the line of a fault that has ended."""
        trial = outcome.trial
        mark, style = _MARKS[trial.verdict]
        self._clear()
        took = self._paint(f"{outcome.seconds:5.1f} s", "dim")
        good = sum(check.verdict == "PASS" for check in trial.checks)
        said = f"{good} checks" if trial.verdict == "PASS" else trial.reason
        lines = textwrap.wrap(said, _WRAP) or [""]
        name = f"{outcome.fault.id:<24}"
        self._write(f"{self._paint(mark, style)} {name}{took}  {lines[0]}")
        for line in lines[1:]:
            self._write(f"{'':<35}{line}")

    def finish(self, report: Mapping[str, Any]) -> None:
        """Write the table and the sum of it."""
        self._write()
        head = f"{'fault':<24}{'verdict':<9}{'without p50/p99 ms':>20}{'with p50/p99 ms':>18}"
        head += f"{'call p50/p99 µs':>18}{'memory':>10}{'recovery':>10}"
        self._write(self._paint(head, "dim"))
        for one in report["faults"]:
            self._write(self._row(one))
        counts = report["counts"]
        style = "green" if report["ok"] else "red"
        said = f"{counts['pass']} passed, {counts['fail']} failed, {counts['skip']} skipped"
        self._write()
        self._write(f"{self._paint(said, style)} in {report['seconds']:.0f} s")
        for one in report["faults"]:
            if one["verdict"] == "FAIL":
                self._write(f"{self._paint('FAIL', 'red')} {one['id']}: {one['promise']}")
                for check in one["checks"]:
                    if check["verdict"] == "FAIL":
                        self._write(f"     {check['name']}: {check['detail']}")

    def _row(self, one: Mapping[str, Any]) -> str:
        latency = one["latency"] or {}
        verdict = self._paint(f"{one['verdict']:<9}", _MARKS[one["verdict"]][1])
        memory, recovery = one["memory_growth_bytes"], one["recovery_seconds"]
        return (
            f"{one['id']:<24}{verdict}"
            f"{_times(latency.get('without'), 1e3):>20}{_times(latency.get('with'), 1e3):>18}"
            f"{_times(latency.get('calls'), 1.0):>18}"
            f"{'' if memory is None else f'{memory / 2**20:+.1f} MiB':>10}"
            f"{'' if recovery is None else f'{recovery:.1f} s':>10}"
        ).rstrip()

    def _write(self, content: str = "", end: str = "\n") -> None:
        self._out.write(content + end)
        self._out.flush()

    def _clear(self) -> None:
        if self._live:
            self._out.write("\r\x1b[2K")

    def _paint(self, content: str, style: str) -> str:
        return f"\x1b[{_STYLES[style]}m{content}\x1b[0m" if self._live else content


def listing(faults: Sequence[Fault]) -> str:
    """Return the table of faults as text."""
    lines = []
    for fault in faults:
        mark = "quick" if fault.quick else "     "
        lines.append(f"{fault.id:<24}{mark}  {fault.title}")
        lines += textwrap.wrap(
            fault.promise, _WRAP, initial_indent=" " * 31, subsequent_indent=" " * 31
        )
    return "\n".join(lines) + "\n"


def _times(found: Mapping[str, float] | None, unit: float) -> str:
    return "" if not found else f"{found['p50_us'] / unit:.2f} / {found['p99_us'] / unit:.2f}"
