"""Real servers, the real Collector, the real Prometheus: what was answered is what is counted.

Each way of serving runs once, with labels for its first rows and then rows that have changed, and
is ended with SIGTERM; everything is asserted on what Prometheus and the Collector's file hold then.
"""

from __future__ import annotations

import csv
import json
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

for module in ("sklearn", "fastapi", "uvicorn", "gunicorn", "pyarrow"):
    pytest.importorskip(module)

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.server.serving import (  # noqa: E402
    MODES,
    SCRIPTS,
    SENSITIVE,
    Answer,
    Mode,
    Rows,
    Server,
    Service,
    exporting,
    make_service,
    run,
    serving,
    settings,
)

if TYPE_CHECKING:
    from stack import Stack

pytestmark = [pytest.mark.stack, pytest.mark.server, pytest.mark.slow]

SIZES: Final = (1, 1, 7, 1, 3)  # rows of successive requests
CHANGED: Final = 211  # rows that are three times too large
FORKING_OVER: Final = {"gunicorn": "grpc"}
WAIT: Final = 60.0  # seconds, a guard against hanging

README: Final = (ROOT / "README.md").read_text(encoding="utf-8")
TABLE: Final = README.partition("## What arrives")[2].partition("\n## ")[0]
NAMED: Final = sorted(
    {
        name
        for line in TABLE.splitlines()
        if line.startswith("|")
        for name in re.findall(r"`(ml_[a-z_]+)`", line)
    }
)


@dataclass(frozen=True)
class Finished:
    """A server that has ended, and what it answered.

    Parameters
    ----------
    name
        Its service name.
    mode
        How it served.
    answers
        All of them.
    labels
        Predicted and true class of each row that was labelled.
    """

    name: str
    mode: Mode
    answers: list[Answer]
    labels: list[tuple[int, int]]

    @property
    def rows(self) -> int:
        """Number of rows that were predicted."""
        return sum(answer.rows for answer in self.answers)


def requests(rows: Rows) -> list[Rows]:
    """Cut rows into requests of the sizes above, the last one shorter."""
    out: list[Rows] = []
    at = 0
    while at < len(rows):
        size = SIZES[len(out) % len(SIZES)]
        out.append(rows[at : at + size])
        at += size
    return out


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    return make_service(tmp_path_factory.mktemp("service"))


@pytest.fixture(scope="module", params=MODES)
def finished(
    request: pytest.FixtureRequest,
    service: Service,
    stack: Stack,
    tmp_path_factory: pytest.TempPathFactory,
) -> Finished:
    mode = MODES[request.param]
    work = tmp_path_factory.mktemp("work")
    name = f"tumours-{request.param}"
    protocol = FORKING_OVER.get(request.param, "http/protobuf")
    endpoint = stack.otlp_grpc_endpoint if protocol == "grpc" else stack.otlp_http_endpoint
    environ = {
        **settings(service, work / "state"),
        **exporting(endpoint, protocol),
        "OTEL_SERVICE_NAME": name,
    }
    with serving(mode, service, work, environ) as server:
        answers = server.predict(requests(service.features))
        truth = dict(zip(row_ids(answers), service.labels, strict=True))
        # a worker reads the labels that come after its first prediction
        more = until_all_work(server, service, stack, name, mode.workers)
        labels = report(truth, answers, work)
        answers += more
        joined = f'sum(ml_labels_total{{service_name="{name}", ml_label_state="joined"}})'
        stack.wait_for(joined, lambda found: value(found) >= len(labels), WAIT)
        changed = [[3 * x for x in row] for row in service.features[:CHANGED]]
        answers += server.predict(requests(changed))
        server.stop()
        assert "monitoring lost" not in server.output(), server.output()
    total = f'sum(ml_predictions_total{{service_name="{name}"}})'
    rows = sum(answer.rows for answer in answers)
    stack.wait_for(total, lambda found: value(found) >= rows, WAIT)
    return Finished(name, mode, answers, labels)


def row_ids(answers: list[Answer]) -> list[str]:
    return [row for answer in answers for row in answer.row_ids]


def report(truth: dict[str, int], answers: list[Answer], work: Path) -> list[tuple[int, int]]:
    """Report the labels as a person would, with the command."""
    with (work / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "label"), *truth.items()])
    command = [str(SCRIPTS / "otel-ml"), "label", "--file", "labels.csv", "--state", "state"]
    run(command, work)
    predicted = [value for answer in answers for value in answer.predictions]
    return list(zip(predicted, truth.values(), strict=True))


def until_all_work(
    server: Server, service: Service, stack: Stack, name: str, workers: int
) -> list[Answer]:
    """Predict until every worker has; it is the kernel that hands connections to them."""
    answers: list[Answer] = []
    query = f'count(ml_monitoring_captured_total{{service_name="{name}"}})'
    deadline = time.monotonic() + WAIT
    while value(stack.query(query)) < workers:
        assert time.monotonic() < deadline, server.output()
        answers += server.predict(requests(service.features[:5]))
        time.sleep(0.5)
    return answers


