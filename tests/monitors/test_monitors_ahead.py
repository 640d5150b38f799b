"""Evaluations found several at a time are those found one by one, whatever was announced."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from otel_ml.monitors import Detector, Stream
from otel_ml.monitors.ahead import Coming
from otel_ml.monitors.evidence import location_bets, rate_bets, smoothed
from otel_ml.monitors.multiples import Multiples
from otel_ml.types import FloatArray, IntArray

_SOURCES = {"a": 0, "b": 1}
_CELLS = 6
_STEPS = 60


def _stream(name: str, design: float = 1.0) -> Stream:
    law = smoothed(np.array([300, 200, 200, 150, 100, 50]))
    bets = location_bets(law, 1000.0, 0.02)
    weights = np.full(len(bets.scores), 0.5 / len(bets.scores))
    cells = tuple("abcdef")
    return Stream(
        "input_drift", "inputs", name, name, "rows", law, *bets, weights, cells,
        radius=0.02, design=design,
    )  # fmt: skip


def _rate() -> Stream:
    law = smoothed(np.array([300, 200, 200, 150, 100, 50]))
    yes = np.arange(_CELLS) == 5
    bets = rate_bets(law, yes, 0.1, [0.2, 0.5])
    return Stream(
        "data_quality", "quality", "b", "b", "rows", law, *bets, np.full(2, 0.5),
        tuple("abcdef"), "missing", yes,
    )  # fmt: skip


def _detector(design: float) -> Detector:
    return Detector([_stream("a"), _stream("b", design), _rate()], _SOURCES, _CELLS)


def _counts() -> IntArray:
    rng = np.random.default_rng(3)
    counts = rng.multinomial(50, np.full(_CELLS, 1 / _CELLS), size=(_STEPS, 2))
    counts[20:24, 1] = 0  # nothing was said of the second source
    return np.asarray(counts)


def _right(counts: IntArray, at: int) -> Coming:
    return lambda n: counts[at + 1 : at + 1 + n]


def _wrong(counts: IntArray, at: int) -> Coming:
    return lambda n: counts[at : at + n] if at % 3 else counts[at + 1 : at + 1 + n]


@pytest.mark.parametrize("design", [1.0, 4.0])  # the latter's rows wait until they are learned
@pytest.mark.parametrize("announced", [_right, _wrong])
def test_what_is_announced_changes_nothing(
    announced: Callable[[IntArray, int], Coming], design: float
) -> None:
    one, other, counts = _detector(design), _detector(design), _counts()
    seen: FloatArray = np.ones(2)
    for at, held in enumerate(counts):
        if at == 40:
            seen = np.array([2.0, 1.0])
        slots = {at // 25: 1.0}
        one.update(held, 50 * at, slots=slots, design=seen)
        other.update(held, 50 * at, slots=slots, design=seen, coming=announced(counts, at))
        if at == 30:
            one.reset([0], 50 * at)
            other.reset([0], 50 * at)
        np.testing.assert_array_equal(other.evidence(), one.evidence())
        assert other.to_json() == one.to_json()


def test_products_of_multiples_are_those_of_the_vectors() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(3, 5))
    vectors = np.concatenate([base, -2 * base, base[:1] * 1e-3, np.zeros((1, 5))])
    places = np.array([0, 1, 1, 0, 1, 1, 0, 1])
    counts = rng.integers(0, 9, size=(4, 2, 5))
    expected = np.einsum("kc,nkc->nk", vectors, counts[:, places])
    found = Multiples(vectors, places)
    np.testing.assert_allclose(found.products(counts), expected, atol=1e-12)
    np.testing.assert_allclose(found.products(counts[0]), expected[0], atol=1e-12)
