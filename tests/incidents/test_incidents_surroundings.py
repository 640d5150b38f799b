"""What is known around an incident is named in it: a roll-out, the client that is hit."""

from __future__ import annotations

import json

import numpy as np

from otel_ml.engine import Budget, Engine
from otel_ml.incidents import Incident
from otel_ml.profile import Reference
from otel_ml.types import Batch

_CLIENTS = np.array(["shop", "app", "partner", "desk"], dtype=object)


def _rows(rng: np.random.Generator, n: int, version: str) -> Batch:
    a, b = rng.normal(size=n), rng.normal(size=n)
    score = 1 / (1 + np.exp(-(a - 0.5 * b)))
    return Batch(
        n,
        {"a": a, "b": b},
        scores=score,
        clients=_CLIENTS[rng.integers(0, 4, n)].tolist(),
        versions=[version] * n,
    )


def _engine(seed: int) -> tuple[Engine, np.random.Generator]:
    rng = np.random.default_rng(seed)
    held = _rows(rng, 8000, "1")
    reference = Reference.build(dict(held.features), scores=held.scores, model_name="m")
    engine = Engine(reference, budget=Budget(1, per="100000rows"))
    engine.observe(_rows(rng, 2000, "1"))
    assert engine.evaluate(0.0) == []
    return engine, rng


def _latest(engine: Engine) -> Incident:
    (incident,) = engine.incidents
    return incident


def test_a_version_that_answers_since_the_change_is_named() -> None:
    engine, rng = _engine(1)
    for _ in range(12):
        new = _rows(rng, 50, "2")
        assert new.scores is not None
        engine.observe(
            Batch(50, new.features, scores=np.sqrt(new.scores), clients=new.clients,
                  versions=new.versions)
        )  # fmt: skip
    engine.evaluate(0.0)
    incident = _latest(engine)
    assert incident.culprit.target == "score"
    assert incident.cause == "model_rollout"
    assert any("version 2" in text for text in incident.causes[0].supporting)


def test_no_roll_out_is_no_cause_and_one_long_before_is_none_either() -> None:
    engine, rng = _engine(2)
    engine.roll_out("version 1.1", "version")
    engine.observe(_rows(rng, 4000, "1"))
    for _ in range(12):
        new = _rows(rng, 50, "1")
        assert new.scores is not None
        engine.observe(Batch(50, new.features, scores=np.sqrt(new.scores)))
    engine.evaluate(0.0)
    incident = _latest(engine)
    assert incident.cause == "score_shift"
    assert "model_rollout" not in [c.id for c in incident.causes]


def test_the_client_that_holds_the_change_is_named_also_after_a_restart() -> None:
    engine, rng = _engine(3)
    engine = Engine.restore(json.loads(json.dumps(engine.snapshot())))
    for _ in range(12):
        new = _rows(rng, 50, "1")
        assert new.clients is not None
        a = new.features["a"].copy()
        a[[client == "partner" for client in new.clients]] = np.nan
        engine.observe(Batch(50, {"a": a, "b": new.features["b"]}, clients=new.clients))
    engine.evaluate(0.0)
    incident = _latest(engine)
    assert incident.culprit.target == "a"
    assert incident.whom is not None
    assert (incident.whom["name"], incident.whom["value"]) == ("client", "partner")
    assert incident.whom["coverage"] > 0.95


def test_a_change_for_everybody_names_nobody() -> None:
    engine, rng = _engine(4)
    for _ in range(12):
        new = _rows(rng, 50, "1")
        engine.observe(Batch(50, {**new.features, "a": new.features["a"] + 1}, clients=new.clients))
    engine.evaluate(0.0)
    assert _latest(engine).whom is None
