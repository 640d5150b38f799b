from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from otel_ml.demo import collector
from otel_ml.demo.collector import Incident
from otel_ml.demo.faults import TIMELINE
from otel_ml.demo.outcome import Counts, Outcome
from otel_ml.demo.replay import Passage, ReplayLog

FIRST, SECOND = TIMELINE[0], TIMELINE[1]
DELAY = 600


def incident(name: str, row: int, cause: str = FIRST.cause, target: str = FIRST.target) -> Incident:
    return Incident(
        id=name, cause=cause, target=target, monitor="input_drift", first_cause=cause,
        severity="critical", paged=True, opened=float(row), opened_row=row,
    )  # fmt: skip


def passages() -> list[Passage]:
    return [
        Passage(fault, fault.start, float(fault.start), fault.end, float(fault.end))
        for fault in (FIRST, SECOND)
    ]


def outcome(known: list[Incident], *, counted: int = 12_000, labels: int = 12_000) -> Outcome:
    log = ReplayLog(rows=12_000, calls=3000, labels=12_000, passages=passages())
    findings = collector.find(log.passages, known, DELAY)
    return Outcome(
        seed=0, model={"name": "m", "rows": 1, "accuracy": 0.8},
        budget={"false_incidents": 1, "per": "100000rows"}, log=log,
        counts=Counts(counted, labels), findings=findings, known=known,
        other=collector.others(findings, known), label_delay=DELAY, seconds={},
    )  # fmt: skip


GOOD = [incident("a", 6_050), incident("b", 9_700, SECOND.cause, SECOND.target)]


def test_rightly_named_in_time() -> None:
    one = outcome(GOOD)
    assert one.ok
    assert [finding.rows_to_find for finding in one.findings] == [50, 200]


def test_right_name_is_preferred_and_the_rest_is_told() -> None:
    extra = incident("c", 6_010, "input_shift", "RELP")
    one = outcome([extra, *GOOD])
    found = one.findings[0].incident
    assert found is not None
    assert found.id == "a"
    assert [each.id for each in one.other] == ["c"]
    assert not one.ok


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ([GOOD[0]], "missing_values on SCHL was not found"),
        ([replace(GOOD[0], cause="input_shift"), GOOD[1]], "but called input_shift on AGEP"),
        ([replace(GOOD[0], target="SEX"), GOOD[1]], "but called unit_change on SEX"),
        ([incident("e", 4_000), *GOOD], "opened at row 4000 (paged), and no fault"),
        ([*GOOD, incident("f", 11_999)], "opened at row 11999 (paged), and no fault"),
    ],
)
def test_what_is_wrong_is_said(known: list[Incident], said: str) -> None:
    assert any(said in problem for problem in outcome(known).problems)


def test_before_the_first_fault() -> None:
    one = outcome([incident("e", 4_000), *GOOD])
    told = one.to_json()
    assert told["incidents_before_first_fault"] == told["paged_before_first_fault"] == 1
    assert told["other_incidents"] == ["e"]


def test_counts_must_be_exact() -> None:
    assert (
        "12000 predictions were sent and 11999 counted" in outcome(GOOD, counted=11_999).problems[0]
    )
    assert "12000 labels were sent and 12001 joined" in outcome(GOOD, labels=12_001).problems[0]


def test_incidents_are_read_from_events(simulated: Any) -> None:
    known = collector.incidents(simulated.telemetry)
    assert [one.cause for one in known] == [fault.cause for fault in TIMELINE]
    first = known[0]
    assert (first.opened_row, first.change_row) == (6_050, 6_008)
    assert (first.change_lower, first.change_upper) == (5_980, 6_031)
    assert first.closed_row is not None
    assert abs(first.closed_row - 7_400) < 360
    assert first.causes[0] == "unit_change:0.93"
    assert first.paged
