"""How much an incident hurts, and whether it wakes somebody: the table, case by case."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from otel_ml.incidents import Member
from otel_ml.incidents.advice import Since
from otel_ml.incidents.harm import assess, implied_change, rank_members
from otel_ml.types import Stream

_FAMILY = {
    "input_drift": "inputs",
    "data_quality": "quality",
    "score_drift": "outputs",
    "prediction_drift": "outputs",
    "performance": "performance",
    "latency": "latency",
    "errors": "latency",
    "joint_drift": "inputs",
    "calibration": "performance",
    "duplicates": "inputs",
    "client_drift": "inputs",
    "volume": "latency",
    "schema": "quality",
}


def _members(*items: tuple[str, str, str, dict[str, float]]) -> tuple[list[Member], list[Stream]]:
    members, streams = [], []
    for i, (monitor, target, defect, effect) in enumerate(items):
        effect = {"before": 0.0, "after": 0.0, "total_variation": 0.0, **effect}
        members.append(Member(i, monitor, target, defect, 1.0, 100, effect, f"text of {target}"))
        streams.append(_stream(monitor, target, np.array([0.5, 0.5])))
    return members, streams


def _stream(monitor: str, target: str, law: Any) -> Stream:
    none = np.zeros((1, len(law)))  # what is bet on is not read here
    cells = tuple(f"c{i}" for i in range(len(law)))
    return Stream(
        monitor, _FAMILY[monitor], target, target, "rows", law, none, none, np.ones(1), cells
    )


_DRIFT = ("input_drift", "x", "", {"total_variation": 0.4})
_MISSING = ("data_quality", "x", "missing", {"after": 0.3})
_SCORE = ("score_drift", "score", "", {"total_variation": 0.25})
_ERRORS = ("performance", "performance", "", {"before": 0.1, "after": 0.15})
_WORSE = ("performance", "sex=2", "", {"before": 0.1, "after": 0.25})
_SLOW = ("latency", "latency", "", {"after": 0.9})
_FAILED = ("errors", "errors", "", {"after": 0.5})
_JOINT = ("joint_drift", "x", "", {"total_variation": 0.3})
_OUT = ("joint_drift", "out_of_distribution", "", {"total_variation": 0.3})
_FEW_OUT = ("joint_drift", "out_of_distribution", "", {"total_variation": 0.04})
_CALIBRATION = ("calibration", "calibration", "", {"total_variation": 0.1})
_REPEATED = ("duplicates", "duplicates", "", {"after": 0.4})
_SOME_REPEATED = ("duplicates", "duplicates", "", {"after": 0.05})
_CLIENTS = ("client_drift", "clients", "", {"total_variation": 0.3})
_FEWER = ("volume", "volume", "", {"before": 100.0, "after": 20.0})
_MORE = ("volume", "volume", "", {"before": 100.0, "after": 300.0})
_SCHEMA = ("schema", "schema", "", {"after": 1.0})


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
        # relations between features the model ignores hurt nobody, unless an output moved
        ([_JOINT], {"x": 0.2}, "score", 0.06, "warning", True),
        ([_JOINT], {"x": 0.001}, "score", 0.0003, "info", False),
        ([_JOINT, _DRIFT], {"x": 0.001}, "score", 0.0004, "info", False),
        ([_JOINT, _SCORE], {"x": 0.001}, "score", 0.25, "warning", True),
        ([_OUT], {"x": 0.2}, "defective_rows", 0.3, "warning", True),
        ([_FEW_OUT], {"x": 0.2}, "defective_rows", 0.04, "info", False),
        ([_CALIBRATION], {}, "score", 0.1, "warning", True),
        ([_SCHEMA], {}, "defective_rows", 1.0, "warning", True),
        # what only the traffic does
        ([_REPEATED], {}, "defective_rows", 0.4, "warning", True),
        ([_SOME_REPEATED], {}, "defective_rows", 0.05, "info", False),
        ([_CLIENTS], {}, "unknown", None, "info", False),
        ([_FEWER], {}, "unknown", None, "warning", True),
        ([_MORE], {}, "unknown", None, "info", False),
        ([_CLIENTS, _DRIFT], {"x": 0.2}, "score", 0.08, "warning", True),
        ([_CLIENTS, _DRIFT], {"x": 0.001}, "score", 0.0004, "info", False),
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


def _since(target: str, counts: Any) -> Since:
    held = np.array([counts], dtype=np.int64)
    return Since({target: 0}, held, np.zeros((1, 3)))


def test_effects_of_cells_say_more_than_the_sensitivity() -> None:
    """Mean change and distance of the laws of effects, against direct computation."""
    law, after = np.array([0.5, 0.3, 0.2]), np.array([200, 300, 500])
    effect = np.array([0.1, -0.2, 0.4])
    member = _members(_DRIFT)[0][0]
    streams = [_stream("input_drift", "x", law)]
    found = implied_change(member, streams, {"x": 9.0}, {"x": effect}, _since("x", after))
    assert found is not None
    q = after / 1000
    assert found[1] == pytest.approx(float(((q - law) * effect).sum()))
    # the least mean distance that turns one law into the other, from their quantiles
    grid = (np.arange(100_000) + 0.5) / 100_000
    order = np.argsort(effect)
    old = effect[order][np.searchsorted(np.cumsum(law[order]), grid)]
    new = effect[order][np.searchsorted(np.cumsum(q[order]), grid)]
    assert found[0] == pytest.approx(float(np.abs(new - old).mean()), abs=1e-4)
    assert found[0] >= abs(found[1] or 0.0)


def test_a_shift_between_cells_that_mean_the_same_to_the_model_pages_nobody() -> None:
    law, after = np.array([0.5, 0.5]), np.array([900, 100])
    members, _ = _members(_DRIFT)
    streams = [_stream("input_drift", "x", law)]
    flat, steep = {"x": np.array([0.2, 0.2])}, {"x": np.array([0.0, 0.3])}
    since = _since("x", after)
    harm, severity, pages = assess(members, streams, {}, effects=flat, since=since)
    assert (severity, pages) == ("info", False)
    assert harm.value == pytest.approx(0.0)
    harm, _, pages = assess(members, streams, {}, effects=steep, since=since)
    assert pages
    assert harm.value == pytest.approx(0.12)
    assert "down 0.120 net" in harm.text
    assert assess(members, streams, {}, effects=steep)[0].kind == "unknown"  # no counts


def test_the_harm_names_the_defect_of_the_feature_that_is_used() -> None:
    other = ("data_quality", "y", "missing", {"after": 0.2})
    members, streams = _members(_MISSING, other)
    harm, severity, pages = assess(members, streams, {"x": 0.001, "y": 0.2})
    assert harm.text == "20% of rows are scored without y"
    assert (severity, pages) == ("warning", True)
    harm, severity, pages = assess(members, streams, {"x": 0.001, "y": 0.001})
    assert (severity, pages) == ("info", False)


def test_rows_that_are_far_out_by_an_ignored_feature_page_nobody() -> None:
    far = ("data_quality", "x", "out_of_range", {"after": 0.02})
    unusual = ("joint_drift", "out_of_distribution", "", {"total_variation": 0.2})
    members, streams = _members(far, unusual)
    assert assess(members, streams, {"x": 0.001})[1:] == ("info", False)
    assert assess(members, streams, {"x": 0.1})[2]
    members, streams = _members(unusual)
    assert assess(members, streams, {"x": 0.001})[2]


def test_tentative_members_do_not_count() -> None:
    members, streams = _members(_drift("x", 0.5), _drift("y", 0.5))
    sensitivity = {"x": 0.0, "y": 0.2}
    assert assess(members, streams, sensitivity)[2]
    early = [members[0], dataclasses.replace(members[1], tentative=True)]
    assert assess(early, streams, sensitivity)[1:] == ("info", False)


def _named(items: Any, sensitivity: Any = None, **more: Any) -> list[tuple[str, str]]:
    members, streams = _members(*items)
    ranked = rank_members(members, streams, sensitivity or {}, **more)
    assert sorted(m.stream for m in ranked) == sorted(m.stream for m in members)
    return [(m.monitor, m.target) for m in ranked]


def _drift(name: str, information: float, **more: float) -> Any:
    effect = {"total_variation": 0.3, "information": information, **more}
    return ("input_drift", name, "", effect)


def test_of_two_features_that_moved_alike_the_important_one_comes_first() -> None:
    alike = [_drift("a", 0.3), _drift("b", 0.2)]
    assert _named(alike)[0] == ("input_drift", "a")
    assert _named(alike, {"a": 0.01, "b": 0.2})[0] == ("input_drift", "b")
    assert _named(alike, {"a": 0.2, "b": 0.01})[0] == ("input_drift", "a")
    # by more than a factor of two evidence decides
    apart = [_drift("a", 0.5), _drift("b", 0.2)]
    assert _named(apart, {"a": 0.01, "b": 0.2})[0] == ("input_drift", "a")


def test_a_relation_broke_where_it_broke_most_however_important_its_other_ends_are() -> None:
    broken = [("joint_drift", "a", "", {"total_variation": 0.3, "information": 0.3})]
    broken += [("joint_drift", "b", "", {"total_variation": 0.3, "information": 0.2})]
    assert _named(broken, {"a": 0.01, "b": 0.2})[0] == ("joint_drift", "a")


def test_only_changes_of_the_same_time_are_compared_by_harm() -> None:
    alike = [_drift("a", 0.3), _drift("b", 0.2)]
    sensitivity = {"a": 0.01, "b": 0.2}
    same = {0: (1000, 1100), 1: (1150, 1300)}
    later = {0: (1000, 1100), 1: (1500, 1700)}
    assert _named(alike, sensitivity, changes=same)[0] == ("input_drift", "b")
    assert _named(alike, sensitivity, changes=later)[0] == ("input_drift", "a")


def test_what_follows_comes_after_what_it_follows_from() -> None:
    score = ("score_drift", "score", "", {"information": 3.0})
    residual = ("joint_drift", "a", "", {"information": 2.0})
    other = ("joint_drift", "c", "", {"information": 2.5})
    found = _named([_WORSE, score, other, residual, _drift("b", 0.9), _drift("a", 0.1)])
    # b moved further, but still fits the others; the residual of a does not
    assert found[:2] == [("input_drift", "a"), ("input_drift", "b")]
    assert [m for m, _ in found[2:]] == ["joint_drift", "joint_drift", "score_drift", "performance"]


def test_all_rows_come_before_a_group_that_changed_as_much() -> None:
    whole = ("performance", "performance", "", {"before": 0.1, "after": 0.3, "information": 0.2})
    alike = ("performance", "sex=1", "", {"before": 0.1, "after": 0.31, "information": 0.22})
    worse = ("performance", "sex=1", "", {"before": 0.1, "after": 0.6, "information": 0.9})
    assert _named([alike, whole])[0] == ("performance", "performance")
    assert _named([whole, worse])[0] == ("performance", "sex=1")


def test_errors_come_before_what_their_scores_mean() -> None:
    """Scores by outcome tell more cells apart, so they have more evidence whatever happened."""
    meaning = ("calibration", "calibration", "", {"information": 0.3})
    errors = ("performance", "performance", "", {"before": 0.1, "after": 0.3, "information": 0.1})
    assert _named([meaning, errors])[0] == ("performance", "performance")
    of_group = ("calibration", "sex=1", "", {"information": 0.5})
    worse = ("performance", "sex=1", "", {"before": 0.1, "after": 0.5, "information": 0.3})
    assert _named([meaning, of_group, worse])[0] == ("performance", "sex=1")
    # where errors did not rise, what scores mean is all there is
    assert _named([of_group, meaning])[0][0] == "calibration"


def test_the_scores_of_one_group_are_no_reason_for_errors_of_others() -> None:
    score = ("score_drift", "race=8", "", {"information": 0.4})
    errors = ("performance", "sex=2", "", {"before": 0.1, "after": 0.3, "information": 0.1})
    own = ("performance", "race=8", "", {"before": 0.1, "after": 0.3, "information": 0.1})
    assert _named([score, errors])[0] == ("performance", "sex=2")
    assert _named([score, own])[0] == ("score_drift", "race=8")
    assert _named([score, _SCORE, errors])[0] == ("score_drift", "score")


def test_relations_alone_and_outputs_alone_are_ranked_by_evidence() -> None:
    one = ("joint_drift", "a", "", {"information": 0.1})
    two = ("joint_drift", "b", "", {"information": 0.9})
    assert _named([one, two])[0] == ("joint_drift", "b")
    assert _named([("prediction_drift", "prediction", "", {}), _SCORE])[0][0] == "score_drift"
    assert rank_members([], []) == []
