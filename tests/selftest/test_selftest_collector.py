"""The collector that misbehaves: every mode is what its name says, and is over when it is over."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)

from otel_ml.emit.envelope import metrics_request
from otel_ml.emit.points import encode_samples
from otel_ml.emit.resource import encode_resource
from otel_ml.selftest.collector import Collector, Totals
from otel_ml.semconv import attributes as a
from otel_ml.semconv import metrics as m
from otel_ml.types import Sample

SHORT = 0.3  # seconds within which nothing may come


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as found:
        yield found


def request(captured: int, *, process: str = "p", dropped: int = 0) -> bytes:
    from opentelemetry.sdk.resources import Resource

    samples = [
        Sample(m.ML_MONITORING_CAPTURED, {}, captured),
        Sample(m.ML_PREDICTIONS, {a.ML_MODEL_NAME: "a"}, captured - dropped),
        Sample(m.ML_MONITORING_DROPPED, {a.ML_DROP_REASON: "queue_full"}, dropped),
        Sample(m.ML_MONITORING_QUEUE_SIZE, {}, 0),
    ]
    encoded = encode_samples(samples, start_ns=1, now_ns=2)
    made = metrics_request(encode_resource(Resource({})), encoded.metrics)
    for attribute in made.resource_metrics[0].resource.attributes:
        if attribute.key == a.SERVICE_INSTANCE_ID:
            attribute.value.string_value = process
    return made.SerializeToString()


def send(collector: Collector, body: bytes, timeout: float = 5.0) -> tuple[int, bytes, str | None]:
    connection = http.client.HTTPConnection("127.0.0.1", collector.port, timeout=timeout)
    try:
        connection.request("POST", "/v1/metrics", body, {"content-type": "application/x-protobuf"})
        response = connection.getresponse()
        return response.status, response.read(), response.getheader("retry-after")
    finally:
        connection.close()


def test_totals_are_the_latest_of_each_process(collector: Collector) -> None:
    for body in (request(3), request(5, dropped=2), request(7, process="q")):
        assert send(collector, body)[:2] == (200, b"")
    assert collector.totals() == Totals(12, 10, {"queue_full": 2}, 0, 0, 2)
    assert collector.requests == 3
    before = Totals(5, 3, {"queue_full": 2}, 0, 0, 1)
    assert collector.totals().since(before) == Totals(7, 7, {}, 0, 0, 1)
    assert collector.wait(lambda t: t.captured == 12, 5)
    assert not collector.wait(lambda t: t.captured > 12, 0.01)


def test_what_is_no_request_is_refused(collector: Collector) -> None:
    assert send(collector, b"\xff\xff")[0] == 400
    assert collector.requests == 0


def test_refused(collector: Collector) -> None:
    port = collector.port
    with collector.being("refused"), pytest.raises(ConnectionRefusedError):
        send(collector, request(1))
    assert collector.port == port
    assert send(collector, request(1))[0] == 200


def test_black_hole_lets_go_at_its_end(collector: Collector) -> None:
    with collector.being("black_hole"):
        with pytest.raises(TimeoutError):
            send(collector, request(1), timeout=SHORT)
        waiting = socket.create_connection(("127.0.0.1", collector.port))
        body = request(1)
        head = f"POST /v1/metrics HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        waiting.sendall(head + body)
        waiting.settimeout(SHORT)
        with pytest.raises(TimeoutError):
            waiting.recv(1)
    waiting.settimeout(5)
    with waiting:
        assert waiting.recv(1) == b""  # hung up, unanswered
    assert collector.totals().captured == 0


def test_dripping(collector: Collector) -> None:
    with collector.being("dripping"), socket.create_connection(("127.0.0.1", collector.port)) as to:
        to.sendall(b"POST /v1/metrics HTTP/1.1\r\ncontent-length: 0\r\n\r\n")
        to.settimeout(5)
        found = b""
        while found.count(b"\0") < 2:
            found += to.recv(4096)
        assert b"200 OK" in found
        assert found.count(b"\0") < 10  # of the thousands that are announced


def test_a_page_an_excuse_and_a_part(collector: Collector) -> None:
    with collector.being("html"):
        assert send(collector, request(1))[1].startswith(b"<html>")
    with collector.being("unavailable"):
        assert send(collector, request(1)) == (503, b"busy", "1")
    with collector.being("rejecting"):
        status, body, _ = send(collector, request(1))
    answer = ExportMetricsServiceResponse.FromString(body)
    assert (status, answer.partial_success.rejected_data_points) == (200, 3)
    assert collector.totals().captured == 0
    assert send(collector, request(1))[:2] == (200, b"")
    assert collector.totals().captured == 1
