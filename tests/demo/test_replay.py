from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otel_ml.demo.data import COLUMNS, People
from otel_ml.demo.faults import TIMELINE, Fault
from otel_ml.demo.replay import Replay, ReplayError


class Service:
    """A server that answers as the instrumented one does, and remembers what it was asked."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.calls: list[tuple[str, list[dict[str, float | None]]]] = []
        self.status = 200
        self.named = True
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                rows = body.get("rows", [body])
                with service.lock:
                    name = f"p{len(service.calls)}"
                    service.calls.append((name, rows))
                self.send_response(service.status)
                if service.named:
                    self.send_header("x-prediction-id", name)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")
                self.wfile.flush()

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.server.server_address[1])

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Actions:
    """Remembers at which call a fault began and ended."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.rows: list[tuple[str, str, int]] = []

    def note(self, what: str, fault: Fault) -> None:
        served = sum(len(rows) for _, rows in self.service.calls)
        self.rows.append((what, fault.cause, served))

    def begin(self, fault: Fault) -> None:
        self.note("begin", fault)

    def end(self, fault: Fault) -> None:
        self.note("end", fault)


@pytest.fixture
def service() -> Iterator[Service]:
    one = Service()
    yield one
    one.stop()


@pytest.fixture
def few(people: People) -> People:
    return People(people.features[:900], people.labels[:900], people.years[:900])


def timeline() -> tuple[Fault, ...]:
    by_cause = {one.cause: one for one in TIMELINE}
    months, flipped = by_cause["unit_change"], by_cause["subgroup_performance_drop"]
    return (
        Fault(months.cause, "AGEP", 301, 400, "", "", corrupt=months.corrupt, action="roll_out"),
        Fault(flipped.cause, "SEX=2", 500, 600, "", "", mislabel=flipped.mislabel),
    )


def replay(few: People, service: Service, state: Path, **more: Any) -> tuple[Replay, Actions]:
    actions = Actions(service)
    settings: dict[str, Any] = {
        "timeline": timeline(), "rows_per_second": 0, "label_delay": 250, "seed": 3, **more,
    }  # fmt: skip
    return Replay(few, service.address, state, actions, **settings), actions


def labels_of(state: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (state / "labels.jsonl").read_text().splitlines()]


def test_every_row_arrives_once_and_faults_begin_exactly(
    few: People, service: Service, tmp_path: Path
) -> None:
    one, actions = replay(few, service, tmp_path)
    log = one.run()
    assert (log.rows, log.calls, log.unnamed) == (900, len(service.calls), 0)
    assert sum(len(rows) for _, rows in service.calls) == 900
    assert actions.rows == [
        ("begin", "unit_change", 301), ("end", "unit_change", 400),
        ("begin", "subgroup_performance_drop", 500), ("end", "subgroup_performance_drop", 600),
    ]  # fmt: skip
    assert [(p.start_row, p.end_row) for p in log.passages] == [(301, 400), (500, 600)]
    ages = sorted(row["AGEP"] or 0.0 for _, rows in service.calls for row in rows)
    expected = few.features[:, COLUMNS.index("AGEP")].copy()
    expected[301:400] *= 12
    assert ages == sorted(expected)
    sizes = [len(rows) for _, rows in service.calls]
    assert 1 in sizes
    assert max(sizes) >= 10


def test_labels_name_the_row_they_belong_to(few: People, service: Service, tmp_path: Path) -> None:
    one, _ = replay(few, service, tmp_path, clients=1)  # one client: calls come in row order
    log = one.run()
    labels = labels_of(tmp_path)
    assert log.labels == len(labels) == 900
    ids = [
        name if len(rows) == 1 else f"{name}-{i}"
        for name, rows in service.calls
        for i in range(len(rows))
    ]
    assert [label["id"] for label in labels] == ids
    told = np.array([label["label"] for label in labels])
    wrong = np.flatnonzero(told != few.labels)
    assert len(wrong) > 10
    assert wrong.min() >= 500
    assert wrong.max() < 600
    assert (few.features[wrong, COLUMNS.index("SEX")] == 2).all()
    assert {"model", "id", "label", "time"} == set(labels[0])


def test_labels_are_late(few: People, service: Service, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    one, _ = replay(few, service, tmp_path)
    one.run(lambda: seen.append((one.log.rows, one.log.labels)))
    assert all(labels <= max(rows - 250, 0) for rows, labels in seen)
    assert any(labels > 0 for _, labels in seen)


def test_missing_values_are_null(few: People, service: Service, tmp_path: Path) -> None:
    features = few.features.copy()
    features[10, COLUMNS.index("SCHL")] = np.nan
    one, _ = replay(People(features, few.labels, few.years), service, tmp_path)
    one.run()
    assert [row["SCHL"] for _, rows in service.calls for row in rows].count(None) == 1


def test_without_ids_no_labels(few: People, service: Service, tmp_path: Path) -> None:
    service.named = False
    one, _ = replay(few, service, tmp_path)
    log = one.run()
    assert (log.unnamed, log.labels, labels_of(tmp_path)) == (900, 0, [])


def test_refused_request_ends_the_replay(few: People, service: Service, tmp_path: Path) -> None:
    service.status = 500
    one, _ = replay(few, service, tmp_path)
    with pytest.raises(ReplayError, match="answered with 500"):
        one.run()


def test_dead_server_ends_the_replay(few: People, service: Service, tmp_path: Path) -> None:
    one, _ = replay(few, service, tmp_path)
    service.stop()
    with pytest.raises(ReplayError, match="connection to the server broke"):
        one.run()


def test_interrupt_stops_the_clients(few: People, service: Service, tmp_path: Path) -> None:
    one, _ = replay(few, service, tmp_path, rows_per_second=100)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        one.run(interrupt)
    assert one.log.rows < 900


def test_labels_must_not_overtake_calls(few: People, service: Service, tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="overtake"):
        replay(few, service, tmp_path, label_delay=200)
