"""A finished replay in, the report as one plain document out; its shape is ``schema.json``."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from otel_ml.backtest.detectable import detectable
from otel_ml.backtest.replay import COMPARE_BELOW, Replay
from otel_ml.backtest.runner import Found, Runner
from otel_ml.backtest.times import iso
from otel_ml.budget import EVALUATION_ROWS
from otel_ml.config import parse_period

__all__ = ["SCHEMA", "Report", "report_of"]

SCHEMA: Final = "otel-ml/backtest/1"
_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Report:
    """What a backtest has found.

    Parameters
    ----------
    document
        Plain JSON values; the shape is ``otel_ml/backtest/schema.json``.
    """

    document: dict[str, Any]

    @property
    def incidents(self) -> list[dict[str, Any]]:
        """Incidents, in the order in which they opened."""
        return list(self.document["incidents"])

    def to_json(self) -> dict[str, Any]:
        """Return the document."""
        return self.document

    def text(self) -> str:
        """Return the document as JSON text."""
        return json.dumps(self.document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def html(self) -> str:
        """Return the page for people."""
        from otel_ml.backtest.page import page

        return page(self.document)

    def save(self, path: str | Path) -> None:
        """Write the page where the name ends in .html, else the JSON."""
        target = Path(path)
        page = target.suffix.lower() in (".html", ".htm")
        target.write_text(self.html() if page else self.text(), encoding="utf-8")


def report_of(replay: Replay, notes: list[str]) -> Report:
    """Return the report of a replay.

    Parameters
    ----------
    replay
        After its run.
    notes
        What was assumed, and what was not as it should be, as sentences.
    """
    main, *others = replay.runners
    realised = replay.realised
    document = {
        "schema": SCHEMA,
        "data": [{"name": name, "first_row": first} for name, first in replay.feed.files()],
        "model": {"name": main.engine.model.name, "version": main.engine.model.version},
        "reference": _reference(replay),
        "rows": replay.rows,
        "evaluations": main.evaluations,
        "clock": {
            "source": "timestamps" if replay.timed else "nominal",
            "from": iso(replay.times.at(0)),
            "to": iso(replay.times.at(replay.rows)),
            "rows_per_day": round(replay.rows_per_day, 3),
            "out_of_order_rows": replay.late_rows,
        },
        "budget": _budget(replay, main),
        "labels": {
            "known": replay.late.known,
            "arrived": replay.late.fed,
            "on_their_way": replay.late.on_their_way,
            "delay": _delay(replay),
        },
        "versions": [{"version": v, "first_row": row} for v, row in replay.versions.items()],
        "incidents": [_incident(one, replay) for one in _ordered(main)],
        "performance": [] if realised is None else realised.performance(),
        "fairness": [] if realised is None else realised.fairness(),
        "drift": _drift(replay),
        "evidence": {
            "threshold_log10": _round(main.engine.threshold_log10),
            "total": main.trace.to_json(),
            "families": {name: trace.to_json() for name, trace in main.families.items()},
        },
        "budgets": [_compared(replay, main, one) for one in (main, *others)],
        "notes": [*notes, *_notes(replay)],
    }
    return Report(_plain(document))


def _ordered(runner: Runner) -> list[Found]:
    return sorted(runner.found.values(), key=lambda one: int(one.data["opened_row"]))


def _incident(found: Found, replay: Replay) -> dict[str, Any]:
    data = dict(found.data)
    data["opened_at"] = iso(found.opened_at)
    data["closed_at"] = None if found.closed_at is None else iso(found.closed_at)
    data["changed_at"] = iso(replay.times.at(data["change_row"]))
    data["paged"] = found.paged
    return data


def _budget(replay: Replay, runner: Runner) -> dict[str, Any]:
    engine, allowance = runner.engine, runner.allowance
    reference = engine.reference
    features = 0 if reference is None else len(reference.features)
    return {
        "false_incidents": allowance.count,
        "per": allowance.per,
        "rows": _round(_budget_rows(runner, replay)),
        "evaluations": _round(engine.budget.evaluations),
        "threshold_log10": _round(engine.threshold_log10),
        "expected_false_incidents": _round(replay.rows / max(_budget_rows(runner, replay), 1.0)),
        "min_effect": engine.min_effect,
        "detectable": detectable(
            engine.threshold_log10, features, _input_share(), engine.min_effect
        )
        if features
        else [],
    }


def _budget_rows(runner: Runner, replay: Replay) -> float:
    """Return the rows in which one false incident is put up with."""
    period = parse_period(runner.allowance.per)
    if period.rows is not None:
        return period.rows / runner.allowance.count
    assert period.seconds is not None
    return period.seconds / 86_400 * replay.rows_per_day / runner.allowance.count


def _input_share() -> float:
    from otel_ml.monitors.weights import FAMILY_WEIGHTS

    return float(FAMILY_WEIGHTS["inputs"])


def _compared(replay: Replay, main: Runner, one: Runner) -> dict[str, Any]:
    """Return what one budget would have done, beside the stated one."""
    delays = [
        found.data["opened_row"] - same[0]
        for found in one.found.values()
        if (same := _same(found, main))
    ]
    return {
        "false_incidents": one.allowance.count,
        "per": one.allowance.per,
        "stated": one is main,
        "rows": _round(_budget_rows(one, replay)),
        "threshold_log10": _round(one.engine.threshold_log10),
        "incidents": len(one.found),
        "paged": sum(found.paged for found in one.found.values()),
        "median_rows_later": _median(delays),
    }


def _same(found: Found, main: Runner) -> list[int]:
    """Return where the stated budget opened the incident with the same culprit and change."""
    low, high = found.data["change_row_interval"]
    culprit = found.data["members"][0]["target"]
    return [
        int(other.data["opened_row"])
        for other in main.found.values()
        if other.data["members"][0]["target"] == culprit
        and other.data["change_row_interval"][0] <= high
        and other.data["change_row_interval"][1] >= low
    ]


def _median(values: list[int]) -> float | None:
    return float(sorted(values)[len(values) // 2]) if values else None


def _reference(replay: Replay) -> dict[str, Any] | None:
    reference = replay.reference
    if reference is None:
        return None
    learned = reference.source == "traffic"
    return {
        "id": reference.id,
        "source": reference.source,
        "task": reference.task,
        "features": list(reference.features),
        "rows": max((reference.rows(c.name) for c in reference.layout.sources), default=0),
        "learned_rows": replay.rows - _compared_rows(replay) if learned else 0,
        "sensitivity": {k: _round(v) for k, v in reference.sensitivity.items()},
    }


def _compared_rows(replay: Replay) -> int:
    state = replay.runners[0].engine.state
    return 0 if state is None else int(state.total.counts.sum(axis=1).max(initial=0))


def _drift(replay: Replay) -> list[dict[str, Any]]:
    if replay.drift is None:
        return []
    rows = replay.drift.to_json()
    return [{**row, "from": iso(replay.times.at(row["window"][0]))} for row in rows]


def _delay(replay: Replay) -> str:
    delay = replay.settings.label_delay
    return f"{delay.rows}rows" if delay.rows is not None else f"{delay.seconds:g}s"


def _notes(replay: Replay) -> list[str]:
    main = replay.runners[0]
    said = []
    if not replay.rows:
        said.append("The data have no rows.")
    elif replay.reference is None:
        said.append(
            f"{replay.rows:,} rows are too few to learn a reference from: nothing was compared."
        )
    if not replay.timed:
        said.append("Rows have no times: one row a second is assumed, from an arbitrary day.")
    if replay.late_rows:
        said.append(f"{replay.late_rows:,} rows came out of the order of their times.")
    if replay.timestamps.unread:
        said.append(f"{replay.timestamps.unread:,} timestamps could not be read.")
    if replay.timestamps.unit:
        said.append(f"Timestamps are numbers, read as {replay.timestamps.unit} since 1970.")
    if replay.feed.bad_lines:
        said.append(
            f"{replay.feed.bad_lines:,} lines with too many or too few fields were left out."
        )
    for name in sorted(replay.reserved):
        said.append(f"Column {name!r} has the name of an output and no role: it was left out.")
    for reason, rows in list(main.refused.items())[:_NAMED]:
        said.append(f"{rows:,} rows could not be taken: {reason}.")
    if replay.realised is not None and replay.realised.unknown:
        said.append(
            f"{replay.realised.unknown:,} labels are none that the reference knows: they count for "
            "nothing."
        )
    if replay.late.on_their_way:
        said.append(f"{replay.late.on_their_way:,} labels would have come after the last row.")
    if replay.settings.compare is None and replay.rows >= COMPARE_BELOW:
        said.append("Other budgets were not tried on this many rows: ask for them with --compare.")
    if 0 < replay.rows < EVALUATION_ROWS:
        said.append("There are fewer rows than one evaluation takes.")
    return said


def _round(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None


def _plain(value: Any) -> Any:
    """Return JSON values only: what is not finite becomes null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    if hasattr(value, "item") or isinstance(value, float):
        number = value.item() if hasattr(value, "item") else value
        if isinstance(number, float):
            return number if math.isfinite(number) else None
        return number
    return str(value)
