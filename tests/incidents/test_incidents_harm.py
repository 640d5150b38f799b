"""How much an incident hurts, and whether it wakes somebody: the table, case by case."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from otel_ml.incidents import Member
from otel_ml.incidents.harm import assess
from otel_ml.types import Stream

_FAMILY = {
    "input_drift": "inputs",
    "data_quality": "quality",
    "score_drift": "outputs",
    "prediction_drift": "outputs",
    "performance": "performance",
    "latency": "latency",
    "errors": "latency",
}


def _members(*items: tuple[str, str, str, dict[str, float]]) -> tuple[list[Member], list[Stream]]:
    members, streams = [], []
    for i, (monitor, target, defect, effect) in enumerate(items):
        effect = {"before": 0.0, "after": 0.0, "total_variation": 0.0, **effect}
        members.append(Member(i, monitor, target, defect, 1.0, 100, effect, f"text of {target}"))
        none = np.zeros((1, 2))
        streams.append(
            Stream(monitor, _FAMILY[monitor], target, target, "rows", none[0], none, ("a", "b"))
        )
    return members, streams


_DRIFT = ("input_drift", "x", "", {"total_variation": 0.4})
_MISSING = ("data_quality", "x", "missing", {"after": 0.3})
_SCORE = ("score_drift", "score", "", {"total_variation": 0.25})
_ERRORS = ("performance", "performance", "", {"before": 0.1, "after": 0.15})
_WORSE = ("performance", "sex=2", "", {"before": 0.1, "after": 0.25})
_SLOW = ("latency", "latency", "", {"after": 0.9})
_FAILED = ("errors", "errors", "", {"after": 0.5})


@pytest.mark.parametrize(
    ("items", "sensitivity", "kind", "value", "severity", "paged"),
    [
        # drift is worth what the model makes of it
        ([_DRIFT], {"x": 0.2}, "score", 0.08, "warning", True),
        ([_DRIFT], {"x": 0.01}, "score", 0.004, "info", False),
        ([_DRIFT], {"y": 0.2}, "unknown", None, "warning", True),
        # a defect pages unless the model does not use the feature
        ([_MISSING], {}, "defective_rows", 0.3, "warning", True),
        ([_MISSING], {"x": 0.2}, "defective_rows", 0.3, "warning", True),
        ([_MISSING], {"x": 0.001}, "defective_rows", 0.3, "info", False),
        # outputs that moved hurt whatever moved them
        ([_DRIFT, _SCORE], {"x": 0.001}, "score", 0.25, "warning", True),
        ([_MISSING, _SCORE], {"x": 0.001}, "score", 0.25, "warning", True),
        # realised errors weigh most, and the worst group is named
        ([_DRIFT, _SCORE, _ERRORS], {"x": 0.2}, "error_rate", 0.05, "warning", True),
        ([_ERRORS, _WORSE], {}, "error_rate", 0.15, "critical", True),
        ([_SLOW], {}, "slow_calls", 0.9, "critical", True),
        ([_FAILED], {}, "failed_calls", 0.5, "critical", True),
    ],
)
def test_harm_and_severity(
    items: Any, sensitivity: Any, kind: str, value: Any, severity: str, paged: bool
) -> None:
    members, streams = _members(*items)
    harm, found, pages = assess(members, streams, sensitivity)
    assert harm.kind == kind
    assert harm.value == (None if value is None else pytest.approx(value))
    assert (found, pages) == (severity, paged)
    assert harm.text


@pytest.mark.parametrize(
    "defect", ["missing", "unseen", "out_of_range", "infinite", "not_a_number"]
)
def test_every_defect_has_words(defect: str) -> None:
    members, streams = _members(("data_quality", "age", defect, {"after": 0.25}))
    harm, _, _ = assess(members, streams, {})
    assert harm.text.startswith("25% of rows")
    assert "age" in harm.text


def test_the_worst_group_is_the_one_named() -> None:
    members, streams = _members(_ERRORS, _WORSE)
    assert "sex=2" in assess(members, streams, {})[0].text
