"""Real servers of the example service: what they answered and what arrived is the same, exactly.

Each way of serving and of exporting runs once: predictions, failures and labels go in while it is
up, a last burst goes in just before SIGTERM, and everything is asserted on what was received.
"""

from __future__ import annotations

import contextlib
import csv
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from otel_ml.emit import Receiver
from otel_ml.emit.readings import attributes_of
from otel_ml.semconv.livecheck import check
from tests.server.grpc_front import grpc_front
from tests.server.serving import (
    COLUMNS,
    MODES,
    ONE_PROCESS,
    SCRIPTS,
    WITHOUT_LIFESPAN,
    Answer,
    Mode,
    Rows,
    Server,
    Service,
    exporting,
    run,
    serving,
    settings,
)

pytestmark = [pytest.mark.server, pytest.mark.slow]

FIRST, MORE, LAST = 83, 7, 41  # requests: at first, until every worker had one, before the end
FAILED = 3
REPEATED = 11  # labels that are reported twice
WAIT = 60.0  # seconds, a guard against hanging
SERVER_SPAN: Final = 2

CASES: Final = {
    **{name: (mode, "http") for name, mode in MODES.items()},
    "without lifespan": (WITHOUT_LIFESPAN, "http"),
    "over grpc": (ONE_PROCESS, "grpc"),
    "declarative": (ONE_PROCESS, "file"),
}


@dataclass(frozen=True)
class Finished:
    """A server that has ended, what it answered, and what was received from it."""

    mode: Mode
    receiver: Receiver
    answers: list[Answer]
    labelled: int
    with_spans: int
    reference_id: str
    version: str | None
    output: str

    @property
    def rows(self) -> int:
        """Number of rows that were predicted."""
        return sum(answer.rows for answer in self.answers)

    def spans(self) -> list[dict[str, Any]]:
        """Return the attributes of the server spans of prediction requests that succeeded."""
        return [
            {**attributes_of(span.attributes), "name": span.name}
            for request in self.receiver.traces
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
            if span.kind == SERVER_SPAN and "/predict" in span.name and span.status.code != 2
        ]


def batches(service: Service, number: int, start: int = 0) -> list[Rows]:
    """Return rows of the training data for a number of requests, every third one a batch."""
    sizes = [1 + i % 5 if i % 3 == 0 else 1 for i in range(number)]
    first = [start + sum(sizes[:i]) for i in range(number)]
    n = len(service.features)
    return [
        [service.features[(at + k) % n] for k in range(size)]
        for at, size in zip(first, sizes, strict=True)
    ]


def declared(service: Service, state: Path, endpoint: str) -> str:
    """Return a declarative configuration that says where all goes, and our settings."""
    stated = yaml.safe_load((service.folder / "otel-ml.yaml").read_text(encoding="utf-8"))
    (model,) = stated["models"]
    model |= {"reference": str(service.folder / "reference.json"), "version": "declared"}
    ours = {**stated, "state_dir": str(state)}
    to = {signal: {"otlp_http": {"endpoint": f"{endpoint}/v1/{signal}"}} for signal in SIGNALS}
    document = {
        "file_format": "1.0",
        # without one, the SDK answers None for a context and contrib's ASGI middleware fails on it
        "propagator": {"composite": [{"tracecontext": None}, {"baggage": None}]},
        "resource": {"attributes": [{"name": "service.name", "value": "tumours"}]},
        "tracer_provider": {
            "processors": [{"batch": {"schedule_delay": 100, "exporter": to["traces"]}}]
        },
        "meter_provider": {"readers": [{"periodic": {"interval": 500, "exporter": to["metrics"]}}]},
        "logger_provider": {"processors": [{"batch": {"exporter": to["logs"]}}]},
        "instrumentation/development": {"python": {"ml": ours}},
    }
    return yaml.safe_dump(document)


SIGNALS = ("traces", "metrics", "logs")


@pytest.fixture(scope="module", params=CASES)
def finished(
    request: pytest.FixtureRequest, service: Service, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Finished]:
    mode, way = CASES[request.param]
    work = tmp_path_factory.mktemp("work")
    state = work / "state"
    with Receiver() as receiver, contextlib.ExitStack() as stack:
        if way == "file":
            file = work / "otel.yaml"
            file.write_text(declared(service, state, receiver.endpoint), encoding="utf-8")
            environ = {"OTEL_CONFIG_FILE": str(file)}
        else:
            endpoint = receiver.endpoint
            if way == "grpc":
                endpoint = stack.enter_context(grpc_front(receiver))
            protocol = "grpc" if way == "grpc" else "http/protobuf"
            environ = {**settings(service, state), **exporting(endpoint, protocol)}
            environ["OTEL_SERVICE_NAME"] = "tumours"
        server = stack.enter_context(serving(mode, service, work, environ))
        answers = until_all_work(server, service, receiver, mode.workers)
        for path in ("/predict", "/predict/async", "/predict"):
            answer = server.request("POST", path, [[1.0] * (COLUMNS - 1)])
            assert (answer.status, answer.predictions) == (500, ())
        labelled = label(answers, state, work, receiver, mode.workers)
        with_spans = len(answers)
        received = Finished(mode, receiver, answers, labelled, with_spans, "", None, "")
        assert receiver.wait(lambda: len(received.spans()) >= with_spans, WAIT), server.output()
        answers += server.predict(batches(service, LAST, 500))
        server.stop()
        reference = json.loads((service.folder / "reference.json").read_text(encoding="utf-8"))
        yield Finished(
            mode,
            receiver,
            answers,
            labelled,
            with_spans,
            reference["sha256"][:12],
            "declared" if way == "file" else None,
            server.output(),
        )