def value(answer: list[dict[str, Any]]) -> float:
    """Return the value of an answer of one series, 0 without any."""
    return float(answer[0]["value"][1]) if answer else 0.0


def by(stack: Stack, label: str, query: str) -> dict[str, float]:
    return {
        series["metric"].get(label, ""): float(series["value"][1])
        for series in stack.query(f"sum by ({label}) ({query})")
    }


def incidents(stack: Stack, name: str) -> list[dict[str, Any]]:
    """Return the attributes of the incident events of a service in the Collector's file."""
    found = []
    file = stack.workdir / "incidents.jsonl"
    # the last line may be half written
    for line in file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else ():
        for resource in json.loads(line)["resourceLogs"]:
            of = plain(resource["resource"]["attributes"])
            if of["service.name"] != name:
                continue
            for scope in resource["scopeLogs"]:
                found += [
                    {**plain(record["attributes"]), "instance": of["service.instance.id"]}
                    for record in scope["logRecords"]
                    if record.get("eventName") == "ml.incident"
                ]
    return found


def plain(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    return {pair["key"]: next(iter(pair["value"].values())) for pair in attributes}


def test_every_prediction_is_in_prometheus(finished: Finished, stack: Stack) -> None:
    mine = f'{{service_name="{finished.name}"}}'
    assert value(stack.query(f"sum(ml_predictions_total{mine})")) == finished.rows
    assert (
        value(stack.query(f'sum(ml_predictions_total{{job="{finished.name}"}})')) == finished.rows
    )
    assert by(stack, "error_type", f"ml_predictions_total{mine}") == {"": finished.rows}
    assert by(stack, "ml_prediction_class", f"ml_prediction_classes_total{mine}") == {
        str(label): count
        for label, count in Counter(
            v for answer in finished.answers for v in answer.predictions
        ).items()
    }
    calls, rows = (
        value(stack.query(f"sum(ml_inference_batch_size_{part}{mine})"))
        for part in ("count", "sum")
    )
    assert (calls, rows) == (len(finished.answers), finished.rows)


def test_every_process_is_an_instance(finished: Finished, stack: Stack) -> None:
    mine = f'{{service_name="{finished.name}"}}'
    instances = f"count(count by (service_instance_id) (ml_predictions_total{mine}))"
    assert value(stack.query(instances)) == finished.mode.workers
    captured, dropped = (
        value(stack.query(f"sum(ml_monitoring_{name}_total{mine})"))
        for name in ("captured", "dropped")
    )
    assert (captured, dropped) == (finished.rows, 0)


def test_every_label_is_joined_once(finished: Finished, stack: Stack) -> None:
    mine = f'service_name="{finished.name}"'
    labelled = len(finished.labels)
    # every worker reads every label, and says so of those that are not its own
    unknown = labelled * (finished.mode.workers - 1)
    assert by(stack, "ml_label_state", f"ml_labels_total{{{mine}}}") == {
        "joined": labelled,
        "unknown": unknown,
        "duplicate": 0,
        "conflict": 0,
        "expired": 0,
    }
    overall = f'ml_performance_outcomes_total{{{mine}, ml_slice_attribute=""}}'
    pairs = {
        (series["metric"]["ml_prediction_class"], series["metric"]["ml_label_class"]): float(
            series["value"][1]
        )
        for series in stack.query(f"sum by (ml_prediction_class, ml_label_class) ({overall})")
    }
    counted = Counter((str(predicted), str(actual)) for predicted, actual in finished.labels)
    assert {pair: n for pair, n in pairs.items() if n} == counted


def test_every_series_of_the_readme_is_there(finished: Finished, stack: Stack) -> None:
    assert len(NAMED) >= 25, NAMED
    present = {
        series["metric"]["__name__"]
        for series in stack.query(
            f'count by (__name__) ({{__name__=~"ml_.+", service_name="{finished.name}"}})'
        )
    }
    assert [name for name in NAMED if name not in present] == []
    fair = f'ml_fairness_score{{service_name="{finished.name}"}}'
    assert set(by(stack, "ml_slice_attribute", fair)) == {SENSITIVE}


def test_incidents_arrive_as_events(finished: Finished, stack: Stack) -> None:
    mine = f'{{service_name="{finished.name}"}}'
    opened = value(stack.query(f"sum(ml_incidents_total{mine})"))
    assert opened >= 1
    assert value(stack.query(f"sum(ml_incident_active{mine})")) >= 1
    deadline = time.monotonic() + WAIT
    found = incidents(stack, finished.name)
    while sum(event["ml.incident.state"] == "opened" for event in found) < opened:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
        found = incidents(stack, finished.name)
    first = [event for event in found if event["ml.incident.state"] == "opened"]
    assert len(first) == opened
    # the id is that of the problem, so two replicas may give the same one; a replica never does
    assert len({(event["instance"], event["ml.incident.id"]) for event in first}) == opened
    causes = by(stack, "ml_incident_cause", f"ml_incidents_total{mine}")
    assert Counter(event["ml.incident.cause"] for event in first) == causes
    assert all(event["ml.model.name"] == "tumour" for event in found)
