"""What is usual at an hour passes at that hour, and only there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from otel_ml.engine import Budget, Engine
from otel_ml.profile import Reference
from otel_ml.testing import ManualClock
from otel_ml.types import Batch

_DAY = 86_400.0
_START = 1_700_006_400.0  # midnight
_PER_DAY = 2000


def _law(rng: np.random.Generator, night: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    n = len(night)
    return {
        "x": rng.normal(size=n) + 1.5 * night,
        "steady": rng.normal(size=n),
        "city": np.where(night & (rng.random(n) < 0.6), "b", rng.choice(["a", "b", "c"], n)),
    }


def _days(rng: np.random.Generator, days: float, first: float = 0.0) -> Batch:
    """Half of each day is night."""
    times = _START + first * _DAY + np.sort(rng.random(int(days * _PER_DAY))) * days * _DAY
    return Batch(len(times), _law(rng, times % _DAY < _DAY / 2), event_times=times)


def _reference(*, timed: bool = True) -> Reference:
    past = _days(np.random.default_rng(0), 10)
    times = past.event_times if timed else None
    return Reference.build(past.features, times=times, model_name="m")


_REFERENCE = _reference()


def _engine(reference: Reference = _REFERENCE) -> Engine:
    return Engine(
        reference, budget=Budget(1, per="100000rows"), clock=ManualClock(_START + 100 * _DAY)
    )


def _opened(engine: Engine) -> list[str]:
    return [c.incident.culprit.target for c in engine.evaluate() if c.state == "opened"]


def test_the_reference_has_learned_the_hours() -> None:
    assert {"x", "city"} <= _REFERENCE.season.claimed
    assert "steady" not in _REFERENCE.season.claimed


def test_whole_days_like_those_of_the_reference_pass() -> None:
    engine = _engine()
    engine.observe(_days(np.random.default_rng(1), 5, first=10))
    assert _opened(engine) == []


@pytest.mark.parametrize("hour", [2, 14])
def test_rows_of_the_hour_pass_and_those_of_another_hour_are_found(hour: int) -> None:
    for seed in range(5):
        rng = np.random.default_rng([seed, hour])
        n = 600
        times = _START + 11 * _DAY + hour * 3600.0 + np.sort(rng.random(n)) * 3600
        night = np.full(n, hour < 12)
        usual, other = _engine(), _engine()
        usual.observe(Batch(n, _law(rng, night), event_times=times))
        assert _opened(usual) == [], seed
        other.observe(Batch(n, _law(rng, ~night), event_times=times))
        assert set(_opened(other)) <= {"x", "city"}
        assert other.incidents, seed


def test_a_fault_is_found_on_top_of_the_hours() -> None:
    for seed in range(5):
        engine = _engine()
        rng = np.random.default_rng([seed, 9])
        engine.observe(_days(rng, 1, first=10))
        assert _opened(engine) == []
        broken = _days(rng, 0.5, first=11)
        columns = {**broken.features, "steady": broken.features["steady"] + 0.7}
        engine.observe(Batch(broken.n, columns, event_times=broken.event_times))
        assert _opened(engine)[:1] == ["steady"], seed


def _split(batch: Batch, sizes: Sequence[int]) -> list[Batch]:
    out, at, i = [], 0, 0
    assert batch.event_times is not None
    while at < batch.n:
        rows = slice(at, min(at + sizes[i % len(sizes)], batch.n))
        columns = {k: v[rows] for k, v in batch.features.items()}
        out.append(Batch(rows.stop - at, columns, event_times=batch.event_times[rows]))
        at, i = rows.stop, i + 1
    return out


@pytest.mark.parametrize("sizes", [[7, 300], [49, 51, 1]])
def test_how_rows_are_cut_into_batches_does_not_matter(sizes: list[int]) -> None:
    batch = _days(np.random.default_rng(3), 1, first=10)
    one, two = _engine(), _engine()
    one.observe(batch)
    for part in _split(batch, sizes):
        two.observe(part)
    assert two.rows == one.rows
    assert two.evidence_log10 == pytest.approx(one.evidence_log10, abs=1e-9)


def test_hours_of_rows_not_yet_evaluated_are_kept_across_a_restart() -> None:
    batch = _days(np.random.default_rng(4), 0.1, first=10.45)  # from night into day
    parts = _split(batch, [73])
    straight, halted = _engine(), _engine()
    for part in parts[:2]:
        straight.observe(part)
        halted.observe(part)
    text = json.dumps(halted.snapshot(), allow_nan=False)
    again = Engine.restore(json.loads(text), clock=ManualClock(_START + 100 * _DAY))
    for part in parts[2:]:
        straight.observe(part)
        again.observe(part)
    assert again.evidence_log10 == straight.evidence_log10


def test_rows_of_unknown_time_are_compared_with_the_law_of_all_hours() -> None:
    rng = np.random.default_rng(5)
    n = 3000
    even = _law(rng, rng.random(n) < 0.5)
    unknown, never = _engine(), _engine()
    unknown.observe(Batch(n, even, event_times=np.full(n, np.nan)))
    never.observe(Batch(n, even))
    assert _opened(unknown) == _opened(never) == []
    assert unknown.evidence_log10 == never.evidence_log10
