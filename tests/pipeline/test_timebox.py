"""What the application's objects take to be read holds up nothing but themselves."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import otel_ml
from otel_ml.semconv import metrics as m
from otel_ml.timebox import TimeBox, foreign

HANG = 20.0


class Held:
    """An object that answers nothing until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def __array__(self, *_: Any, **__: Any) -> Any:
        assert self.go.wait(HANG)
        return np.array([0.5])

    def __float__(self) -> float:
        assert self.go.wait(HANG)
        return 1.0

    def __str__(self) -> str:
        return str(float(self))


@pytest.mark.fault("A2")
@pytest.mark.parametrize("where", ["scores", "cell", "row"])
def test_others_are_counted_while_one_object_is_held(
    otel_ml_pipeline: Any, books: Any, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    held = Held()
    try:
        if where == "scores":
            otel_ml.observe(model="m", scores=held)
        elif where == "cell":
            otel_ml.observe(model="m", features={"a": [1.0, held]}, scores=[0.5, 0.5])
        else:
            for i in range(20):
                otel_ml.observe(model="m", features=[[1.0, held if i == 7 else 2.0]], scores=[0.5])
        for _ in range(100):
            otel_ml.observe(model="m", scores=[0.5])
        found = books(otel_ml_pipeline)  # while it is still held
        plain = {"scores": 100, "cell": 100, "row": 119}[where]
        lost = {"scores": 1, "cell": 2, "row": 1}[where]
        assert (found.counted, found.dropped) == (plain, {"invalid_input": lost})
        assert otel_ml_pipeline.restarts == 0
        assert "took longer than 1 s to be read" in caplog.text
    finally:
        held.go.set()


@pytest.mark.fault("A2")
def test_labels_wait_for_no_object_either(otel_ml_pipeline: Any, books: Any) -> None:
    held = Held()
    try:
        otel_ml.observe(model="m", scores=[0.5, 0.6], ids=["a", "b"])
        assert otel_ml_pipeline.flush(HANG)
        otel_ml.record_labels(ids=[held], labels=[1])  # type: ignore[list-item]  # what people do
        otel_ml.record_labels(ids=["a"], labels=[1])
        assert books(otel_ml_pipeline).dropped == {"invalid_input": 1}
        held.go.set()
        assert otel_ml_pipeline.sink.samples(m.ML_PREDICTIONS)
    finally:
        held.go.set()


def test_what_is_foreign() -> None:
    pd = pytest.importorskip("pandas")
    plain = [1, 2.5, "x", None, np.float32(1), [1, "a"], {"a": [1.0]}, np.zeros((2, 2))]
    assert not any(map(foreign, [*plain, plain, pd.DataFrame({"a": [1]}), [[1.0, "a"]] * 3]))
    endless: list[object] = []
    endless.append(endless)
    assert foreign(endless)
    for value in (object(), [object()], {"a": [object()]}, np.array([object()]), [[1.0, object()]]):
        assert foreign(value)


def test_a_box_ends_and_leaves_only_so_many_threads_behind() -> None:
    box: TimeBox[int] = TimeBox(0.01)
    assert box.run(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        box.run(lambda: 1 // 0)
    go = threading.Event()
    for _ in range(16):
        with pytest.raises(TimeoutError, match="took longer"):
            box.run(lambda: int(go.wait(HANG)))
    with pytest.raises(TimeoutError, match="too many"):
        box.run(lambda: 3)
    go.set()
    for thread in box._left:
        thread.join(HANG)
    assert box.run(lambda: 4) == 4
    helper = box._helper
    assert helper is not None
    box.close()
    helper.thread.join(HANG)
    assert not helper.thread.is_alive()