def until_all_work(
    server: Server, service: Service, receiver: Receiver, workers: int
) -> list[Answer]:
    """Predict until every worker has; it is the kernel that hands connections to them."""
    answers = server.predict(batches(service, FIRST))
    for turn in range(200):
        if receiver.wait(lambda: len(receiver.series("ml.monitoring.captured")) >= workers, 1):
            return answers
        answers += server.predict(batches(service, MORE, turn))
    raise AssertionError(f"a worker does not predict, or does not export:\n{server.output()}")


def label(answers: list[Answer], state: Path, work: Path, receiver: Receiver, workers: int) -> int:
    """Report a label for every row, and some again; return how many rows that were."""
    rows = [
        (row, 1 - value if i % 7 == 0 else value)
        for i, answer in enumerate(answers)
        for row, value in zip(answer.row_ids, answer.predictions, strict=True)
    ]
    reported = [*rows, *rows[:REPEATED]]
    with (work / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("prediction_id", "outcome"), *reported])
    options = ["--file", "labels.csv", "--id", "prediction_id", "--label", "outcome"]
    said = run([str(SCRIPTS / "otel-ml"), "label", "--state", str(state), *options], work)
    assert said.startswith(f"{len(reported)} labels reported")
    everywhere = workers * len(reported)
    assert receiver.wait(lambda: receiver.total("ml.labels") >= everywhere, WAIT), receiver.series(
        "ml.labels"
    )
    return len(rows)


def test_every_prediction_is_counted(finished: Finished) -> None:
    series = finished.receiver.series("ml.predictions")
    failed = [value for found, value in series if "error.type" in found]
    assert sum(value for found, value in series if "error.type" not in found) == finished.rows
    assert sum(failed) == FAILED
    assert {found["ml.model.name"] for found, _ in series} == {"tumour"}
    assert {found.get("ml.model.version") for found, _ in series} == {finished.version}
    assert {found["service.name"] for found, _ in series} == {"tumours"}


def test_what_was_captured_is_counted_or_dropped(finished: Finished) -> None:
    received = finished.receiver
    counted = received.total("ml.predictions")
    dropped = received.total("ml.monitoring.dropped")
    not_serving = received.total("ml.monitoring.dropped", ml_drop_reason="not_serving")
    assert received.total("ml.monitoring.captured") == counted + dropped - not_serving
    assert dropped == 0


def test_every_call_has_its_size_and_every_row_its_class(finished: Finished) -> None:
    sizes = finished.receiver.histogram("ml.inference.batch.size")
    assert sizes is not None
    assert (sum(sizes.counts), sizes.sum) == (len(finished.answers), finished.rows)
    predicted = Counter(str(v) for answer in finished.answers for v in answer.predictions)
    assert {
        label: finished.receiver.total("ml.prediction.classes", ml_prediction_class=label)
        for label in ("0", "1")
    } == predicted


def test_every_process_has_an_id_of_its_own(finished: Finished) -> None:
    for name in ("ml.predictions", "ml.monitoring.captured"):
        instances = {found["service.instance.id"] for found, _ in finished.receiver.series(name)}
        assert len(instances) == finished.mode.workers, name


def test_every_response_has_one_id_and_no_two_the_same(finished: Finished) -> None:
    assert {answer.status for answer in finished.answers} == {200}
    assert all(len(answer.ids) == 1 for answer in finished.answers)
    assert len({answer.ids for answer in finished.answers}) == len(finished.answers)


def test_every_label_is_joined_once(finished: Finished) -> None:
    others = finished.mode.workers - 1
    assert {
        state: finished.receiver.total("ml.labels", ml_label_state=state)
        for state in ("joined", "unknown", "duplicate", "conflict", "expired")
    } == {
        "joined": finished.labelled,
        # every worker reads every label, and says so of those that are not its own
        "unknown": finished.labelled * others,
        "duplicate": REPEATED * (1 + others),
        "conflict": 0,
        "expired": 0,
    }


def test_the_reference_that_was_given_is_compared_with(finished: Finished) -> None:
    cells = finished.receiver.series("ml.feature.cells")
    assert {found["ml.reference.id"] for found, _ in cells} == {finished.reference_id}
    events = finished.receiver.events("ml.reference")
    assert len(events) == finished.mode.workers
    assert {event["attributes"]["ml.reference.state"] for event in events} == {"frozen"}


def test_every_request_has_one_server_span_with_its_prediction(finished: Finished) -> None:
    spans = finished.spans()
    by_id = Counter(span["ml.prediction.id"] for span in spans)
    known = {answer.ids[0]: answer for answer in finished.answers}
    assert set(by_id.values()) == {1}
    # of the last burst those may be missing that the SDK had not exported at the end
    assert {a.ids[0] for a in finished.answers[: finished.with_spans]} <= set(by_id) <= set(known)
    assert {span["ml.model.name"] for span in spans} == {"tumour"}
    assert {span.get("ml.model.version") for span in spans} == {finished.version}
    for span in spans:
        assert span["ml.prediction.count"] == known[span["ml.prediction.id"]].rows


def test_everything_received_is_as_the_registry_says(finished: Finished) -> None:
    received = finished.receiver
    assert received.discarded == 0
    assert check(received.metrics, received.logs, received.traces) == []


def test_nothing_went_wrong_but_what_was_asked_for(finished: Finished) -> None:
    # a request with the wrong number of columns is a traceback of the application
    wrong = f"ValueError: X has {COLUMNS - 1} features"
    assert finished.output.count(wrong) == FAILED, finished.output
    others = [part for part in finished.output.split("Traceback")[1:] if wrong not in part]
    assert not others, finished.output
    assert "monitoring" not in finished.output, finished.output  # in all that otel-ml logs itself
