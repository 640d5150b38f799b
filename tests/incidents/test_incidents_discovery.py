"""Which streams moved together with one that surely did."""

from __future__ import annotations

import math

import numpy as np
import pytest

from otel_ml.incidents.discovery import discovered, with_their_residuals
from otel_ml.types import Stream


def _stream(monitor: str, target: str, defect: str = "") -> Stream:
    law = np.array([0.5, 0.5])
    none = np.zeros((1, 2))
    name = f"{monitor}:{target}"
    return Stream(
        monitor, "inputs", target, name, "rows", law, none, none, np.ones(1), ("a", "b"), defect
    )


_STREAMS = (
    _stream("input_drift", "age"),
    _stream("joint_drift", "age"),
    _stream("input_drift", "pay"),
    _stream("joint_drift", "pay"),
    _stream("data_quality", "pay", "missing"),
    _stream("joint_drift", "out_of_distribution"),
    _stream("input_drift", "town"),
)


def _raw(*decades: float) -> np.ndarray:
    return np.array(decades) * math.log(10)


@pytest.mark.parametrize(
    ("decades", "moved"),
    [
        ((2.0, 1.1, 0, 0, 0, 0, 0), [True, True]),  # thirty in the mean
        ((1.5, 1.2, 0, 0, 0, 0, 0), [False, False]),  # less than that
        ((0.9, 9.0, 0, 0, 0, 0, 0), [False, False]),  # a broken relation, an input as it was
        ((9.0, -1.0, 0, 0, 0, 0, 0), [False, False]),  # an input that follows another
    ],
)
def test_an_input_and_its_residual_say_together_that_it_moved(
    decades: tuple[float, ...], moved: list[bool]
) -> None:
    found = with_their_residuals(_STREAMS, _raw(*decades))
    assert found[:2].tolist() == moved
    assert not found[2:].any()


def test_a_defect_or_an_input_without_residual_is_no_pair() -> None:
    found = with_their_residuals(_STREAMS, _raw(0, 0, 0, 0, 9, 9, 9))
    assert not found.any()


def test_of_those_discovered_at_most_one_in_twenty_has_not_moved() -> None:
    """By simulation: e-values of mean one where nothing moved, large ones elsewhere."""
    rng = np.random.default_rng(5)
    shares = []
    for _ in range(4000):
        z = rng.normal(size=60)
        z[:3] += 6.0
        raw = 3.0 * z - 4.5  # likelihood ratios of N(3, 1) against N(0, 1)
        found = discovered(raw)
        shares.append(found[3:].sum() / max(found.sum(), 1))
    # shares lie between 0 and 1: by Hoeffding the true mean is higher by 0.03 once in a thousand
    assert np.mean(shares) + 0.03 <= 0.05
    assert discovered(_raw(-1.0, 0.0, 1.0)).sum() == 0
