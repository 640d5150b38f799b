"""A run that never took place, told by real OTLP to a real receiver.

The simulation plays the part of the engine only: what it emits goes through the project's own
OTLP sink over HTTP into the receiver, as in a real run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from otel_ml.demo.data import COLUMNS, NUMERIC, People, example_folder, read_people
from otel_ml.demo.faults import TIMELINE, TOTAL_ROWS, Fault, phases
from otel_ml.demo.replay import Passage, ReplayLog
from otel_ml.demo.telemetry import Telemetry
from otel_ml.emit import OtlpSink, Receiver, build_sinks
from otel_ml.semconv import metrics as m
from otel_ml.semconv.events import ML_INCIDENT
from otel_ml.types import AttributeValue, Buckets, Event, MetricDef, Sample

START = 1_700_000_000.0
ROWS_PER_SECOND = 350.0
MODEL = {"ml.model.name": "acs-employment"}
REFERENCE = {"ml.reference.id": "0123456789ab"}
SCORE_BOUNDS = tuple(round(0.1 * i, 1) for i in range(1, 10))
LATENCY_BOUNDS = (0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.12, 0.15, 0.25)
DELAY = 600
FOUND_AFTER = {
    "unit_change": 50,
    "missing_values": 100,
    "new_category": 250,
    "score_shift": 350,
    "subgroup_performance_drop": 850,
    "latency_increase": 200,
}


@dataclass
class Simulated:
    """What a run leaves behind."""

    telemetry: Telemetry
    log: ReplayLog
    people: People


def at(row: float) -> float:
    return START + row / ROWS_PER_SECOND


def incident(fault: Fault, number: int, state: str) -> Event:
    opened = fault.start + FOUND_AFTER[fault.cause]
    when = opened if state == "opened" else fault.end + 400
    labelled = DELAY if fault.in_labels else 0
    return Event(
        ML_INCIDENT,
        {
            **MODEL,
            "ml.incident.id": f"inc-{number}",
            "ml.incident.state": state,
            "ml.incident.severity": "critical" if number in (1, 4, 5) else "warning",
            "ml.incident.paged": True,
            "ml.incident.cause": fault.cause,
            "ml.incident.monitor": "performance" if fault.in_labels else "input_drift",
            "ml.incident.target": fault.target,
            "ml.incident.members": [f"input_drift:{fault.target}", "score_drift:score"],
            "ml.incident.opened_row": opened,
            "ml.incident.change_row": fault.start + labelled + 8,
            "ml.incident.change_row.lower": fault.start + labelled - 20,
            "ml.incident.change_row.upper": fault.start + labelled + 31,
            "ml.incident.evidence": 6.2 + number,
            "ml.incident.effect": f"{fault.target}: from 42 to 504; <b>100 %</b> of rows.",
            "ml.incident.harm": "Accuracy falls from 0.82 to about 0.50 for everybody.",
            "ml.incident.next_step": "Ask the team that owns the form which unit it sends.",
            "ml.incident.runbook": "docs/runbooks/unit-change.md",
            "ml.incident.causes": [f"{fault.cause}:0.93", "input_shift:0.05", "out_of_range:0.02"],
            "ml.incident.evidence.for": ["The ratio of medians is 12.0, months per year."],
            "ml.incident.evidence.against": ["No other feature has moved with it."],
        },
        time_ns=int(at(when) * 1e9),
        severity="critical",
    )


class Simulation:
    """Emits what a good engine would, once a second."""

    def __init__(self, people: People, sink: OtlpSink, seed: int = 7) -> None:
        self.people = people
        self.sink = sink
        self.rng = np.random.default_rng(seed)
        self.edges = {
            name: tuple(
                sorted(set(np.quantile(people.features[:6000, i], np.linspace(0.1, 0.9, 9))))
            )
            for i, name in enumerate(COLUMNS)
            if name in NUMERIC
        }
        self.cells: dict[tuple[str, str], int] = {}
        self.values = {name: np.zeros(len(self.edges[name]) + 1, int) for name in self.edges}
        self.scores = np.zeros(len(SCORE_BOUNDS) + 1, int)
        self.durations = np.zeros(len(LATENCY_BOUNDS) + 1, int)
        self.seconds = 0.0

    def run(self) -> ReplayLog:
        events: list[Event] = []
        log = ReplayLog(started=START)
        for start, end, fault in phases(len(self.people)):
            rows = self.people.features[start:end]
            if fault is not None:
                rows = fault.corrupt(rows, self.rng)
                log.passages.append(Passage(fault, start, at(start), end, at(end)))
                number = len(log.passages)
                events += [incident(fault, number, state) for state in ("opened", "closed")]
            step = int(ROWS_PER_SECOND)
            for first in range(0, len(rows), step):
                chunk = rows[first : first + step]
                self.count(chunk, fault)
                row = start + first + len(chunk)
                now = int(at(row) * 1e9)
                due = [event for event in events if event.time_ns <= now]
                events = [event for event in events if event.time_ns > now]
                report = self.sink.export(
                    self.samples(row), due, start_ns=int(START * 1e9), now_ns=now, timeout=5
                )
                assert report.ok, report
        self.sink.shutdown(5)
        log.rows = log.labels = len(self.people)
        log.calls = 6050
        log.ended = at(log.rows)
        return log

    def count(self, rows: np.ndarray, fault: Fault | None) -> None:
        for i, name in enumerate(COLUMNS):
            column = rows[:, i]
            missing = np.isnan(column)
            if missing.any():
                self.add(name, "missing", int(missing.sum()))
            if name in self.values:
                bins = np.searchsorted(self.edges[name], column[~missing], side="left")
                self.values[name] += np.bincount(bins, minlength=len(self.values[name]))
                # As the engine does: outside of the reference is a cell of its own as well.
                self.add(name, "above_range", int((column > self.edges[name][-1]).sum()))
            else:
                for code, n in zip(*np.unique(column[~missing], return_counts=True), strict=True):
                    unseen = name == "MAR" and code == 6
                    self.add(name, "unseen" if unseen else f"{code:g}", int(n))
        shifted = fault is not None and fault.action == "roll_out"
        drawn = self.rng.beta(1.1, 0.6 if shifted else 1.0, len(rows))
        self.scores += np.histogram(drawn, (0, *SCORE_BOUNDS, 1))[0]
        slow = 0.12 if fault is not None and fault.action == "slow_down" else 0.0
        calls = slow + self.rng.lognormal(math.log(0.0022), 0.35, max(len(rows) // 4, 1))
        self.seconds += float(calls.sum())
        self.durations += np.histogram(calls, (0, *LATENCY_BOUNDS, 9))[0]

    def add(self, name: str, cell: str, n: int) -> None:
        self.cells[name, cell] = self.cells.get((name, cell), 0) + n

    def samples(self, row: int) -> list[Sample]:
        made: list[Sample] = []

        def put(definition: MetricDef, value: float | Buckets, **more: AttributeValue) -> None:
            named = {f"ml.{key.replace('__', '.')}": given for key, given in more.items()}
            own = {} if definition.name.startswith("ml.monitoring.") else MODEL
            with_reference = "ml.reference.id" in definition.required
            made.append(
                Sample(definition, {**own, **(REFERENCE if with_reference else {}), **named}, value)
            )

        fault = next(
            (f for f in TIMELINE if f.start <= row < f.end + (DELAY if f.in_labels else 0)), None
        )
        since = 0 if fault is None else row - fault.start
        found = fault is not None and since > FOUND_AFTER[fault.cause]
        noise = abs(math.sin(row / 900)) * 0.8
        put(m.ML_PREDICTIONS, row)
        put(
            m.ML_MODEL_EVIDENCE,
            noise + (4.2 * min(since / FOUND_AFTER[fault.cause], 1) if fault and not found else 0),
        )
        put(m.ML_MODEL_EVIDENCE_THRESHOLD, 3.3)
        put(m.ML_PREDICTION_SCORE, Buckets(SCORE_BOUNDS, tuple(self.scores.tolist())))
        put(
            m.ML_INFERENCE_DURATION,
            Buckets(LATENCY_BOUNDS, tuple(self.durations.tolist()), self.seconds),
        )
        put(m.ML_LABELS, max(row - DELAY, 0) if row < TOTAL_ROWS else row, label__state="joined")
        for name, counts in self.values.items():
            put(
                m.ML_FEATURE_VALUE,
                Buckets(self.edges[name], tuple(counts.tolist())),
                feature__name=name,
            )
            put(
                m.ML_REFERENCE_VALUE,
                Buckets(self.edges[name], (2000,) * len(counts)),
                feature__name=name,
            )
        for (name, cell), n in self.cells.items():
            put(m.ML_FEATURE_CELLS, n, feature__name=name, feature__cell=cell)
            if cell not in ("missing", "unseen", "above_range"):
                known = int((self.people.features[:6000, COLUMNS.index(name)] == float(cell)).sum())
                put(m.ML_REFERENCE_CELLS, known, feature__name=name, feature__cell=cell)
        wrong = fault is not None and fault.in_labels and since > DELAY
        self.performance(put, row, 0.5 if fault and fault.cause == "unit_change" else 0.82, wrong)
        put(m.ML_MONITORING_CAPTURED, row)
        put(
            m.ML_MONITORING_EVALUATION_DURATION,
            Buckets((0.001, 0.01), (row // 60, row // 900, 0), row * 2e-5),
        )
        put(
            m.ML_MONITORING_EXPORTS, row // 350, export__outcome="success", export__signal="metrics"
        )
        return made

    def performance(self, put, row: int, accuracy: float, wrong: bool) -> None:  # type: ignore[no-untyped-def]
        half = 0.03
        jitter = 0.008 * math.sin(row / 500)
        overall = accuracy - (0.18 if wrong else 0.0) + jitter
        for bound, shift in (("value", 0.0), ("lower", -half), ("upper", half)):
            put(
                m.ML_PERFORMANCE_SCORE, overall + shift, performance__metric="accuracy",
                estimate__source="realised", estimate__bound=bound,
            )  # fmt: skip
            for attribute, groups in {"SEX": "12", "DIS": "12", "RAC1P": "12689"}.items():
                for place, group in enumerate(groups):
                    low = 0.36 if wrong and (attribute, group) == ("SEX", "2") else 0.0
                    put(
                        m.ML_FAIRNESS_SCORE,
                        0.81 + 0.015 * place + jitter - low + shift * (1 + place / 2),
                        slice__attribute=attribute, slice__group=group,
                        performance__metric="accuracy", estimate__bound=bound,
                    )  # fmt: skip


@pytest.fixture(scope="session")
def people() -> People:
    return read_people(example_folder(), rows=TOTAL_ROWS, seed=0)


@pytest.fixture(scope="session")
def simulated(people: People) -> Simulated:
    telemetry = Telemetry()
    with Receiver(on_metrics=telemetry.take_metrics, on_logs=telemetry.take_logs) as receiver:
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        }
        (sink,) = build_sinks(environ)
        assert isinstance(sink, OtlpSink)
        log = Simulation(people, sink).run()
    return Simulated(telemetry, log, people)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out"
