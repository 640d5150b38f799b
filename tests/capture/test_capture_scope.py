"""Ids, snapshots and the bookkeeping of a request."""

from __future__ import annotations

import os
import random
import threading
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml import frame
from otel_ml.capture._call import _merge
from otel_ml.capture._scope import HELD, Request
from otel_ml.frame import Frame, More, prediction_id
from otel_ml.snapshot import COPY_BYTES, COPY_ROWS, by_value, rows


def call(
    features: object, count: int | None, model: object = "m", error: str | None = None
) -> Frame:
    output = None if count is None else [0] * count
    more = None if error is None else More(error)
    return [model, "predict", None, output, 0, {}, None, None, features, more]


def new_id() -> str:
    return prediction_id(call(None, 1), time.time_ns())


def test_ids_are_distinct_ordered_in_time_and_do_not_follow_the_applications_seed() -> None:
    ids = set()
    for _ in range(200):
        random.seed(1)
        ids.add(new_id())
    assert len(ids) == 200
    assert all(len(value) == 32 and int(value, 16) >= 0 for value in ids)
    assert sorted(value[:12] for value in ids)[0] > f"{1_700_000_000_000:012x}"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_ids_differ_after_a_fork() -> None:
    receive, send = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(send, f"{frame.random_bits():020x}".encode())
        os._exit(0)
    child = os.read(receive, 20).decode()
    os.waitpid(pid, 0)
    os.close(receive)
    os.close(send)
    assert child != f"{frame.random_bits():020x}"


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=8,
)


@given(plain)
def test_snapshots_are_equal(value: Any) -> None:
    assert by_value(value) == value
    assert type(by_value(value)) is type(value)


@pytest.mark.fault("A5")
def test_snapshots_do_not_change_with_the_original() -> None:
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    table: list[Any] = [[1, 2], {"a": 1}, np.zeros(2), (1,)]
    columns: dict[Any, Any] = {"a": [1, 2], "b": np.zeros(2), 3: [1]}
    kept_array, kept_table, kept_columns = by_value(array), by_value(table), by_value(columns)
    array[0, 0] = 9
    table[0].append(3)
    table[1]["a"] = 2
    table[2][0] = 1
    table.pop()
    columns["a"].append(3)
    columns["b"][0] = 1
    del columns["a"]
    assert isinstance(kept_array, np.ndarray)
    assert kept_array[0, 0] == 0
    assert kept_array.flags.f_contiguous
    assert repr(kept_table) == repr([[1, 2], {"a": 1}, np.zeros(2), (1,)])
    assert repr(kept_columns) == repr({"a": [1, 2], "b": np.zeros(2), 3: [1]})


@pytest.mark.fault("A5", "B5")
def test_large_and_foreign_values_are_taken_by_reference() -> None:
    class Array(np.ndarray[Any, Any]):
        pass

    class List(list[Any]):
        pass

    large = np.zeros(COPY_BYTES // 8 + 1)
    many = [0] * (COPY_ROWS + 1)
    for value in (large, many, np.zeros(2).view(Array), List([1]), object(), (1, [2]), iter(())):
        assert by_value(value) is value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.zeros((3, 2)), 3),
        (np.zeros(4), 4),
        (np.float64(1), None),
        (np.array(1.0), 1),
        ([[1], [2]], 2),
        ((1, 2, 3), 3),
        ([np.zeros((5, 2)), np.zeros((5, 2))], 5),
        ({"a": [1, 2], "b": [3, 4]}, 2),
        ({}, None),
        ([], 0),
        ("text", None),
        (None, None),
    ],
)
def test_rows(value: Any, expected: int | None) -> None:
    assert rows(value) == expected


def test_a_request_passes_everything_on_at_its_end(recorder: Any) -> None:
    request = Request("client", "alias")
    features = object()
    request.add(call(features, 3))
    assert recorder.calls == []
    request.add(call(features, None))
    assert request.told().rows is None
    request.close()
    request.close()
    assert len(recorder.calls) == 2
    request.add(call(features, None))
    assert len(recorder.calls) == 3


def test_a_request_holds_a_bounded_number_of_calls(recorder: Any) -> None:
    request = Request()
    for _ in range(HELD + 10):
        request.add(call(object(), 1))
    assert len(recorder.calls) == 10
    assert len(request.entries) == HELD
    assert request.told().rows == HELD + 10
    request.close()
    assert len(recorder.calls) == HELD + 10


def test_only_the_same_model_and_input_without_the_method_are_merged(recorder: Any) -> None:
    request = Request()
    model, features = object(), [1.0]
    request.add(call(features, 1, model))
    assert request.earlier(model, "predict", features) is None
    assert request.earlier(model, "predict_proba", [1.0]) is None
    assert request.earlier(object(), "predict_proba", features) is None
    assert request.earlier(model, "predict_proba", None) is None
    entry = request.earlier(model, "predict_proba", features)
    assert entry is not None
    _merge(entry, "predict_proba", "p", {"decision_function": "d"})
    assert request.earlier(model, "predict_proba", features) is None
    request.close()
    assert recorder.calls[0].outputs == {"predict_proba": "p", "decision_function": "d"}
    failed = Request()
    failed.add(call(features, None, model, "ValueError"))
    assert failed.earlier(model, "predict_proba", features) is None
    assert failed.told().ids == []


def test_threads_of_a_request_pass_each_call_on_once(recorder: Any) -> None:
    request = Request(started=True)
    barrier = threading.Barrier(9)

    def work() -> None:
        barrier.wait()
        for _ in range(200):
            request.add(call(object(), 1))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    barrier.wait()
    request.close()
    for thread in threads:
        thread.join()
    request.close()
    assert len(recorder.calls) == 1600
    assert len(set(map(id, recorder.calls))) == 1600
