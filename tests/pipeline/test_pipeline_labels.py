"""Labels by hand and by file join their predictions once, whatever their order and delay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import otel_ml
from otel_ml import config, pipeline
from otel_ml.inbox import LABELS, LabelLine, append_labels
from otel_ml.semconv import metrics as m
from otel_ml.testing import MemoryPipeline

HANG = 20.0


@pytest.fixture
def start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reference_file: Callable[..., Path]
) -> Iterator[Callable[..., MemoryPipeline]]:
    """Start pipelines that share a reference and a state directory."""
    running: list[MemoryPipeline] = []
    monkeypatch.setenv("OTEL_ML_STATE_DIR", str(tmp_path / "state"))

    def begin(**environ: str) -> MemoryPipeline:
        monkeypatch.setenv("OTEL_ML_REFERENCE", str(reference_file()))
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        config.reset()
        made = MemoryPipeline()
        pipeline.replace(made)
        running.append(made)
        return made

    before = pipeline.replace(None)
    yield begin
    pipeline.replace(before)
    for each in running:
        each.shutdown(HANG)
    config.reset()


def labels(found: MemoryPipeline) -> dict[str, float]:
    assert found.flush(HANG)
    return {
        str(s.attributes["ml.label.state"]): float(s.value)  # type: ignore[arg-type]  # a counter
        for s in found.sink.samples(m.ML_LABELS)
        if s.value
    }


def test_by_hand(start: Any, calls: Any) -> None:
    running = start()
    call = calls.some(3)
    call.prediction_id = "p"
    running.submit(call)
    single = calls.some(1)
    single.prediction_id, single.alias = "q", "request-7"
    running.submit(single)
    otel_ml.record_labels(ids=["p-0", "p-1", "request-7"], labels=["yes", "no", "yes"])
    assert labels(running) == {"joined": 3}
    otel_ml.record_labels(model="FakeModel", ids=["p-0", "q", "p-9"], labels=["yes", "no", "yes"])
    otel_ml.record_labels(model="another", ids=["p-2"], labels=["yes"])
    assert labels(running) == {"joined": 3, "duplicate": 1, "conflict": 1, "unknown": 1}
    assert not running.sink.samples(m.ML_PERFORMANCE_OUTCOMES), "below the k-threshold"


def test_labels_before_their_predictions(start: Any, calls: Any) -> None:
    running = start()
    running.submit(calls.some(1))
    otel_ml.record_labels(ids=["p"], labels=["yes"])
    assert labels(running) == {"unknown": 1}
    call = calls.some(1)
    call.prediction_id = "p"
    running.submit(call)
    assert labels(running) == {"joined": 1}


@pytest.mark.parametrize("nothing", [None, float("nan"), np.nan])
def test_a_missing_label_is_none(start: Any, calls: Any, nothing: Any) -> None:
    running = start()
    call = calls.some(1)
    call.prediction_id = "p"
    running.submit(call)
    for _ in range(3):
        otel_ml.record_labels(ids=["p"], labels=[nothing])
    assert labels(running) == {}
    otel_ml.record_labels(ids=["p"], labels=[np.str_("yes")])
    assert labels(running) == {"joined": 1}


@pytest.mark.parametrize(
    ("ids", "given", "reason"),
    [
        (["a"], [], "shape"),
        ([], [1], "shape"),
        (3, [1], "invalid_input"),
        ({}, [1], "shape"),
        (None, None, "invalid_input"),
    ],
)
def test_what_is_no_list_of_labels_is_counted(
    otel_ml_pipeline: Any, books: Any, ids: Any, given: Any, reason: str
) -> None:
    otel_ml.record_labels(ids=ids, labels=given)
    assert books(otel_ml_pipeline).dropped == {reason: 1}


def test_arrays_and_series_are_lists(start: Any, calls: Any) -> None:
    pd = pytest.importorskip("pandas")
    running = start()
    for i in range(4):
        call = calls.some(1)
        call.prediction_id = str(i)
        running.submit(call)
    otel_ml.record_labels(ids=np.array(["0", "1"]), labels=np.array(["yes", "no"]))  # type: ignore[arg-type]  # what people do
    otel_ml.record_labels(ids=pd.Series(["2", "3"]), labels=pd.Series(["yes", "no"]))
    assert labels(running) == {"joined": 4}


def test_too_many_labels_that_wait_are_lost_and_it_is_said_once(
    otel_ml_pipeline: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(otel_ml_pipeline, "start", lambda: None)
    monkeypatch.setattr("otel_ml.buffer._LABEL_LIMIT", 10)
    for i in range(12):
        otel_ml.record_labels(ids=[str(i)] * 2, labels=[1, 1])
    assert sum(len(held[1]) for held in otel_ml_pipeline.labels) == 10
    assert otel_ml_pipeline.labels_lost == 14
    monkeypatch.undo()
    otel_ml_pipeline.start()
    assert otel_ml_pipeline.flush(HANG)
    assert caplog.text.count("labels are lost (labels, 14 so far): too many labels wait") == 1


def test_by_file(start: Any, calls: Any, tmp_path: Path) -> None:
    running = start()
    call = calls.some(40)
    call.prediction_id = "p"
    running.submit(call)
    # appended at once: the worker may not have started yet
    append_labels(tmp_path / "state", [LabelLine(None, f"p-{i}", "yes") for i in range(40)])
    assert labels(running) == {"joined": 40}
    assert running.sink.value(m.ML_PERFORMANCE_OUTCOMES, ml_label_class="yes") == 40


def test_a_file_that_was_there_is_read_from_its_end(start: Any, calls: Any, tmp_path: Path) -> None:
    append_labels(tmp_path / "state", [LabelLine(None, f"old{i}", 1) for i in range(9)])
    running = start()
    running.submit(calls.some(1))
    assert labels(running) == {}


def test_malformed_lines_are_said(
    start: Any, calls: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    running = start()
    call = calls.some(1)
    call.prediction_id = "p"
    running.submit(call)
    append_labels(tmp_path / "state", [])
    with (tmp_path / "state" / LABELS).open("a") as file:
        file.write('nonsense\n{"id": "p", "label": "yes"}\n')
    assert labels(running) == {"joined": 1}
    assert "1 lines of the label file are no labels" in caplog.text


def test_two_workers_learn_every_label_and_each_joins_its_own(
    start: Any, calls: Any, tmp_path: Path
) -> None:
    first, second = start(), start()
    for name, running in (("a", first), ("b", second)):
        call = calls.some(20)
        call.prediction_id = name
        running.submit(call)
    append_labels(
        tmp_path / "state",
        [LabelLine("FakeModel", f"{name}-{i}", "no") for name in "ab" for i in range(20)],
    )
    for running in (first, second):
        assert labels(running) == {"joined": 20, "unknown": 20}


def test_labels_for_another_model_are_left_alone(start: Any, calls: Any, tmp_path: Path) -> None:
    running = start()
    call = calls.some(1)
    call.prediction_id = "p"
    running.submit(call)
    append_labels(tmp_path / "state", [LabelLine("other", "p", "no")])
    assert labels(running) == {}


def test_labels_survive_a_restart_of_the_worker(start: Any, calls: Any, tmp_path: Path) -> None:
    running = start()
    call = calls.some(2)
    call.prediction_id = "p"
    running.submit(call)
    assert running.shutdown(HANG)
    append_labels(tmp_path / "state", [LabelLine(None, "p-0", "yes")])
    otel_ml.record_labels(ids=["p-1"], labels=["no"])
    assert labels(running) == {"joined": 2}
