"""The playbook: every cause can be reached, is known to the registry, and says what to do."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml.errors import ConfigError
from otel_ml.generate import runbooks
from otel_ml.incidents.advice import FACTS, Playbook, builtin, load, rank
from otel_ml.semconv.attributes import MlIncidentCause

_QUIET: dict[str, Any] = {
    "inputs_moved": False, "outputs_moved": False, "performance_moved": False, "defect": "",
    "scores_moved": False, "predictions_moved": False, "calibration_moved": False,
    "duplicates_moved": False, "clients_moved": False, "volume_moved": False,
    "schema_moved": False, "latency_moved": False, "errors_moved": False,
    "joint_moved": False, "joint_only": False, "residual_moved": False,
    "out_of_distribution_moved": False, "defect_too": False, "others_missing": False,
    "missing_too": False, "scale_only": False, "target": "x", "features_moved": 1,
    "features_missing": 0, "features_stuck": 0, "features_shifted": 0, "from_start": False,
    "seen_before": 0, "total_variation": 0.2, "top_cell": "a", "top_before": 0.2,
    "top_after": 0.4, "before": 0.1, "after": 0.3,
}  # fmt: skip
_DRIFT = {"monitor": "input_drift"}
_SCORE = {"monitor": "score_drift", "target": "score", "scores_moved": True, "outputs_moved": True}
_WRONG = {
    "monitor": "performance",
    "target": "performance",
    "performance_moved": True,
    "rate": True,
}


def _defect(name: str, **more: Any) -> dict[str, Any]:
    return {"monitor": "data_quality", "defect": name, "defect_too": True, "rate": True, **more}


# facts under which each cause must be named first
_FIRST: dict[str, dict[str, Any]] = {
    "unit_change": _defect("out_of_range", scale=12, unit="years to months", scaled_share=1.0),
    "shifted_offset": {**_DRIFT, "constant_added": True, "offset_sd": 0.6},
    "sign_flip": {**_DRIFT, "negated": True},
    "swapped_columns": _defect("out_of_range", swapped_with="y", features_moved=2,
                               inputs_moved=True, scale=7.0, unit="weeks to days"),
    "missing_values": _defect("missing"),
    "upstream_join_failure": _defect("missing", features_missing=3, features_moved=3,
                                     others_missing=True, inputs_moved=True),
    "new_category": _defect("unseen"),
    "category_renamed": _defect("unseen", moved_from="b", moved_to="unseen"),
    "out_of_range": _defect("infinite"),
    "sentinel_value": _defect("out_of_range", sentinel=9999.0),
    "type_change": _defect("not_a_number"),
    "stuck_value": {**_DRIFT, "stuck": True},
    "default_value": {**_DRIFT, "categorical": False, "spike_share": 0.3, "spike_cell": "(1, 2]",
                      "spike_value": 1.5},
    "rounding_or_precision": {**_DRIFT, "coarser": True},
    "clipping": {**_DRIFT, "clipped": "above", "clipped_share": 0.2},
    "feature_pipeline_delay": {**_DRIFT, "stuck": True, "features_stuck": 3, "features_shifted": 3,
                               "inputs_moved": True},
    "input_shift": {**_DRIFT, "features_moved": 4, "inputs_moved": True},
    "subpopulation_growth": {**_DRIFT, "categorical": True, "grew": True, "spike_share": 0.25,
                             "spike_cell": "a", "inputs_moved": True, "features_moved": 2},
    "correlation_change": {"monitor": "joint_drift", "joint_moved": True, "joint_only": True,
                           "residual_moved": True},
    "out_of_distribution_inputs": {"monitor": "joint_drift", "target": "out_of_distribution",
                                   "out_of_distribution_moved": True, "clients_moved": True},
    "training_serving_skew": {**_DRIFT, "from_start": True, "features_moved": 5,
                              "inputs_moved": True},
    "seasonal_pattern_not_in_reference": {**_DRIFT, "seen_before": 2},
    "client_change": {**_DRIFT, "whom": "client = c: 97% of the affected rows, 11% of all",
                      "whom_kind": "client", "clients_moved": True},
    "schema_change": {"monitor": "schema", "target": "schema", "schema_moved": True},
    "score_shift": _SCORE,
    "model_rollout": {**_SCORE, "rollout": "version 2", "rollout_rows": 10},
    "threshold_change": {"monitor": "prediction_drift", "predictions_moved": True,
                         "outputs_moved": True},
    "class_prior_shift": {**_SCORE, "predictions_moved": True, "inputs_moved": True,
                          "inputs_stirred": True},
    "calibration_shift": {"monitor": "calibration", "target": "calibration",
                          "calibration_moved": True},
    "performance_drop": {**_WRONG, "inputs_moved": True},
    "concept_drift": {**_WRONG, "calibration_moved": True},
    "subgroup_performance_drop": {**_WRONG, "group": "sex=2", "target": "sex=2",
                                  "performance_moved_overall_more": False},
    "label_problem": {**_WRONG, "labels_moved": True, "labeller": "agency 7", "after": 0.5},
    "duplicate_traffic": {"monitor": "duplicates", "target": "duplicates",
                          "duplicates_moved": True},
    "retry_storm": {"monitor": "duplicates", "duplicates_moved": True, "volume_moved": True,
                    "errors_moved": True, "latency_moved": True, "volume_ratio": 2.0},
    "volume_drop": {"monitor": "volume", "volume_moved": True, "volume_ratio": 0.3},
    "volume_surge": {"monitor": "volume", "volume_moved": True, "volume_ratio": 3.0},
    "latency_increase": {"monitor": "latency", "latency_moved": True, "rate": True},
    "larger_batches": {"monitor": "latency", "latency_moved": True, "rate": True,
                       "batch_ratio": 4.0},
    "error_increase": {"monitor": "errors", "errors_moved": True, "rate": True},
}  # fmt: skip
_FIRST["latency_increase"]["after"] = 0.9


def test_every_cause_is_a_value_of_the_registry_and_the_other_way_round() -> None:
    known = {v for k, v in vars(MlIncidentCause).items() if k.isupper() and isinstance(v, str)}
    causes = [entry.id for entry in builtin().entries]
    assert len(causes) >= 25
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
    assert cause not in [c.id for c in rank({**_QUIET, "monitor": "none"})]


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


def test_every_fact_asked_about_or_named_is_in_the_table() -> None:
    known = set(FACTS)
    for entry in builtin().entries:
        for test in (*entry.requires, *(o.test for o in entry.observations)):
            assert test.facts() <= known, entry.id
        for text in (entry.next_step, *(o.say for o in entry.observations)):
            named = {name for _, name, _, _ in string.Formatter().parse(text) if name}
            assert named <= known, (entry.id, text)
    assert set(_QUIET) | {k for facts in _FIRST.values() for k in facts} <= known


def test_the_runbooks_and_the_page_of_facts_are_up_to_date() -> None:
    assert runbooks.main(["--check"]) == 0
    page = runbooks.facts_page()
    for name, fact in FACTS.items():
        assert f"| `{name}` | {fact.kind} | {fact.meaning} |" in page


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=30), st.floats())
def test_a_name_or_number_of_any_kind_is_only_quoted(name: str, value: float) -> None:
    facts = {**_QUIET, **_FIRST["missing_values"], "target": name, "after": value}
    causes = rank(facts)
    assert "missing_values" in [c.id for c in causes]
    assert all(name in c.next_step for c in causes if c.id == "missing_values")


_OWN = """
causes:
  - id: ledger_closed
    title: Closed
    meaning: m
    impact: i
    diagnosis: [d]
    requires:
      - {fact: target, in: [balance, turnover]}
      - any: [{fact: defect, is: missing}, {fact: stuck, is: true}]
    prior: 1
    observations:
      - when: [{fact: after, at_least: 0.1}, {fact: features_missing, at_most: 5}]
        weight: 3
        say: "{target} is empty in {after}, {{literally}}"
    next: Wait.
  - id: missing_values
    next: "Ticket for {target}."
    runbook: https://wiki.example.com/m
