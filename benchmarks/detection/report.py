"""Records in, tables out: false incidents, faults, causes, and the same of other tools."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from benchmarks.detection import store
from benchmarks.detection.faults import FAULTS
from benchmarks.detection.limits import binomial, poisson
from benchmarks.detection.plan import SESSIONS_TOO
from benchmarks.detection.windows import RULES

Record = dict[str, Any]
_UNIT: Final = 100_000.0
EVALUATION: Final = 50  # rows between two evaluations of the engine
KL_LIMIT: Final = 0.5  # of the comparison with known laws, per row


def report(folder: Path) -> str:
    """Return all tables of the records in a folder."""
    nulls, factorial = store.read(folder / "null.jsonl"), store.read(folder / "factorial.jsonl")
    faults, peers = store.read(folder / "fault.jsonl"), store.read(folder / "peers.jsonl")
    parts = []
    if nulls:
        parts += [heading("Nothing changed: false incidents per 100,000 rows", nulls), null(nulls)]
    if factorial:
        parts += [heading("Nothing changed, factorial", factorial), factors(factorial)]
    if faults:
        parts += [heading("Faults", faults), fault_table(faults)]
        parts += ["\n## All faults together\n", totals(faults, nulls, peers)]
        parts += ["\n## Against known laws (Shiryaev-Roberts, KL <= 0.5 per row)\n", known(faults)]
        parts += ["\n## Special faults\n", special(faults)]
    return "\n".join(parts) or "no records yet"


def heading(title: str, records: list[Record]) -> str:
    """Return a heading that names the engine and the amount."""
    engines = ", ".join(sorted({r["engine"] for r in records}))
    seconds = sum(r["all_seconds"] for r in records)
    return f"\n## {title}\n\nEngine {engines}; {len(records)} streams, {seconds:.0f} s of CPU.\n"


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """Return a Markdown table whose columns are aligned."""
    body = [head, *rows]
    wide = [max(len(row[i]) for row in body) for i in range(len(head))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(r, wide, strict=True)) + " |" for r in body
    ]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in wide) + "|")
    return "\n".join(lines)


def rate(events: int, rows: float) -> str:
    """Return a rate per 100,000 rows with its exact interval."""
    low, high = poisson(events, rows / _UNIT)
    return f"{events / rows * _UNIT:.2f} ({low:.2f}-{high:.2f})"


def share(hits: Iterable[bool], *, limits: bool = False) -> str:
    """Return a share in per cent, with its exact interval if asked for."""
    held = [bool(h) for h in hits]
    if not held:
        return "-"
    text = f"{100 * sum(held) / len(held):.0f} %"
    if limits:
        low, high = binomial(sum(held), len(held))
        text += f" ({100 * low:.0f}-{100 * high:.0f})"
    return text


def grouped(records: Iterable[Record], of: Callable[[Record], Any]) -> dict[Any, list[Record]]:
    """Return records by something, in the order in which it comes up."""
    found: dict[Any, list[Record]] = defaultdict(list)
    for record in records:
        found[of(record)].append(record)
    return dict(sorted(found.items(), key=lambda item: str(item[0])))


def false_rates(records: list[Record]) -> list[str]:
    """Return rows, rates of opened and paged, and whether both limits are within the budget."""
    rows = sum(r["rows"] for r in records)
    opened, paged = sum(r["opened"] for r in records), sum(r["paged"] for r in records)
    within = poisson(opened, rows / _UNIT)[1] <= 1.0
    paged_within = poisson(paged, rows / _UNIT)[1] <= 1.0
    return [
        f"{rows:,}",
        rate(opened, rows),
        rate(paged, rows),
        "yes" if within else "pages only" if paged_within else "no",
    ]


def null(records: list[Record]) -> str:
    """Return the table of streams in which nothing changed."""
    lines = []
    for condition, group in grouped(records, lambda r: r["task"]["condition"]).items():
        watched = [r["windows"] for r in group if "windows" in r]
        rows = sum(w["rows"] for w in watched)
        lines.append(
            [condition, *false_rates(group)]
            + [f"{sum(w[x] for w in watched) / rows * _UNIT:.1f}" if rows else "-" for x in RULES]
        )
    return table(["condition", "rows", "opened", "paged", "within budget", *RULES], lines)


def factors(records: list[Record]) -> str:
    """Return the table of the factorial: all, and by each level of each factor."""
    lines = [["all", "", *false_rates(records)]]
    for factor in ("kind", "width", "reference_rows", "batch"):
        for level, group in grouped(records, lambda r, f=factor: r["task"][f]).items():
            lines.append([factor, str(level), *false_rates(group)])
    return table(["factor", "level", "rows", "opened", "paged", "within budget"], lines)


def _middle(values: list[float]) -> str:
    return f"{statistics.median(values):,.0f}" if values else "-"


def judged(group: list[Record]) -> list[str]:
    """Return how faults of one kind were found."""
    found = [r for r in group if r["found"]]
    return [
        str(len(group)),
        share(r["found"] for r in group),
        _middle([r["delay"] for r in group]),
        share(r.get("first_right", False) for r in group),
        share(r.get("first_right_soon", False) for r in group),
        share(r.get("first_right_later", False) for r in group),
        share(r.get("among", False) for r in group),
        share(r["paged"] for r in found),
        share(r.get("cause_first", False) for r in group),
        share(r.get("cause_first_later", False) for r in group),
        share(r.get("cause_three_later", False) for r in group),
    ]


_JUDGED: Final = [
    "runs", "found", "median delay", "culprit first", "100 rows later", "500 rows later",
    "among members", "paged of found", "cause first", "cause, 500 rows later", "in first three",
]  # fmt: skip


def fault_table(records: list[Record]) -> str:
    """Return the table of faults, one line per fault and kind of traffic."""
    order = list(FAULTS)
    groups = grouped(records, lambda r: (r["task"]["kind"], order.index(r["task"]["condition"])))
    lines = [
        [order[at], kind, *judged(group)]
        for (kind, at), group in sorted(groups.items(), key=lambda g: (g[0][0], g[0][1]))
    ]
    return table(["fault", "traffic", *_JUDGED], lines)


def totals(faults: list[Record], nulls: list[Record], peers: list[Record]) -> str:
    """Return one line per tool and kind of traffic over all main faults."""
    lines = []
    for kind in ("iid", *SESSIONS_TOO):
        group = [
            r
            for r in faults
            if r["task"]["kind"] == kind and FAULTS[r["task"]["condition"]].group == "main"
        ]
        if not group:
            continue
        clean = [r for r in nulls if r["task"]["condition"] == kind]
        rows, opened = sum(r["rows"] for r in clean), sum(r["opened"] for r in clean)
        lines.append(
            [
                "otel-ml",
                kind,
                rate(opened, rows) if rows else "-",
                str(len(group)),
                share((r["found"] for r in group), limits=True),
                _middle([r["delay"] for r in group]),
                share((r.get("first_right", False) for r in group), limits=True),
            ]
        )
        watched = [r["windows"] for r in clean if "windows" in r]
        rows = sum(w["rows"] for w in watched)
        for rule in RULES:
            said = [r["windows"][rule] for r in group if "windows" in r]
            lines.append(
                [
                    rule,
                    kind,
                    rate(sum(w[rule] for w in watched), rows) if rows else "-",
                    str(len(said)),
                    share((s[0] for s in said), limits=True),
                    _middle([s[1] for s in said]),
                    share((s[2] for s in said), limits=True),
                ]
            )
        lines += _peer_lines([p for p in peers if p["kind"] == kind], kind)
    return table(
        ["tool", "traffic", "false per 100k", "runs", "found", "median delay", "culprit first"],
        lines,
    )


def _peer_lines(peers: list[Record], kind: str) -> list[list[str]]:
    lines = []
    for name, group in grouped(peers, lambda p: p["peer"]).items():
        if any("missing" in p for p in group):
            reason = next(p["missing"] for p in group if "missing" in p)
            lines.append([name, kind, reason, "-", "-", "-", "-"])
            continue
        failed = [p for p in group if "error" in p]
        group = [p for p in group if "error" not in p]
        if failed:
            name = f"{name} (raised on {len(failed)} of {len(failed) + len(group)} streams)"
        clean = [p for p in group if p["fault"] == ""]
        said = [p for p in group if p["fault"]]
        rows = sum(p["rows"] for p in clean)
        lines.append(
            [
                name,
                kind,
                rate(sum(p["alarms"] for p in clean), rows) if rows else "-",
                str(len(said)),
                share((p["found"] for p in said), limits=True),
                _middle([p["delay"] for p in said]),
                share((p["first_right"] for p in said), limits=True),
            ]
        )
    return lines


def known(records: list[Record]) -> str:
    """Return delays beside those of the rule that knows both laws, by fault."""
    fit = [r for r in records if r.get("kl", 9.0) <= KL_LIMIT]
    lines = []
    groups = {"all": fit} | grouped(fit, lambda r: r["task"]["condition"])
    for name, group in groups.items():
        if group:
            ours = [r["delay"] for r in group]
            every_row = [max(r["known_law_delay"], 1) for r in group]
            alike = [looked_at(r["onset"], d) for r, d in zip(group, every_row, strict=True)]
            lines.append(
                [
                    name,
                    str(len(group)),
                    f"{statistics.median(r['kl'] for r in group):.3f}",
                    _middle(ours),
                    _middle(alike),
                    _ratio(ours, alike),
                    _middle(every_row),
                    _ratio(ours, every_row),
                ]
            )
    head = ["fault", "runs", "median KL", "median delay"]
    head += ["known laws, every 50 rows", "median ratio", "known laws, every row", "median ratio"]
    return table(head, lines)


def looked_at(onset: int, delay: int) -> int:
    """Return the delay of an alarm that is looked at when the engine evaluates."""
    return math.ceil((onset + delay) / EVALUATION) * EVALUATION - onset


def _ratio(ours: list[int], theirs: list[int]) -> str:
    return f"{statistics.median(a / b for a, b in zip(ours, theirs, strict=True)):.1f}"


def special(records: list[Record]) -> str:
    """Return what is asked of faults that end, of ignored columns and before the onset."""
    lines = []
    for (group, kind), held in grouped(
        records, lambda r: (FAULTS[r["task"]["condition"]].group, r["task"]["kind"])
    ).items():
        text = f"found {share(r['found'] for r in held)}"
        text += f", false before the onset {sum(r['before'] for r in held)}"
        if group == "ignored":
            text += f", paged {share(r.get('paged', False) for r in held)}"
        if group == "pairs":
            at_once, soon = (
                share((r.get(k, False) for r in held), limits=True)
                for k in ("first_right", "first_right_soon")
            )
            text += f", the important one first {at_once}, 100 rows later {soon}"
        if group == "ends":
            after = sum(FAULTS[r["task"]["condition"]].after for r in held)
            text += f", closed {share(r['closed'] for r in held)}"
            text += f", echoes per 100k rows {rate(sum(r['echoes'] for r in held), after)}"
        lines.append([group, kind, str(len(held)), text])
    return table(["group", "traffic", "runs", "result"], lines)
