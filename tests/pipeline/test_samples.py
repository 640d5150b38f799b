"""Everything emitted is in the registry, complete, and true to what happened."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import otel_ml
from otel_ml import config, pipeline
from otel_ml.emit import Receiver
from otel_ml.emit.build import build_sinks
from otel_ml.semconv import events as e
from otel_ml.semconv import metrics as m
from otel_ml.testing import MemoryPipeline, assert_telemetry
from otel_ml.types import Buckets, Sample

HANG = 20.0
MONITORS = (
    "input_drift",
    "data_quality",
    "prediction_drift",
    "score_drift",
    "performance",
    "latency",
    "errors",
)


def check(samples: list[Sample]) -> None:
    """Each sample is of the registry's definition, carries what it must and nothing else, once."""
    assert samples
    seen = set()
    for sample in samples:
        metric = sample.metric
        assert m.ALL[metric.name] is metric
        carried = set(sample.attributes)
        assert set(metric.required) <= carried, (metric.name, carried)
        assert carried <= set(metric.attributes), (metric.name, carried)
        key = (metric.name, tuple(sorted(sample.attributes.items())))
        assert key not in seen, f"twice: {key}"
        seen.add(key)
        if metric.instrument == "histogram":
            assert isinstance(sample.value, Buckets)
            assert len(sample.value.counts) == len(sample.value.bounds) + 1
        else:
            assert isinstance(sample.value, (int, float))
            assert np.isfinite(sample.value), metric.name
            if metric.instrument == "counter":
                assert sample.value >= 0
        if metric.name.endswith("ratio"):
            assert 0 <= sample.value <= 1  # type: ignore[operator]  # a gauge


def live_check(running: MemoryPipeline) -> None:
    """Send what is in memory through the real sink, and check it as a backend received it."""
    with Receiver() as receiver:
        (sink,) = build_sinks({"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint})
        report = sink.export(
            running.sink.samples(),
            running.sink.events(),
            start_ns=1,
            now_ns=time.time_ns(),
            timeout=HANG,
        )
        sink.shutdown(1)
        assert report.ok, report
        assert_telemetry(receiver)
        kept = sum(len(s.scope_metrics) for r in receiver.metrics for s in r.resource_metrics)
        assert kept


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., MemoryPipeline]]:
    running: list[MemoryPipeline] = []

    def begin(**settings: Any) -> MemoryPipeline:
        config.reset()
        assert config.configure(settings or {"min_group": 10}).config_error is None
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