"""


def test_a_playbook_of_the_user_adds_and_overrides(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(_OWN, encoding="utf-8")
    book = load(path)
    assert len(book.entries) == len(builtin().entries) + 1
    causes = rank({**_QUIET, **_defect("missing", target="balance")}, book)
    own, other = causes[0], next(c for c in causes if c.id == "missing_values")
    assert own.id == "ledger_closed"
    assert own.supporting == ("balance is empty in 30.0%, {literally}",)
    assert own.runbook == f"{path}#ledger_closed"
    assert (other.next_step, other.runbook) == ("Ticket for balance.", "https://wiki.example.com/m")
    kept = next(e for e in builtin().entries if e.id == "missing_values")
    mine = next(e for e in book.entries if e.id == "missing_values")
    assert mine.observations == kept.observations
    assert "ledger_closed" not in [c.id for c in rank({**_QUIET, **_defect("missing")}, book)]
    assert "ledger_closed" not in [c.id for c in rank({**_QUIET, "target": "balance"}, book)]


_NEW = (
    "id: a, title: t, meaning: m, impact: i, diagnosis: [d], next: n, "
    "requires: [{fact: defect, is: x}]"
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("causes: [{id: a}]", "own.yaml:1: causes[0]: the new cause 'a' lacks title"),
        ("causes:\n  - title: b", "own.yaml:2: causes[0]: the cause has no id"),
        ("causes:\n- {id: A b}", "own.yaml:2: causes[0].id: 'A b' is no id"),
        ("cause: []", "own.yaml:1: cause: unknown key"),
        ("[]", "a playbook is a mapping"),
        ("", "a playbook is a mapping"),
        ("causes: 7", "causes: a playbook needs a list"),
        ("causes: [7]", "causes[0]: a cause is a mapping"),
        (
            "causes: [{id: missing_values, nxt: n}]",
            "causes[0].nxt: unknown key; did you mean next?",
        ),
        ("causes: [{id: missing_values, prior: much}]", "causes[0].prior: expected a number"),
        ("causes: [{id: missing_values, prior: 1e9}]", "causes[0].prior: expected a number"),
        ("causes: [{id: missing_values}, {id: missing_values}]", "is given twice"),
        ("causes: [{id: missing_values, next: '{targt}.'}]", "did you mean target?"),
        ("causes: [{id: missing_values, next: '{target'}]", "the braces do not match"),
        ("causes: [{id: missing_values, next: '{after:.3f}'}]", "has no format of its own"),
        ("causes: [{id: missing_values, requires: []}]", "nothing is required"),
        ("causes: [{id: missing_values, requires: x}]", "expected a list, found a text"),
        ("causes: [{id: missing_values, requires: [{is: x}]}]", "names no fact"),
        (
            "causes: [{id: missing_values, requires: [{fact: nope, is: x}]}]",
            "causes[0].requires[0].fact: 'nope' is not a fact",
        ),
        (
            "causes: [{id: missing_values, requires: [{fact: target, about: 1}]}]",
            "one of is, in, at_least, at_most, known is needed",
        ),
        ("causes: [{id: missing_values, requires: [{fact: stuck, is: yes}]}]", "true or false"),
        ("causes: [{id: missing_values, requires: [{fact: target, at_least: 1}]}]", "is no number"),
        ("causes: [{id: missing_values, requires: [{fact: after, at_least: x}]}]", "a number"),
        ("causes: [{id: missing_values, requires: [{fact: after, in: 3}]}]", "a list of values"),
        ("causes: [{id: missing_values, requires: [{any: 3}]}]", "a list of conditions"),
        ("causes: [{id: missing_values, observations: [3]}]", "an observation is a mapping"),
        (
            "causes: [{id: missing_values, observations: [{weight: 1, wen: x}]}]",
            "unknown key; did you mean when?",
        ),
        ("causes: [{id: missing_values, observations: [{weight: 1}]}]", "lacks when, say"),
        ("causes: [{id: missing_values, diagnosis: d}]", "a list of texts"),
        ("causes: [{id: missing_values, title: ''}]", "expected a text"),
        (f"causes: [{{{_NEW}, id: a}}]", "the key is given twice"),
        ("causes: [", "not valid YAML"),
    ],
)
def test_a_playbook_that_is_wrong_names_file_line_and_key(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Playbook.parse(text, "own.yaml", builtin())
    assert says in caught.value.message
    assert caught.value.message.startswith("own.yaml")
    assert caught.value.remedy


def test_a_playbook_that_cannot_be_read_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: the playbook cannot be read"):
        load(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "bytes.yaml")
    (tmp_path / "big.yaml").write_bytes(b"#" * (2 << 20))
    with pytest.raises(ConfigError, match="larger"):
        load(tmp_path / "big.yaml")
