"""Rows that repeat one another count for less, also where only production shows that they do."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2

from otel_ml.engine import Budget, Engine
from otel_ml.monitors import MONITORS, Detector
from otel_ml.profile import Reference
from otel_ml.profile.coder import chunk_counts, encode
from otel_ml.types import Batch

_RUNS = 3
_ROWS = 12_000


def _rows(rng: np.random.Generator, n: int) -> dict[str, NDArray[Any]]:
    return {
        "x": rng.normal(size=n),
        "y": rng.exponential(size=n),
        "z": rng.poisson(4, n).astype(float),
        "city": rng.choice(np.array(["a", "b", "c"], dtype=object), n, p=[0.6, 0.3, 0.1]),
    }


def _sessions(
    rng: np.random.Generator, n: int, shift: float = 0.0, mild: float = 0.2
) -> dict[str, NDArray[Any]]:
    """Visitors who send 5 to 50 rows that resemble each other."""
    lengths = rng.integers(5, 51, n // 5)
    who = np.repeat(np.arange(len(lengths)), lengths)[:n]
    own = _rows(rng, len(lengths))
    columns = {k: v[who] for k, v in own.items()}
    columns["x"] = columns["x"] + shift + mild * rng.normal(size=n)
    return columns


def _engine(columns: dict[str, NDArray[Any]], per: str) -> Engine:
    return Engine(Reference.build(columns, model_name="m"), budget=Budget(1, per=per))


def _incidents(engine: Engine) -> list[str]:
    return [c.incident.culprit.target for c in engine.evaluate(0.0) if c.state == "opened"]


@pytest.mark.parametrize("shuffled", [False, True])
def test_sessions_stay_within_the_budget_whether_or_not_the_reference_shows_them(
    shuffled: bool,
) -> None:
    """One incident per 1,000 rows is allowed: more than the upper 95 % limit of those seen."""
    found: list[str] = []
    for seed in range(_RUNS):
        rng = np.random.default_rng([seed, 1])
        past = _sessions(rng, 20_000)
        if shuffled:
            order = rng.permutation(20_000)
            past = {k: v[order] for k, v in past.items()}
        engine = _engine(past, "1000rows")
        assert engine.reference is not None
        assert (engine.reference.design("x") > 10) != shuffled
        engine.observe(_sessions(rng, _ROWS))
        found += [name for name in _incidents(engine) if name != "duplicates"]
    allowed = _RUNS * _ROWS / 1000
    assert chi2.ppf(0.95, 2 * (len(found) + 1)) / 2 <= allowed, found


def test_taken_at_face_value_the_same_rows_do_alarm() -> None:
    """The bound above is met since rows are damped, not since nothing is seen in sessions."""
    alarms = 0
    for seed in range(_RUNS):
        rng = np.random.default_rng([seed, 1])
        built = Reference.build(_sessions(rng, 20_000), model_name="m")
        reference = replace(built, designs={})
        streams = [s for m in MONITORS for s in m(reference, 0.02) if not s.empty]
        detector = Detector(streams, reference.layout.index, reference.layout.width)
        codes = encode(reference, Batch(_ROWS, _sessions(rng, _ROWS)))
        group = np.arange(_ROWS) // 50
        counts, _ = chunk_counts(reference.layout, codes, group, _ROWS // 50)
        for step, seen in enumerate(counts):
            detector.update(seen, step * 50)
            if detector.total(detector.shares()) >= np.log(20):
                alarms += 1
                detector.reset(range(len(streams)), step * 50)
    assert alarms > 2 * _RUNS * _ROWS / 1000


def test_independent_rows_count_in_full_also_against_a_shuffled_reference() -> None:
    for seed in range(5):
        rng = np.random.default_rng([seed, 2])
        engine = _engine(_rows(rng, 5000), "100000rows")
        engine.observe(_rows(rng, 1000))
        assert _incidents(engine) == []
        columns = _rows(rng, 400)
        columns["x"] = columns["x"] + 0.8
        engine.observe(columns)
        assert _incidents(engine) == ["x"], seed


@pytest.mark.parametrize("shift", [1.5, 3.0])
def test_a_change_is_found_in_sessions_as_well(shift: float) -> None:
    for seed in range(5):
        rng = np.random.default_rng([seed, 3])
        engine = _engine(_sessions(rng, 20_000), "100000rows")
        engine.observe(_sessions(rng, 2000))
        assert _incidents(engine) == []
        engine.observe(_sessions(rng, 8000, shift=shift))
        assert "x" in _incidents(engine), seed


def test_stricter_sessions_are_damped_more() -> None:
    rng = np.random.default_rng(4)
    loose = _engine(_sessions(rng, 20_000, mild=2.0), "100000rows").reference
    strong = _engine(_sessions(rng, 20_000, mild=0.1), "100000rows").reference
    assert loose is not None
    assert strong is not None
    assert strong.design("x") > 2 * loose.design("x") > 2


def test_what_was_seen_of_dependence_is_kept_across_a_restart() -> None:
    rng = np.random.default_rng(5)
    straight = _engine(_rows(rng, 5000), "100000rows")
    halted = _engine(_rows(np.random.default_rng(5), 5000), "100000rows")
    first, second = _sessions(rng, 1530), _sessions(rng, 1000)
    for engine in (straight, halted):
        engine.observe(first)
    text = json.dumps(halted.snapshot(), allow_nan=False)
    again = Engine.restore(json.loads(text))
    for engine in (straight, again):
        engine.observe(second)
    assert again.evidence_log10 == straight.evidence_log10