class Traffic:
    """Rows of a model with two features and a group, and their true labels."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.sent = 0

    def send(self, n: int, *, shift: float = 0.0, labelled: bool = True) -> None:
        a, b = self.rng.normal(size=(2, n))
        score = 1 / (1 + np.exp(-(a + b)))
        sex = np.where(np.arange(n) % 10 == 0, "rare", np.where(self.rng.random(n) < 0.5, "f", "m"))
        sex = np.where(np.arange(n) >= 40, np.where(sex == "rare", "f", sex), sex)
        ids = [f"r{self.sent + i}" for i in range(n)]
        self.sent += n
        otel_ml.observe(
            model="churn",
            version="1",
            features={"a": a + shift, "b": b, "sex": sex},
            scores=score,
            predictions=np.where(score >= 0.5, "yes", "no"),
            ids=ids,
            duration=0.01,
        )
        if labelled:
            truth = np.where(self.rng.random(n) < score, "yes", "no")
            otel_ml.record_labels(ids=ids, labels=truth.tolist())


@pytest.fixture
def with_reference(start: Any, reference_file: Any) -> MemoryPipeline:
    rng = np.random.default_rng(9)
    rows = np.random.default_rng(5).normal(size=(3000, 2))  # those of the file
    score = 1 / (1 + np.exp(-rows.sum(axis=1)))
    path = reference_file(
        "churn",
        "1",
        labels=np.where(rng.random(3000) < score, "yes", "no"),
        also={"sex": rng.choice(["f", "m", "rare"], 3000, p=[0.495, 0.495, 0.01])},
        sensitive=["sex"],
    )
    running: MemoryPipeline = start(
        models=[{"name": "churn", "version": "1", "reference": str(path), "sensitive": ["sex"]}],
        budget={"false_incidents": 1, "per": "100000rows"},
        min_group=10,
    )
    return running


def test_before_anything_is_known(start: Any) -> None:
    running = start()
    otel_ml.observe(model="m", scores=[0.5])
    assert running.flush(HANG)
    check(running.sink.samples())
    live_check(running)


def test_while_learning_it_says_how_far_it_is(start: Any) -> None:
    running = start(learn_rows=100, models=[{"name": "m"}])

    def observe(n: int) -> None:
        scores = np.linspace(0, 1, n)
        otel_ml.observe(model="m", features={"a": scores * 2}, scores=scores)

    observe(25)
    assert running.flush(HANG)
    (ratio,) = running.sink.samples(m.ML_REFERENCE_LEARNING_RATIO)
    assert (ratio.value, ratio.attributes["ml.reference.state"]) == (0.25, "learning")
    for monitor in MONITORS:
        found = running.sink.samples(m.ML_MONITOR_STATUS, ml_monitor_name=monitor)
        assert [(s.attributes["ml.monitor.state"], s.value) for s in found] == [("learning", 1)]
    check(running.sink.samples())
    live_check(running)

    observe(75)
    observe(50)
    assert running.flush(HANG)
    ratios = running.sink.samples(m.ML_REFERENCE_LEARNING_RATIO)
    assert {s.attributes["ml.reference.state"]: s.value for s in ratios} == {
        "frozen": 1.0,
        "learning": 1.0,
    }
    for monitor in MONITORS:
        found = running.sink.samples(m.ML_MONITOR_STATUS, ml_monitor_name=monitor)
        assert sorted(s.value for s in found) == [0, 0, 0, 1]
    assert running.sink.value(m.ML_MONITOR_STATUS, ml_monitor_state="learning") == 0
    score = running.sink.samples(
        m.ML_MONITOR_STATUS, ml_monitor_name="score_drift", ml_monitor_state="ok"
    )
    assert [s.value for s in score] == [1]
    performance = running.sink.samples(
        m.ML_MONITOR_STATUS, ml_monitor_name="performance", ml_monitor_state="insufficient_data"
    )
    assert [s.value for s in performance] == [1]
    states = [e_.attributes["ml.reference.state"] for e_ in running.sink.events(e.ML_REFERENCE)]
    assert states == ["learning", "frozen"]
    check(running.sink.samples())
    live_check(running)


def test_normal_traffic_adds_up(with_reference: MemoryPipeline) -> None:
    traffic = Traffic()
    for _ in range(4):
        traffic.send(250)
    assert with_reference.flush(HANG)
    sink = with_reference.sink
    check(sink.samples())
    live_check(with_reference)
    assert sink.value(m.ML_PREDICTIONS) == 1000
    assert sink.value(m.ML_INFERENCE_DURATION) == 4
    assert sink.value(m.ML_PREDICTION_SCORE) == 1000
    assert sink.value(m.ML_PREDICTION_CONFIDENCE) == 1000
    assert sink.value(m.ML_PREDICTION_CLASSES) == 1000
    assert sink.value(m.ML_LABELS, ml_label_state="joined") == 1000
    for feature in "ab":
        numbers = sink.value(m.ML_FEATURE_VALUE, ml_feature_name=feature)
        assert numbers == 1000
        missing = sink.value(m.ML_FEATURE_CELLS, ml_feature_name=feature, ml_feature_cell="missing")
        assert missing == 0
        bounds = {
            s.value.bounds
            for s in sink.samples(ml_feature_name=feature)
            if isinstance(s.value, Buckets)
        }
        assert len(bounds) == 1, "feature and reference are cut alike"
    assert sink.value(m.ML_FEATURE_CELLS, ml_feature_name="sex") == 1000
    assert not sink.events(e.ML_INCIDENT)
    assert not sink.samples(m.ML_INCIDENT_ACTIVE)
    statistics = {s.attributes["ml.statistic"] for s in sink.samples(m.ML_DRIFT_SCORE)}
    assert statistics == {
        "psi",
        "jensen_shannon",
        "hellinger",
        "wasserstein",
        "ks",
        "chi_square",
        "total_variation",
    }
    names = {s.attributes["ml.feature.name"] for s in sink.samples(m.ML_DRIFT_SCORE)}
    assert names == {"a", "b", "sex", "score", "prediction"}


def test_performance_and_fairness_are_those_of_the_labels(with_reference: MemoryPipeline) -> None:
    traffic = Traffic()
    for _ in range(4):
        traffic.send(250)
    assert with_reference.flush(HANG)
    sink = with_reference.sink
    confusion = {
        (s.attributes["ml.prediction.class"], s.attributes["ml.label.class"]): int(s.value)  # type: ignore[arg-type]  # a counter
        for s in sink.samples(m.ML_PERFORMANCE_OUTCOMES)
        if "ml.slice.group" not in s.attributes
    }
    assert sum(confusion.values()) == 1000
    right = confusion["yes", "yes"] + confusion["no", "no"]

    def score(name: str, bound: str = "value") -> float:
        return sink.value(
            m.ML_PERFORMANCE_SCORE, ml_performance_metric=name, ml_estimate_bound=bound
        )

    assert score("accuracy") == pytest.approx(right / 1000)
    assert score("precision") == pytest.approx(
        confusion["yes", "yes"] / (confusion["yes", "yes"] + confusion["yes", "no"])
    )
    assert score("recall") == pytest.approx(
        confusion["yes", "yes"] / (confusion["yes", "yes"] + confusion["no", "yes"])
    )
    for name in ("accuracy", "precision", "recall"):
        assert score(name, "lower") < score(name) < score(name, "upper")
    assert 0 < score("brier") < 0.25
    groups = {s.attributes["ml.slice.group"] for s in sink.samples(m.ML_FAIRNESS_SCORE)}
    assert groups == {"f", "m"}
    rates = {
        str(s.attributes["ml.slice.group"]): float(s.value)  # type: ignore[arg-type]  # a gauge
        for s in sink.samples(
            m.ML_FAIRNESS_SCORE, ml_performance_metric="selection_rate", ml_estimate_bound="value"
        )
    }
    difference = sink.value(m.ML_FAIRNESS_DIFFERENCE, ml_performance_metric="selection_rate")
    assert difference == pytest.approx(abs(rates["f"] - rates["m"]))
    ratio = sink.value(m.ML_FAIRNESS_GROUP_RATIO, ml_performance_metric="selection_rate")
    assert ratio == pytest.approx(min(rates.values()) / max(rates.values()))


def test_small_groups_are_not_shown(with_reference: MemoryPipeline) -> None:
    """Nine labels of a group are too few to be told, ten are shown, in sums that cannot hide."""
    traffic = Traffic()
    shown = []
    for n in (90, 10):  # a tenth of the first forty rows of a request is of the rare group
        traffic.send(n)
        traffic.send(n)
        assert with_reference.flush(HANG)
        groups = {
            s.attributes.get("ml.slice.group")
            for s in with_reference.sink.samples(m.ML_PERFORMANCE_OUTCOMES)
        }
        shown.append("rare" in groups)
        assert {"f", "m", None} <= groups
    assert shown == [False, True]


def test_an_incident_from_its_beginning_to_its_end(
    with_reference: MemoryPipeline, caplog: pytest.LogCaptureFixture
) -> None:
    traffic = Traffic()
    sink = with_reference.sink

    def send(rows: int, shift: float, until: Callable[[], object]) -> None:
        for _ in range(rows // 250):
            traffic.send(250, shift=shift, labelled=False)
            assert with_reference.flush(HANG)
            check(sink.samples())
            if until():
                return
        raise AssertionError("it did not come to that")

    send(500, 0.0, lambda: traffic.sent == 500)
    assert not sink.events(e.ML_INCIDENT)
    send(2000, 4.0, lambda: sink.events(e.ML_INCIDENT))
    (opened,) = sink.events(e.ML_INCIDENT, ml_incident_state="opened")
    told = opened.attributes
    assert told["ml.model.name"] == "churn"
    assert told["ml.model.version"] == "1"
    assert told["ml.incident.target"] == "a"
    assert told["ml.incident.monitor"] in ("input_drift", "data_quality")
    lower, upper = told["ml.incident.change_row.lower"], told["ml.incident.change_row.upper"]
    assert isinstance(lower, int)
    assert isinstance(upper, int)
    assert lower <= 500 <= upper
    assert told["ml.incident.opened_row"] > 500  # type: ignore[operator]  # an int
    for name in ("effect", "harm", "next_step", "runbook", "cause", "severity", "id"):
        assert isinstance(told[f"ml.incident.{name}"], str)
        assert told[f"ml.incident.{name}"]
    for name in ("members", "causes", "evidence.for", "evidence.against"):
        assert isinstance(told[f"ml.incident.{name}"], list)
    assert told["ml.incident.members"]
    assert opened.severity == told["ml.incident.severity"]
    assert opened.body
    assert sink.value(m.ML_INCIDENT_ACTIVE) == 1
    assert sink.value(m.ML_INCIDENTS) == 1
    (active,) = sink.samples(m.ML_INCIDENT_ACTIVE)
    for name in ("cause", "target", "severity", "paged"):
        assert active.attributes[f"ml.incident.{name}"] == told[f"ml.incident.{name}"]
    status = sink.samples(
        m.ML_MONITOR_STATUS,
        ml_monitor_name=told["ml.incident.monitor"],
        ml_monitor_state="alarm",
    )
    assert [s.value for s in status] == [1]
    evidence = sink.value(m.ML_MODEL_EVIDENCE)
    assert np.isfinite(evidence)
    live_check(with_reference)

    send(40_000, 0.0, lambda: sink.events(e.ML_INCIDENT, ml_incident_state="closed"))
    (closed,) = sink.events(e.ML_INCIDENT, ml_incident_state="closed")
    assert closed.attributes["ml.incident.id"] == told["ml.incident.id"]
    assert closed.severity == closed.attributes["ml.incident.severity"]
    assert sink.value(m.ML_INCIDENT_ACTIVE) == 0
    assert len(sink.samples(m.ML_INCIDENT_ACTIVE)) >= 1, "sent as zero, not left out"
    assert sink.value(m.ML_INCIDENTS) >= 1
    assert not sink.samples(m.ML_MONITOR_STATUS, ml_monitor_state="alarm") or not sink.value(
        m.ML_MONITOR_STATUS, ml_monitor_state="alarm"
    )
    traffic.send(50, labelled=False)
    assert with_reference.flush(HANG)
    assert sink.value(m.ML_INCIDENT_ACTIVE) == 0
    if told["ml.incident.paged"]:
        assert "incident opened of model churn" in caplog.text
    live_check(with_reference)


def test_a_regression_is_told_by_its_residuals(start: Any) -> None:
    running = start(learn_rows=200, models=[{"name": "price", "task": "regression"}])
    rng = np.random.default_rng(3)
    for part in range(4):
        x = rng.normal(size=100)
        ids = [f"{part}-{i}" for i in range(100)]
        otel_ml.observe(model="price", features={"x": x}, predictions=x * 2.0, ids=ids)
        otel_ml.record_labels(ids=ids, labels=(x * 2.0 + 1.0).tolist())
    assert running.flush(HANG)
    check(running.sink.samples())
    live_check(running)
    for name in ("mae", "rmse"):
        found = running.sink.value(m.ML_PERFORMANCE_SCORE, ml_performance_metric=name)
        assert found == pytest.approx(1.0)
    assert not running.sink.samples(m.ML_PERFORMANCE_OUTCOMES)


def test_a_multiclass_model_is_told_by_class(start: Any) -> None:
    running = start(learn_rows=300, models=[{"name": "iris"}])
    rng = np.random.default_rng(4)
    for part in range(6):
        scores = rng.dirichlet([1, 1, 1], size=100)
        ids = [f"{part}-{i}" for i in range(100)]
        top = np.array(["a", "b", "c"])[scores.argmax(axis=1)]
        features = {"x": rng.normal(size=100)}
        otel_ml.observe(model="iris", features=features, scores=scores, predictions=top, ids=ids)
        otel_ml.record_labels(ids=ids, labels=top.tolist())
    assert running.flush(HANG)
    check(running.sink.samples())
    live_check(running)
    classes = {
        s.attributes["ml.prediction.class"] for s in running.sink.samples(m.ML_PREDICTION_CLASSES)
    }
    assert {"a", "b", "c"} <= classes
    accuracy = running.sink.value(
        m.ML_PERFORMANCE_SCORE, ml_performance_metric="accuracy", ml_estimate_bound="value"
    )
    assert accuracy == 1.0
