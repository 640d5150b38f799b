from __future__ import annotations

import dataclasses
import json
import os
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from otel_ml.demo import report
from otel_ml.demo.outcome import Outcome
from otel_ml.demo.run import Options, judge, years_of

MODEL = {"name": "acs-employment", "rows": 20_000, "accuracy": 0.8255}


@pytest.fixture(scope="module")
def outcome(simulated: Any) -> Outcome:
    options = Options(folder=Path("out"))
    return judge(simulated.telemetry, simulated.log, MODEL, options, {"replay": 81.0})


@pytest.fixture(scope="module")
def text(simulated: Any, outcome: Outcome) -> str:
    text = report.page(outcome, simulated.telemetry, years_of(simulated.people))
    if keep := os.environ.get("DEMO_PAGE"):  # to look at it
        Path(keep).write_text(text)
    return text


def test_all_is_found_and_the_counts_agree(outcome: Outcome) -> None:
    assert outcome.problems == []
    assert json.loads(json.dumps(outcome.to_json()))["ok"] is True


def test_page_is_self_contained(text: str) -> None:
    assert not re.search(r'(src|href)="(?!#)', text)
    assert "url(" not in text
    assert "@import" not in text
    assert "<script" not in text


def test_drawings_are_well_formed(text: str) -> None:
    drawings = re.findall(r"<svg.*?</svg>", text, re.S)
    assert len(drawings) >= 12
    for drawing in drawings:
        root = ET.fromstring(drawing)
        assert "nan" not in drawing.lower().replace("nan ", "")
        assert root.get("aria-label")


def test_text_from_telemetry_is_escaped(text: str) -> None:
    assert "&lt;b&gt;100 %&lt;/b&gt;" in text
    assert "<b>100 %</b>" not in text


def test_what_no_fault_accounts_for_is_in_the_headline(simulated: Any, outcome: Outcome) -> None:
    worse = dataclasses.replace(outcome, other=outcome.known[:1])
    text = report.page(worse, simulated.telemetry, years_of(simulated.people))
    assert "rightly named, 1 incident too many" in text
    assert "no fault accounts for it" in text
