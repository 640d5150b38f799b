"""Calls of single rows are put together, and read by themselves where they are not alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import otel_ml
from otel_ml.frame import INLINE, Frame, captured
from otel_ml.semconv import metrics as m
from otel_ml.stack import alike, features_together, stack

HANG = 20.0


class Model:
    classes_ = ("no", "yes")


MODEL = Model()


def frame_of(rows: Any) -> Frame:
    output = np.full((len(rows), 2), 0.5)
    if len(rows) == 1:
        return [MODEL, "predict_proba", INLINE, output, 5, {}, None, None, None, None, *rows[0]]
    return [MODEL, "predict_proba", rows, output, 5, {}, None, None, None, None]


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3)), min_size=1, max_size=8))
def test_every_call_is_in_one_group_with_the_rows_it_was_asked_about(
    shapes: list[tuple[int, int]],
) -> None:
    asked = [[[float(i)] * width] * n for i, (n, width) in enumerate(shapes)]
    calls = [frame_of(rows) for rows in asked]
    groups = list(alike(calls))
    assert [id(call) for group in groups for call in group] == list(map(id, calls))
    left = iter(asked)
    for group in groups:
        of_group = [next(left) for _ in group]
        for call, rows in zip(group, of_group, strict=True):
            assert captured(call, 0).features == rows  # type: ignore[arg-type]  # a frame
        stacked = (
            stack(group, features_together(group)) if len(group) > 1 else None  # type: ignore[arg-type]  # frames
        )
        if stacked is not None:
            assert stacked.call.features == [row for rows in of_group for row in rows]
            assert stacked.sizes.tolist() == list(map(len, of_group))


def test_single_rows_of_different_widths_are_all_counted(otel_ml_pipeline: Any) -> None:
    for width in (2, 3, 2, 2, 1):
        otel_ml.observe(model="m", features=[[0.5] * width], scores=[0.5])
    assert otel_ml_pipeline.flush(HANG)
    assert otel_ml_pipeline.sink.value(m.ML_PREDICTIONS) == 5


def test_a_single_row_by_hand_may_be_changed_afterwards(otel_ml_pipeline: Any) -> None:
    otel_ml_pipeline.start = lambda: None  # the worker comes later
    row, scores = [1.0, 2.0], [0.5]
    otel_ml.observe(model="m", features=[row], scores=scores)
    row[0], scores[0] = 9.0, 9.0
    (frame,) = otel_ml_pipeline.queue
    call = captured(frame, 0)
    assert call.extra is not None
    assert (call.features, call.extra["scores"]) == ([[1.0, 2.0]], [0.5])
    del otel_ml_pipeline.start
