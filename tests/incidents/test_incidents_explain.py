"""From members, quiet streams and roll-outs to facts and causes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from otel_ml.incidents import Incident, Member
from otel_ml.incidents.advice import FACTS, Setting, facts_of
from otel_ml.incidents.explain import Rollout, Since, explain
from otel_ml.incidents.whom import Whom
from otel_ml.types import Stream


def _streams() -> list[Stream]:
    valid, all_cells = np.array([0.25] * 4 + [0.0]), np.array([0.225] * 4 + [0.1])
    streams = [_bare("input_drift", "inputs", name, valid) for name in ("x", "y")]
    streams += [
        _bare("data_quality", "quality", name, all_cells, defect="missing") for name in ("x", "y")
    ]
    even = np.array([0.5, 0.5])
    streams.append(_bare("score_drift", "outputs", "score", even))
    streams.append(_bare("prediction_drift", "outputs", "prediction", even))
    return streams


def _bare(monitor: str, family: str, name: str, law: Any, **more: Any) -> Stream:
    none = np.zeros((1, len(law)))  # what is bet on is not read here
    cells = tuple(f"c{i}" for i in range(len(law)))
    if more.get("defect"):
        more["yes"] = np.arange(len(law)) == len(law) - 1
    return Stream(monitor, family, name, name, "rows", law, none, none, np.ones(1), cells, **more)


def _incident(streams: list[Stream], *members: int, **effect: Any) -> Incident:
    incident = Incident("i", 5000, 0.0, 6.0, 4000, (3900, 4100))
    effect = {"total_variation": 0.3, "before": 0.1, "after": 0.4, "rows": 500, **effect}
    for i in members:
        s = streams[i]
        incident.members.append(
            Member(i, s.monitor, s.target, s.defect, 1.0, 5000, effect, f"text of {s.target}")
        )
    return incident


def _counts(**moved: list[int]) -> Since:
    even = [112, 113, 112, 113, 50]
    held = {"x": even, "y": even, "score": [250, 250], "prediction": [250, 250]} | moved
    rows = [v + [0] * (5 - len(v)) for v in held.values()]
    index = {name: i for i, name in enumerate(held)}
    late = np.array(rows) // 2
    return Since(index, np.array(rows), np.zeros((len(rows), 3)), {}, late)


def test_what_did_not_move_speaks_as_well() -> None:
    streams = _streams()
    incident = _incident(streams, 5)  # predictions alone
    explain(incident, streams, {}, since=_counts(prediction=[350, 150]))
    assert incident.cause == "threshold_change"
    assert "scores are what they were" in incident.causes[0].supporting
    # the scores moved without joining: then it is no matter of the threshold
    explain(incident, streams, {}, since=_counts(prediction=[350, 150], score=[350, 150]))
    assert incident.cause == "score_shift"


def test_a_feature_that_moved_without_joining_is_known() -> None:
    streams = _streams()
    incident = _incident(streams, 4)
    setting = Setting(since=_counts(x=[300, 100, 50, 50, 50], score=[400, 100]))
    facts = facts_of(incident, streams, setting)
    assert facts["inputs_moved"]
    assert facts["features_moved"] == 1
    assert not facts["predictions_moved"]
    quiet = facts_of(incident, streams, Setting(since=_counts(score=[400, 100])))
    assert not quiet["inputs_moved"]
    assert not quiet["inputs_stirred"]


def test_streams_that_did_not_move_are_rarely_said_to_have_moved() -> None:
    """Of 4,000 without change three at most: at 3 in a thousand that has a chance of 0.2 %."""
    rng = np.random.default_rng(0)
    stream = _streams()[0]
    moved = stirred = 0
    for _ in range(4000):
        since = _counts(x=[*rng.multinomial(400, [0.25] * 4).tolist(), 44])
        moved += since.moved(stream)
        stirred += since.stirred([stream])
    assert moved <= 3
    assert stirred <= 3


def test_features_that_became_empty_together_are_one_failure() -> None:
    streams = _streams()
    incident = _incident(streams, 2, 3, rate=True)
    explain(incident, streams, {})
    assert incident.cause == "upstream_join_failure"
    assert facts_of(incident, streams, Setting())["features_missing"] == 2


@pytest.mark.parametrize(
    ("row", "named"), [(3990, True), (3500, True), (4150, True), (3000, False), (4500, False)]
)
def test_a_roll_out_near_the_change_point_is_named(row: int, named: bool) -> None:
    streams = _streams()
    incident = _incident(streams, 4)
    rollouts = [Rollout(100, "model", "the first one"), Rollout(row, "version", "version 2.1")]
    explain(incident, streams, {}, rollouts=rollouts)
    assert (incident.cause == "model_rollout") == named
    if named:
        assert any("version 2.1" in text for text in incident.causes[0].supporting)
        assert "version 2.1" in incident.causes[0].next_step


def test_a_roll_out_does_not_explain_a_defect_of_the_data() -> None:
    streams = _streams()
    incident = _incident(streams, 2, rate=True)
    explain(incident, streams, {}, rollouts=[Rollout(3990, "version", "version 2.1")])
    assert incident.cause == "missing_values"
    assert "model_rollout" in [c.id for c in incident.causes[:3]]


def test_two_features_that_exchanged_mean_and_spread_are_swapped() -> None:
    streams = _streams()
    incident = _incident(streams, 0, 1)
    x = {"before": 10.0, "sd_before": 2.0, "after": 50.2, "sd_after": 9.5, "total_variation": 0.9}
    y = {"before": 50.0, "sd_before": 10.0, "after": 10.1, "sd_after": 2.1, "total_variation": 0.9}
    incident.members = [
        replace(incident.members[0], effect=x),
        replace(incident.members[1], effect=y),
    ]
    explain(incident, streams, {})
    assert incident.cause == "swapped_columns"
    y["after"] = 30.0
    assert "swapped_with" not in facts_of(incident, streams, Setting())


def test_slice_past_and_further_knowledge_become_facts() -> None:
    streams = _streams()
    incident = _incident(streams, 0)
    whom = Whom("client", "client", "c7", 0.97, 0.11)
    explain(
        incident,
        streams,
        {},
        whom=whom,
        earlier=[_incident(streams, 0), _incident(streams, 1)],
        known={"labels_moved": True},
    )
    causes = {c.id: c for c in incident.causes}
    assert any("c7" in text for text in causes["client_change"].supporting)
    assert any(
        "1 earlier" in text for text in causes["seasonal_pattern_not_in_reference"].supporting
    )
    assert set(facts_of(incident, streams, Setting(whom=whom, since=_counts()))) <= set(FACTS)


def test_a_change_that_grows_is_gradual() -> None:
    streams = _streams()
    since = _counts(x=[190, 110, 100, 100, 50])
    late = since.late
    assert late is not None
    late[0] = [120, 50, 40, 40, 25]
    facts = facts_of(_incident(streams, 0), streams, Setting(since=since))
    assert facts["gradual"]
    steady = facts_of(
        _incident(streams, 0), streams, Setting(since=_counts(x=[260, 80, 80, 80, 50]))
    )
    assert not steady["gradual"]
