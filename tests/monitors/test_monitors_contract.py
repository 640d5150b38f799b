"""Every monitor, whatever it asks, yields streams the detector and the incidents can use."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from otel_ml.engine import Engine
from otel_ml.monitors import (
    FAMILY_WEIGHTS,
    LATENCY_BOUNDS,
    LATENCY_SOURCE,
    MONITORS,
    Monitor,
    Stream,
    call_errors,
    latency,
    slow_from,
)
from otel_ml.profile import Reference
from otel_ml.profile.cells import fixed_cells
from otel_ml.semconv.attributes import MlMonitorFamily, MlMonitorName
from otel_ml.types import FloatArray

_RNG = np.random.default_rng(11)


def _mixed(n: int) -> Reference:
    age = _RNG.integers(18, 90, n).astype(float)
    age[_RNG.random(n) < 0.07] = np.nan
    scores = _RNG.random(n)
    return Reference.build(
        {
            "age": age,
            "city": _RNG.choice(np.array(["a", "b", "c", None], dtype=object), n),
            "missing": _RNG.choice(["missing", "unseen", "other"], n),
            "user": np.array([f"u{i}" for i in range(n)], dtype=object),
            "constant": np.full(n, 3.0),
            "empty": np.full(n, np.nan),
            "nothing": np.full(n, None, dtype=object),
        },
        scores=scores,
        labels=(_RNG.random(n) < scores).astype(int),
        sensitive=["city"],
        model_name="m",
    )


_REFERENCES = {
    "mixed": _mixed(3000),
    "small": _mixed(30),
    "one row": Reference.build({"x": [1.0]}, model_name="m"),
    "unlabelled": Reference.build({"x": _RNG.normal(size=900)}, model_name="m"),
    "multiclass": Reference.build(
        {"x": _RNG.normal(size=900)},
        scores=_RNG.dirichlet(np.ones(4), 900),
        labels=_RNG.integers(0, 4, 900),
        model_name="m",
    ),
    "regression": Reference.build(
        {"x": _RNG.normal(size=900)}, predictions=_RNG.normal(size=900), model_name="m"
    ),
    "service names": Reference.build(
        {n: _RNG.normal(size=900) for n in ("latency", "errors", "performance", "x")},
        model_name="m",
    ),
}


def _members(kind: type) -> set[str]:
    return {v for k, v in vars(kind).items() if not k.startswith("_") and isinstance(v, str)}


def _largest_mean(stream: Stream, law: FloatArray, tilt: float = 0.0) -> float:
    """Largest mean e-value of one row under a law, tilted towards the ends of the null."""
    used = stream.law > 0
    means = [
        float(np.exp(log) @ (share / share.sum()))
        for log, end in zip(stream.logs[:, used], stream.ends[:, used], strict=True)
        for share in [law[used] * np.exp(tilt * end)]
    ]
    return max(means, default=0.0)


_SOURCES = {
    name: frozenset(engine.state.sources)
    for name, reference in _REFERENCES.items()
    for engine in [Engine(reference)]
    if engine.state is not None
}


@pytest.mark.parametrize("monitor", MONITORS, ids=lambda m: m.__name__)
@pytest.mark.parametrize("name", _REFERENCES)
@pytest.mark.parametrize("min_effect", [0.0, 0.02, 0.3])
def test_its_streams_are_valid(monitor: Monitor, name: str, min_effect: float) -> None:
    streams = list(monitor(_REFERENCES[name], min_effect))
    for stream in streams:
        assert stream.source in _SOURCES[name]
        assert stream.family in FAMILY_WEIGHTS
        assert stream.family in _members(MlMonitorFamily)
        assert stream.monitor in _members(MlMonitorName)
        assert stream.clock in ("rows", "labels", "calls", "intervals")
        assert np.isfinite(stream.law).all()
        assert (stream.law >= 0).all()
        assert stream.scores.shape == stream.ends.shape == (len(stream.weights), len(stream.law))
        assert len(stream.cells) == len(stream.law)
        for part in (stream.scores, stream.ends):
            assert np.isfinite(part).all()
            assert (part[:, stream.law == 0] == 0).all()
        assert stream.yes is None or stream.yes.shape == stream.law.shape
        assert (stream.weights > 0).all()
        assert stream.weights.sum() + stream.shape_weight <= 1 + 1e-9
        assert 0 <= stream.radius <= 0.9
        assert stream.design >= 1
        assert stream.share > 0
        # no law of the null gains on average: the reference, the ends, and those between
        for tilt in (0.0, 0.3, 1.0):
            assert _largest_mean(stream, stream.law, tilt) <= 1 + 1e-9
        answers = stream.asked(stream.law)
        assert answers.sum() == pytest.approx(stream.law[stream.law > 0].sum())
    assert len({s.key for s in streams}) == len(streams)


@pytest.mark.parametrize("name", _REFERENCES)
def test_all_streams_of_a_model_have_keys_of_their_own_and_run(name: str) -> None:
    reference = _REFERENCES[name]
    engine = Engine(reference)
    assert engine.state is not None
    keys = [s.key for s in engine.state.streams]
    assert len(set(keys)) == len(keys)
    assert len(engine.state.sources) == len(set(engine.state.sources.values()))
    for stream in engine.state.streams:
        source = engine.state.sources[stream.source]
        assert source < len(engine.state.history.sizes)
    rows: dict[str, Any] = {f: ["?"] * 60 for f in reference.features}
    engine.observe(rows)
    assert np.isfinite(engine.evidence_log10)


def test_there_is_a_stream_for_every_question_of_a_mixed_model() -> None:
    keys = {s.key for m in MONITORS for s in m(_REFERENCES["mixed"], 0.02)}
    assert keys >= {
        "input_drift:age", "input_drift:city", "data_quality:age:missing",
        "data_quality:age:out_of_range", "data_quality:age:infinite",
        "data_quality:age:not_a_number", "data_quality:city:missing", "data_quality:city:unseen",
        "score_drift:score", "prediction_drift:prediction", "performance:performance",
        "performance:city=a",
    }  # fmt: skip
    # what is always missing cannot be missing more often
    assert "data_quality:empty:missing" not in keys
    # nothing is new in a column where new values are the rule
    assert "data_quality:user:unseen" not in keys


def test_small_groups_are_not_judged() -> None:
    small = _REFERENCES["small"]
    assert not [s for m in MONITORS for s in m(small, 0.02) if s.family == "performance"]


def test_slow_calls_are_those_much_slower_than_nearly_all_of_the_first() -> None:
    cells = fixed_cells("latency", LATENCY_BOUNDS)
    durations = np.random.default_rng(0).lognormal(np.log(0.02), 0.3, 200)
    codes, _ = cells.codes(durations)
    baseline = np.bincount(codes, minlength=cells.size)
    first = LATENCY_BOUNDS[slow_from(baseline) - 1]
    assert first >= 2.5 * np.quantile(durations, 0.95) * 0.99
    assert first <= 7 * np.quantile(durations, 0.95)
    stream = latency(cells, baseline)
    assert stream.source == LATENCY_SOURCE
    assert stream.yes is not None
    # up to 15 % of slow calls beyond the first ones' share is a spell, not a slow model
    for slow in (0.0, 0.05, 0.15):
        law = np.where(stream.yes, slow, 0.0) / stream.yes.sum()
        law[0] += 1 - law.sum()
        assert _largest_mean(stream, law) <= 1 + 1e-9
    law = np.where(stream.yes, 0.5, 0.0) / stream.yes.sum()
    law[0] += 1 - law.sum()
    assert _largest_mean(stream, law) > 1


@pytest.mark.parametrize("failing", [0.0, 0.01, 0.02])
def test_one_failing_call_in_fifty_is_no_evidence(failing: float) -> None:
    stream = call_errors()
    assert _largest_mean(stream, np.array([1 - failing, failing])) <= 1 + 1e-9
