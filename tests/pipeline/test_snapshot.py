"""Rows are counted and data copied without running a line of the application's code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from otel_ml.losses import Losses
from otel_ml.snapshot import by_value, call_rows, rows
from otel_ml.types import Captured


class Touchy(list):  # type: ignore[type-arg]  # any subclass
    def __len__(self) -> int:
        raise AssertionError("touched")

    __iter__ = __getitem__ = copy = __len__  # type: ignore[assignment]  # as above


@pytest.mark.parametrize(
    ("value", "n"),
    [
        ([1, 2], 2),
        ((1, 2, 3), 3),
        (np.zeros((4, 2)), 4),
        (np.array(1.0), 1),
        ([np.zeros((5, 2)), np.zeros((5, 2))], 5),
        ({"a": [1, 2], "b": np.zeros(2)}, 2),
        ({}, None),
        (Touchy([1]), None),
        ("text", None),
        (3, None),
    ],
)
def test_rows(value: Any, n: int | None) -> None:
    assert rows(value) == n


@pytest.mark.parametrize(
    ("call", "n"),
    [
        (Captured(None, "predict", [[1], [2]], np.zeros(2), 0), 2),
        (Captured(None, "predict", [[1], [2]], Touchy(), 0), 2),
        (Captured(None, "predict", Touchy(), Touchy(), 0), 1),
        (Captured(None, "predict", [[1], [2]], None, 0, error="E"), 1),
        (Captured(None, "predict", [], [], 0), 1),
        (Captured(None, "observe", None, None, 0, extra={"scores": [1, 2, 3]}), 3),
        (Captured(None, "observe", [[1]] * 9, None, 0, extra={"predictions": [1, 2]}), 2),
        (Captured(None, "observe", {"a": [1] * 9}, None, 0, extra={}), 9),
    ],
)
def test_rows_of_a_call(call: Captured, n: int) -> None:
    assert call_rows(call) == n


@pytest.mark.fault("A2")
def test_other_peoples_objects_are_taken_as_they_are() -> None:
    touchy = Touchy([1])
    assert by_value(touchy) is touchy
    assert by_value({"a": touchy})["a"] is touchy


def test_losses_are_added_up_by_reason() -> None:
    losses = Losses()
    for i in range(1000):
        losses.add("ab"[i % 2], 2)
    assert losses.totals() == {"a": 1000, "b": 1000}
    assert losses.totals() == {"a": 1000, "b": 1000}


def test_a_loss_never_waits_for_a_fold() -> None:
    losses = Losses()
    with losses._lock:  # as another thread that is folding
        for _ in range(2000):
            losses.add("a")
    assert losses.totals() == {"a": 2000}
