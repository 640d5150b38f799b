"""What was seen during one fault in, checks with a verdict each out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from otel_ml.selftest.collector import Totals
from otel_ml.selftest.load import Load

__all__ = ["Check", "Trial", "Verdict", "warnings_in"]

Verdict: TypeAlias = Literal["PASS", "FAIL", "SKIP"]

GROWTH: Final = 64 << 20  # bytes the process may grow by
CALL_LIMIT: Final = 1.0  # seconds; a guard against a call that blocks, not a measure of its cost
WARNINGS: Final = 20  # during one fault, whatever they say
REPEATS: Final = 3  # of one message during a fault: its start, its end, and one between
_REMEDY: Final = re.compile(
    r"remedy|OTEL_[A-Z]|usually at|\b(check|set|raise|lower|start|install|correct|report|give)\b"
)
_INCIDENT: Final = "incident "  # incidents are what the product is for, and no complaint


def warnings_in(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the log records that complain of something."""
    loud = [r for r in records if r["level"] in ("WARNING", "ERROR", "CRITICAL")]
    return [r for r in loud if not r["text"].startswith(_INCIDENT)]


@dataclass(frozen=True)
class Check:
    """One thing that must hold after a fault.

    Parameters
    ----------
    name
        What was looked at.
    verdict
        ``PASS``, ``FAIL`` or ``SKIP``.
    detail
        What was found, with numbers.
    """

    name: str
    verdict: Verdict
    detail: str


@dataclass
class Trial:
    """Collects what was found during one fault.

    Parameters
    ----------
    checks
        In the order in which they were made.
    latency
        Requests without and with otel-ml, and the calls of otel-ml alone.
    accounting
        What was captured, exported, dropped and buffered.
    memory
        Bytes by which the process grew.
    recovery
        Seconds from the end of the fault until every count had arrived.
    messages
        What otel-ml has logged.
    """

    checks: list[Check] = field(default_factory=list)
    latency: dict[str, dict[str, float]] = field(default_factory=dict)
    accounting: dict[str, Any] | None = None
    memory: int | None = None
    recovery: float | None = None
    messages: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        """FAIL if any check failed, PASS if one passed, SKIP otherwise."""
        found = {check.verdict for check in self.checks}
        return "FAIL" if "FAIL" in found else "PASS" if "PASS" in found else "SKIP"

    @property
    def reason(self) -> str:
        """What failed, or why it was not run; "" where it passed."""
        if self.verdict == "PASS":
            return ""
        found = [c for c in self.checks if c.verdict == self.verdict]
        return "; ".join(f"{c.name}: {c.detail}" if c.name else c.detail for c in found)

    def check(self, name: str, good: bool, detail: str) -> None:
        """Note a check."""
        self.checks.append(Check(name, "PASS" if good else "FAIL", detail))

    def skip(self, name: str, why: str) -> None:
        """Note that something could not be looked at."""
        self.checks.append(Check(name, "SKIP", why))

    def same(self, load: Load, pairs: Sequence[tuple[Any, Any]] = ()) -> None:
        """Check that the application answered as it does without otel-ml."""
        different = [*load.different, *(f"{b!r}, not {a!r}"[:200] for a, b in pairs if a != b)]
        n = len(load.with_it.seconds) + len(pairs)
        said = f"{n} answers, all the same" if not different else f"{len(different)} differ"
        self.check("same answers", not different, said + "".join(f": {x}" for x in different[:1]))
        without, with_it = load.without.quantiles(), load.with_it.quantiles()
        if without["n"] and with_it["n"]:
            self.latency |= {"without": without, "with": with_it}

    def quiet(self, errors: Sequence[str], output: str) -> None:
        """Check that nothing was raised into the application, and nothing printed as a crash."""
        found = [*errors]
        found += ["a traceback on standard error"] if "Traceback (most recent" in output else []
        said = "none" if not found else f"{len(found)}: {found[0]}"
        self.check("no error in the application", not found, said)

    def calls(self, calls: Mapping[str, float]) -> None:
        """Check that no call of otel-ml blocked."""
        if calls["n"]:
            self.latency["calls"] = dict(calls)
            most = calls["max_us"] / 1e6
            said = (
                f"p50 {calls['p50_us']:.1f} µs, p99 {calls['p99_us']:.1f} µs, longest {most:.4f} s"
            )
            self.check("no call blocks", most <= CALL_LIMIT, said)

    def books(self, found: Totals, given: int, calls: int = 0) -> None:
        """Check that every prediction is accounted for.

        Parameters
        ----------
        found
            What has arrived.
        given
            Predictions that were handed over.
        calls
            Calls on top, whose number of predictions nobody can tell; each counts for one at least.
        """
        self.accounting = {
            "given": given if not calls else None,
            "captured": found.captured,
            "exported": found.exported,
            "dropped": dict(sorted(found.dropped.items())),
            "buffered": found.buffered,
        }
        adds = found.captured == found.exported + found.lost + found.buffered
        all_there = found.captured >= given + calls if calls else found.captured == given
        lost = ", ".join(f"{n} {why}" for why, n in sorted(found.dropped.items())) or "0"
        said = f"{given + calls} given, {found.captured} captured = {found.exported} exported"
        said += f" + {lost} dropped + {found.buffered} buffered"
        self.check("exact counts", adds and all_there, said)

    def grown(self, before: int | None, after: int | None) -> None:
        """Check that memory is bounded."""
        if before is None or after is None:
            self.skip("bounded memory", "the resident set is read on Linux only")
            return
        self.memory = after - before
        said = f"{self.memory / 2**20:+.1f} MiB"
        self.check("bounded memory", self.memory <= GROWTH, said)

    def told(self, records: Sequence[Mapping[str, Any]], pattern: str | None) -> None:
        """Check that a message says what happens and what to do, and is not repeated all the time.

        Parameters
        ----------
        records
            What was logged.
        pattern
            What one of the warnings must match; None where none is due.
        """
        warned = warnings_in(records)
        self.messages = [f"{r['level']} {r['text']}" for r in records][:20]
        often = Counter(re.sub(r"\d+", "#", r["text"]) for r in warned)
        if often and max(often.values()) > REPEATS:
            text, n = often.most_common(1)[0]
            self.check("message", False, f"logged {n} times: {text}")
        elif len(warned) > WARNINGS:
            self.check("message", False, f"{len(warned)} warnings during one fault")
        elif pattern is not None:
            fitting = [r["text"] for r in warned if re.search(pattern, r["text"], re.IGNORECASE)]
            useful = [text for text in fitting if _REMEDY.search(text)]
            if useful:
                self.check("message", True, useful[0])
            elif fitting:
                self.check("message", False, f"names no remedy: {fitting[0]}")
            else:
                self.check("message", False, f"no warning matches {pattern!r}")

    def left(self, before: Mapping[str, Any], after: Mapping[str, Any], new: Sequence[str]) -> None:
        """Check that no thread, descriptor or file was left behind."""
        threads = Counter(after["threads"]) - Counter(before["threads"])
        kept = [f"thread {name}" for name in threads.elements()]
        if before["files"] is not None and after["files"] > before["files"]:
            kept.append(f"{after['files'] - before['files']} descriptors")
        kept += [f"file {name}" for name in new]
        said = ", ".join(kept) or f"{len(after['threads'])} threads, {after['files']} descriptors"
        self.check("nothing left behind", not kept, said)
