"""The receiver takes what exporters send, and survives what they should not."""

from __future__ import annotations

import gzip
import socket
import threading
import zlib
from typing import Any

import pytest
import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from otel_ml.emit.envelope import metrics_request
from otel_ml.emit.points import encode_samples
from otel_ml.emit.receiver import Receiver
from otel_ml.emit.resource import EncodedResource
from otel_ml.types import Sample

PROTOBUF = {"content-type": "application/x-protobuf"}


def metrics(make: Any, *samples: Sample, instance: str = "a") -> ExportMetricsServiceRequest:
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

    value = KeyValue(key="service.instance.id", value=AnyValue(string_value=instance))
    encoded = encode_samples(samples, start_ns=make.START, now_ns=make.NOW)
    return metrics_request(EncodedResource(Resource(attributes=[value]), ""), encoded.metrics)


def post(receiver: Receiver, request: Any, path: str = "/v1/metrics", **headers: str) -> int:
    body = request if isinstance(request, bytes) else request.SerializeToString()
    answer = requests.post(
        receiver.endpoint + path, data=body, headers={**PROTOBUF, **headers}, timeout=10
    )
    return answer.status_code


def test_readings_are_the_latest_of_each_instance(make: Any, receiver: Receiver) -> None:
    for instance, value in (("a", 1), ("b", 10), ("a", 2)):
        samples = (
            make.counter(value, a="x"),
            make.counter(100, a="y"),
            make.histogram((value, 0, 0), float(value)),
        )
        assert post(receiver, metrics(make, *samples, instance=instance)) == 200
    assert receiver.total("ml.test.counter", a="x") == 12
    assert receiver.total("ml.test.counter") == 212
    assert receiver.total("ml.test.counter", service_instance_id="b", a="x") == 10
    assert receiver.total("ml.test.counter", **{"ml.model.name": "other"}) == 0
    buckets = receiver.histogram("ml.test.histogram", ml_model_name="m")
    assert buckets is not None
    assert (buckets.counts, buckets.sum) == ((12, 0, 0), 12.0)
    assert receiver.histogram("ml.none") is None
    assert len(receiver.metrics) == 3
    receiver.clear()
    assert receiver.metrics == []


def test_histograms_with_other_bounds_are_not_added(make: Any, receiver: Receiver) -> None:
    samples = (make.histogram((1, 2, 3)), make.histogram((1, 2), bounds=(0.5,), a="x"))
    post(receiver, metrics(make, *samples))
    with pytest.raises(ValueError, match="different bounds"):
        receiver.histogram("ml.test.histogram")
    assert receiver.histogram("ml.test.histogram", a="x") is not None


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_compressed_bodies(make: Any, receiver: Receiver, encoding: str, compress: Any) -> None:
    body = compress(metrics(make, make.counter(1)).SerializeToString())
    assert post(receiver, body, **{"content-encoding": encoding}) == 200
    assert receiver.total("ml.test.counter") == 1
    assert post(receiver, body[:-4], **{"content-encoding": encoding}) == 400
    assert post(receiver, b"nonsense", **{"content-encoding": encoding}) == 400
    assert len(receiver.metrics) == 1


def test_what_is_not_taken(receiver: Receiver) -> None:
    assert post(receiver, b"{}", **{"content-type": "application/json"}) == 415
    assert post(receiver, b"", path="/v1/nothing") == 404
    assert post(receiver, b"\xff\xff") == 400
    assert post(receiver, b"", **{"content-encoding": "br"}) == 400
    bomb = gzip.compress(bytes(17 * 1024 * 1024))
    assert post(receiver, bomb, **{"content-encoding": "gzip"}) == 413
    assert receiver.metrics == []


@pytest.mark.parametrize(
    ("length", "code"), [("16777217", b" 413 "), ("-1", b" 411 "), ("x", b" 411 ")]
)
def test_a_length_that_is_not_taken_is_refused_unread(
    receiver: Receiver, length: str, code: bytes
) -> None:
    port = int(receiver.endpoint.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        head = f"POST /v1/metrics HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n"
        connection.sendall(head.encode())
        assert code in connection.recv(1024)


def test_the_oldest_requests_are_discarded_and_counted(make: Any) -> None:
    with Receiver(keep=2) as receiver:
        for value in (1, 2, 3):
            post(receiver, metrics(make, make.counter(value, a=str(value))))
        assert receiver.discarded == 1
        assert receiver.total("ml.test.counter") == 5


def test_listeners_are_called_and_may_fail(make: Any) -> None:
    seen: list[Any] = []

    def broken(request: Any) -> None:
        raise RuntimeError("listener")

    with Receiver(on_metrics=seen.append, on_logs=broken) as receiver:
        request = metrics(make, make.counter(1))
        post(receiver, request)
        assert post(receiver, ExportLogsServiceRequest(), path="/v1/logs") == 200
        assert seen == [request]
        assert len(receiver.logs) == 1


def test_waiting_ends_when_the_condition_holds(make: Any, receiver: Receiver) -> None:
    request = metrics(make, make.counter(5))
    threading.Thread(target=post, args=(receiver, request)).start()
    assert receiver.wait(lambda: receiver.total("ml.test.counter") == 5, timeout=30)
    assert not receiver.wait(lambda: False, timeout=0.01)


def test_many_clients_at_once(make: Any, receiver: Receiver) -> None:
    def send(instance: int) -> None:
        for value in range(1, 6):
            post(receiver, metrics(make, make.counter(value), instance=str(instance)))

    threads = [threading.Thread(target=send, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert receiver.total("ml.test.counter") == 40
    assert len(receiver.metrics) == 40


def test_spans_of_the_official_exporter_arrive(receiver: Receiver) -> None:
    provider = TracerProvider()
    exporter = OTLPSpanExporter(receiver.endpoint + "/v1/traces")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.get_tracer("t").start_span("one").end()
    provider.shutdown()
    (span,) = receiver.traces[0].resource_spans[0].scope_spans[0].spans
    assert span.name == "one"


def test_closing_hangs_up() -> None:
    receiver = Receiver()
    with requests.Session() as session:
        url = receiver.endpoint + "/v1/metrics"
        assert session.post(url, data=b"", headers=PROTOBUF, timeout=10).status_code == 200
        receiver.close()
        with pytest.raises(requests.exceptions.ConnectionError):
            session.post(url, data=b"", headers=PROTOBUF, timeout=10)
    assert len(receiver.metrics) == 1
