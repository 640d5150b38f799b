"""What a reference learns from the order and the times of its rows, and from who asked."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from otel_ml.errors import DataError
from otel_ml.profile import CLIENTS, REPEATS_SOURCE, SCORE, Reference

_N = 6000


def _rows(rng: np.random.Generator, n: int) -> dict[str, NDArray[Any]]:
    return {
        "x": rng.normal(size=n),
        "z": rng.poisson(4, n).astype(float),
        "city": rng.choice(np.array(["a", "b", "c"], dtype=object), n, p=[0.6, 0.3, 0.1]),
    }


def _sessions(
    rng: np.random.Generator, n: int
) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    """Rows of visitors who send 5 to 50 that resemble each other, and which visitor."""
    lengths = rng.integers(5, 51, n // 5)
    who = np.repeat(np.arange(len(lengths)), lengths)[:n]
    own = _rows(rng, len(lengths))
    columns = {k: v[who] for k, v in own.items()}
    columns["x"] = columns["x"] + 0.1 * rng.normal(size=n)
    return columns, who


def test_independent_rows_count_one_each_nearly_always() -> None:
    """Chance shows otherwise in a few of a hundred; more than 4 of 20 is less likely than 0.1 %."""
    dependent = 0
    for seed in range(20):
        reference = Reference.build(_rows(np.random.default_rng(seed), _N), model_name="m")
        dependent += max(reference.designs.values()) > 1
    assert dependent <= 4


def test_rows_of_sessions_count_for_less_in_every_source() -> None:
    for seed in range(5):
        columns, _ = _sessions(np.random.default_rng(seed), _N)
        reference = Reference.build(columns, model_name="m")
        # lengths of 5 to 50: on average 27.5 rows, and by length 33.6, say the same
        for name in ("x", "z", "city"):
            assert 15 < reference.design(name) < 150, (seed, name)


def test_times_put_the_rows_in_order() -> None:
    rng = np.random.default_rng(1)
    columns, _ = _sessions(rng, _N)
    times = np.arange(_N, dtype=np.float64)
    order = rng.permutation(_N)
    shuffled = {k: v[order] for k, v in columns.items()}
    straight = Reference.build(columns, times=times, model_name="m")
    assert straight.design("x") > 15
    again = Reference.build(shuffled, times=times[order], model_name="m")
    assert again.designs == straight.designs
    assert again.repeats == straight.repeats
    lost = Reference.build(shuffled, model_name="m")
    assert lost.design("x") < 3


def test_an_hour_of_day_is_learned_from_times_only() -> None:
    rng = np.random.default_rng(2)
    n = 12_000
    times = np.sort(rng.random(n)) * 10 * 86_400
    hour = times // 3600 % 24
    columns = _rows(rng, n)
    columns["x"] = columns["x"] + np.sin(2 * np.pi * hour / 24)
    reference = Reference.build(columns, times=times, model_name="m")
    assert "x" in reference.season.claimed
    assert "z" not in reference.season.claimed
    assert "city" not in reference.season.claimed
    effect = reference.season.effect("x", 6, 0)
    assert effect is not None
    assert effect[12] > 0.3 > -0.3 > effect[1]  # the top bin by noon, the lowest one rarely
    assert reference.design("x") < 3  # what the hour explains is no dependence
    assert not Reference.build(columns, model_name="m").season.claimed


def test_clients_are_counted_and_named_only_if_many_rows_are_theirs() -> None:
    rng = np.random.default_rng(3)
    who = rng.choice(["big", "small"], _N, p=[0.999, 0.001])
    who[:3] = "one"
    reference = Reference.build(_rows(rng, _N), clients=who, model_name="m", min_group=20)
    cells = reference.layout.sources[reference.layout.index[CLIENTS]]
    assert cells.labels == ("big", "other", "unseen", "missing")
    assert "small" not in json.dumps(reference.to_json())
    assert "one" not in [*cells.labels]
    counts = dict(zip(cells.labels, reference.profile.of(CLIENTS).tolist(), strict=True))
    assert counts == {
        "big": int((who == "big").sum()),
        "other": int((who != "big").sum()),
        "unseen": 0,
        "missing": 0,
    }


def test_repeats_of_the_reference_are_counted() -> None:
    rng = np.random.default_rng(4)
    columns = {"x": rng.normal(size=_N), "y": rng.normal(size=_N)}
    assert Reference.build(columns, model_name="m").repeats == (_N, 0, 0)
    twice = {k: np.repeat(v[: _N // 2], 2) for k, v in columns.items()}
    reference = Reference.build(twice, model_name="m")
    assert reference.repeats == (_N // 2, _N // 2, 0)
    # no source can show less dependence than most do
    others = [d for name, d in reference.designs.items() if name != REPEATS_SOURCE]
    assert reference.design(REPEATS_SOURCE) >= np.median(others) > 1


def test_effects_say_which_features_move_the_score() -> None:
    rng = np.random.default_rng(5)
    columns = _rows(rng, _N)
    scores = 1 / (1 + np.exp(-2 * columns["x"]))
    reference = Reference.build(columns, scores=scores, model_name="m")
    assert set(reference.effects) <= {"x", "z", "city"}
    assert reference.sensitivity["x"] > 10 * max(
        reference.sensitivity.get("z", 0.0), reference.sensitivity.get("city", 0.0)
    )
    assert not Reference.build(columns, model_name="m").effects
    measured = Reference.build(
        columns, scores=scores, predict=lambda d: np.zeros(len(d["x"])), model_name="m"
    )
    assert measured.sensitivity == {"x": 0.0, "z": 0.0, "city": 0.0}


def test_a_source_nobody_measured_has_the_design_of_most() -> None:
    columns, _ = _sessions(np.random.default_rng(6), _N)
    reference = Reference.build(columns, model_name="m")
    assert reference.design("errors") == np.median(list(reference.designs.values()))
    bare = Reference("m", None, "binary", (), reference.profile)
    assert bare.design("x") == 1.0


def test_everything_learned_comes_back_from_json() -> None:
    rng = np.random.default_rng(7)
    columns, who = _sessions(rng, _N)
    times = np.arange(_N) * 150.0
    columns["x"] = columns["x"] + 2 * np.sin(2 * np.pi * (times // 3600) / 24)
    reference = Reference.build(
        columns,
        times=times,
        clients=[f"c{i % 5}" for i in who],
        scores=rng.random(_N),
        labels=rng.integers(0, 2, _N),
        sensitive=["city"],
        model_name="m",
    )
    again = Reference.from_json(json.loads(json.dumps(reference.to_json(), allow_nan=False)))
    assert again.to_json() == reference.to_json()
    assert again.sha256 == reference.sha256
    assert again.designs == reference.designs
    assert again.repeats == reference.repeats
    assert again.season.claimed == reference.season.claimed != frozenset()
    assert (again.joint is None) == (reference.joint is None)
    for name, effect in reference.effects.items():
        np.testing.assert_array_equal(again.effects[name], effect)


def test_outputs_alone_can_be_watched() -> None:
    reference = Reference.build({}, scores=np.random.default_rng(8).random(900), model_name="m")
    assert reference.features == ()
    assert reference.rows(SCORE) == 900
    assert reference.joint is None
    assert reference.repeats == (0, 0, 0)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"times": np.zeros(5)}, r"times of shape \(5,\) for 6000 rows"),
        ({"times": np.zeros((_N, 1))}, "times of shape"),
        ({"clients": ["a"]}, "1 clients for 6000 rows"),
    ],
)
def test_times_and_clients_of_another_number_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        Reference.build(_rows(np.random.default_rng(0), _N), model_name="m", **given)
    assert caught.value.remedy
