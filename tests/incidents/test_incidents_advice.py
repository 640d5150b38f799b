"""The playbook: every cause can be reached, is known to the registry, and says what to do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml.errors import ConfigError
from otel_ml.incidents.advice import Playbook, builtin, rank
from otel_ml.semconv.attributes import MlIncidentCause

_QUIET = {
    "inputs_moved": False,
    "outputs_moved": False,
    "performance_moved": False,
    "defect": "",
    "defect_too": False,
    "others_missing": False,
    "missing_too": False,
    "scale_only": False,
    "target": "x",
}
# facts under which each cause must be named first
_FIRST: dict[str, dict[str, Any]] = {
    "unit_change": {"monitor": "data_quality", "defect": "out_of_range", "defect_too": True,
                    "after": 0.5, "before": 0.0, "scale": 12, "unit": "years to months"},
    "missing_values": {"monitor": "data_quality", "defect": "missing", "defect_too": True,
                       "after": 0.3, "before": 0.01},
    "new_category": {"monitor": "data_quality", "defect": "unseen", "defect_too": True,
                     "after": 0.1, "before": 0.0},
    "out_of_range": {"monitor": "data_quality", "defect": "infinite", "defect_too": True,
                     "after": 0.1, "before": 0.0},
    "type_change": {"monitor": "data_quality", "defect": "not_a_number", "defect_too": True,
                    "after": 0.5, "before": 0.0},
    "stuck_value": {"monitor": "input_drift", "stuck": True, "total_variation": 0.9},
    "input_shift": {"monitor": "input_drift", "total_variation": 0.2},
    "score_shift": {"monitor": "score_drift", "total_variation": 0.2},
    "class_mix_shift": {"monitor": "prediction_drift", "total_variation": 0.2,
                        "inputs_moved": True, "top_cell": "1", "top_before": 0.5,
                        "top_after": 0.7},
    "performance_drop": {"monitor": "performance", "before": 0.1, "after": 0.3},
    "subgroup_performance_drop": {"monitor": "performance", "before": 0.1, "after": 0.3,
                                  "group": "sex=2"},
    "latency_increase": {"monitor": "latency", "after": 0.9},
    "error_increase": {"monitor": "errors", "after": 0.5},
}  # fmt: skip


def test_every_cause_is_a_value_of_the_registry_and_the_other_way_round() -> None:
    known = {v for k, v in vars(MlIncidentCause).items() if k.isupper() and isinstance(v, str)}
    causes = [entry.id for entry in builtin().entries]
    assert len(set(causes)) == len(causes)
    assert set(causes) == known
    assert set(causes) == set(_FIRST)


@pytest.mark.parametrize("cause", _FIRST)
def test_every_cause_is_named_first_under_its_own_facts(cause: str) -> None:
    causes = rank({**_QUIET, **_FIRST[cause]})
    assert causes[0].id == cause
    assert causes[0].supporting
    assert causes[0].score > 0.5
    assert [c.score for c in causes] == sorted((c.score for c in causes), reverse=True)


@pytest.mark.parametrize("cause", _FIRST)
def test_a_cause_without_its_requirements_is_not_considered(cause: str) -> None:
    assert cause not in [c.id for c in rank({})]


@pytest.mark.parametrize("entry", builtin().entries, ids=lambda e: e.id)
def test_every_entry_says_what_it_is_and_what_to_do(entry: Any) -> None:
    assert entry.title
    assert entry.meaning
    assert entry.impact
    assert len(entry.diagnosis) >= 2
    assert entry.requires
    assert entry.next_step.endswith(".")
    named = rank({**_QUIET, **_FIRST[entry.id]})[0]
    assert named.runbook.endswith(f"runbooks/{entry.id}.md")
    for sentence in (*named.supporting, *named.contradicting, named.next_step):
        assert "{" not in sentence
        assert "unknown" not in sentence


def test_every_fact_the_playbook_asks_for_is_one_that_is_found_out() -> None:
    found = set(_QUIET) | {k for facts in _FIRST.values() for k in facts}
    found |= {"performance_moved_overall_more"}
    asked = {t.fact for e in builtin().entries for t in e.requires}
    asked |= {o.test.fact for e in builtin().entries for o in e.observations}
    assert asked <= found


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=30), st.floats())
def test_a_name_or_number_of_any_kind_is_only_quoted(name: str, value: float) -> None:
    facts = {**_QUIET, **_FIRST["missing_values"], "target": name, "after": value}
    causes = rank(facts)
    assert causes[0].id == "missing_values"
    assert name in causes[0].next_step


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("causes: [{id: a}]", "causes[0] (a)"),
        ("causes: [{title: b}]", "without id"),
        (
            "causes: [{id: a, title: t, meaning: m, impact: i, diagnosis: [d], next: n, "
            "requires: [{fact: x, about: 1}]}]",
            "one of is, in, at_least, at_most, known",
        ),
    ],
)
def test_a_playbook_that_is_wrong_names_the_entry(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Playbook.parse(text, "own.yaml")
    assert says in caught.value.message
    assert "own.yaml" in caught.value.message
    assert caught.value.remedy
