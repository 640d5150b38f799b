"""Delivery over HTTP: retries, refusals, deadlines, TLS, against real servers."""

from __future__ import annotations

import gzip
import socket
import subprocess
import threading
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from otel_ml.emit.destination import from_environ
from otel_ml.emit.otlp import OtlpSink


@pytest.fixture(autouse=True, params=["urllib3", "requests"])
def _library(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Have either library do what both do."""
    monkeypatch.setenv("HOME", str(tmp_path))  # where there is no .netrc
    if request.param == "requests":
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def sink_to(endpoint: str, **environ: str) -> OtlpSink:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **environ}
    return OtlpSink(from_environ("metrics", variables), from_environ("logs", variables))


def test_headers_and_compression_are_sent(make: Any, scripted: Any) -> None:
    for encoding, plain in (("gzip", gzip.decompress), ("deflate", zlib.decompress)):
        sink = sink_to(
            scripted.endpoint,
            OTEL_EXPORTER_OTLP_HEADERS="x-team=a%20b,x-other=1",
            OTEL_EXPORTER_OTLP_LOGS_HEADERS="x-team=logs",
            OTEL_EXPORTER_OTLP_COMPRESSION=encoding,
        )
        make.send(sink, make.counter(7), events=[make.event()])
        sink.shutdown(1)
        logs, metrics = sorted(scripted.requests[-2:])
        assert (logs[0], metrics[0]) == ("/v1/logs", "/v1/metrics")
        assert (logs[1]["x-team"], metrics[1]["x-team"], metrics[1]["x-other"]) == (
            "logs",
            "a b",
            "1",
        )
        assert metrics[1]["content-encoding"] == encoding
        assert metrics[1]["user-agent"].startswith("otel-ml/")
        sent = ExportMetricsServiceRequest.FromString(plain(metrics[2]))
        point = sent.resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points[0]
        assert point.as_int == 7


@pytest.mark.parametrize(
    ("kind", "body"), [("text/html", b"<html>hello</html>"), ("application/json", b"nonsense")]
)
def test_an_answer_that_is_not_otlp_is_a_failure(
    make: Any, scripted: Any, kind: str, body: bytes
) -> None:
    scripted.replies = [scripted.reply(kind=kind, body=body)]
    sink = sink_to(scripted.endpoint)
    assert make.send(sink, make.counter(1)).outcomes == {"metrics": "failure"}
    sink.shutdown(1)


def test_an_answer_in_json_is_understood(make: Any, scripted: Any) -> None:
    body = b'{"partialSuccess": {"rejectedDataPoints": "1"}, "new": 1}'
    scripted.replies = [scripted.reply(kind="application/json", body=body)]
    sink = sink_to(scripted.endpoint)
    assert make.send(sink, make.counter(1)).dropped == {"rejected": 1}
    sink.shutdown(1)


def test_an_answer_without_end_is_not_read(make: Any, scripted: Any) -> None:
    scripted.replies = [scripted.reply(body=bytes(1024 * 1024))]
    sink = sink_to(scripted.endpoint)
    assert make.send(sink, make.counter(1)).outcomes == {"metrics": "failure"}
    sink.shutdown(1)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_may_pass_is_sent_again(make: Any, scripted: Any, status: int) -> None:
    scripted.replies = [scripted.reply(status=status)]
    sink = sink_to(scripted.endpoint)
    assert make.send(sink, make.counter(1)).ok
    assert len(scripted.requests) == 2
    sink.shutdown(1)


@pytest.mark.parametrize("retry_after", ["3600", "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_a_long_retry_after_is_not_waited_for(make: Any, scripted: Any, retry_after: str) -> None:
    scripted.replies = [scripted.reply(status=503, headers={"retry-after": retry_after})]
    sink = sink_to(scripted.endpoint)
    for value in (1, 2):
        assert make.send(sink, make.counter(value)).outcomes == {"metrics": "failure"}
        assert len(scripted.requests) == 1, "the receiver asked not to be asked again"
    sink.shutdown(1)


@pytest.mark.parametrize("retry_after", ["0", "-5", "garbage", "nan", "1e999"])
def test_an_odd_retry_after_is_survived(make: Any, scripted: Any, retry_after: str) -> None:
    scripted.replies = [scripted.reply(status=503, headers={"retry-after": retry_after})]
    sink = sink_to(scripted.endpoint)
    assert make.send(sink, make.counter(1)).ok
    sink.shutdown(1)


@pytest.mark.parametrize("status", [301, 401, 404, 500])
def test_what_cannot_pass_is_not_sent_again(make: Any, scripted: Any, status: int) -> None:
    headers = {"location": scripted.endpoint}
    scripted.by_content = lambda *_: scripted.reply(status=status, headers=headers)
    sink = sink_to(scripted.endpoint)
    report = make.send(sink, make.counter(1), make.gauge(1), events=[make.event()])
    assert report.outcomes == {"metrics": "failure", "logs": "failure"}
    assert report.dropped == {}, "metrics are cumulative and events are kept"
    assert len(scripted.requests) == 2
    scripted.by_content = None
    report = make.send(sink, make.counter(1))
    assert report.outcomes == {"metrics": "success", "logs": "success"}
    sink.shutdown(1)


def test_a_refused_item_loses_only_itself(make: Any, scripted: Any) -> None:
    def judge(_path: str, body: bytes) -> Any:
        return scripted.reply(status=400, body=b"poison") if b"poison" in body else None

    scripted.by_content = judge
    sink = sink_to(scripted.endpoint)
    report = make.send(
        sink,
        *(make.counter(1, f"ml.test.{i}") for i in range(5)),
        make.counter(1, "ml.poison", a="x"),
        make.counter(1, "ml.poison", a="y"),
        events=[make.event(f"ml.{name}") for name in ("a", "poison", "b", "c")],
    )
    assert report.outcomes == {"metrics": "partial", "logs": "partial"}
    assert report.dropped == {"rejected": 3}
    names: list[str] = []
    events: list[str] = []
    for path, _, body in scripted.requests:
        if b"poison" in body:
            continue
        if path == "/v1/logs":
            logs = ExportLogsServiceRequest.FromString(body)
            records = logs.resource_logs[0].scope_logs[0].log_records
            events += [record.event_name for record in records]
        else:
            metrics = ExportMetricsServiceRequest.FromString(body)
            found = metrics.resource_metrics[0].scope_metrics[0].metrics
            names += [metric.name for metric in found]
    assert sorted(names) == [f"ml.test.{i}" for i in range(5)]
    assert sorted(events) == ["ml.a", "ml.b", "ml.c"]
    sink.shutdown(1)


def test_a_receiver_that_refuses_everything_is_not_flooded(make: Any, scripted: Any) -> None:
    scripted.by_content = lambda *_: scripted.reply(status=400)
    sink = sink_to(scripted.endpoint)
    report = make.send(sink, *(make.counter(1, f"ml.test.{i}") for i in range(200)))
    assert report.outcomes == {"metrics": "failure"}
    assert len(scripted.requests) <= 64
    sink.shutdown(1)


def test_a_black_hole_ends_with_the_deadline(make: Any) -> None:
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen()
        sink = sink_to(f"http://127.0.0.1:{hole.getsockname()[1]}")
        report = make.send(sink, make.counter(1), events=[make.event()], timeout=0.4)
        assert report.outcomes == {"metrics": "failure", "logs": "failure"}
        sink.shutdown(0.2)


def test_the_timeout_variable_bounds_an_attempt(make: Any) -> None:
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen()
        address = f"http://127.0.0.1:{hole.getsockname()[1]}"
        sink = sink_to(address, OTEL_EXPORTER_OTLP_TIMEOUT="0.05")
        # Without the variable the only bound would be an hour.
        assert not make.send(sink, make.counter(1), timeout=3600.0).ok
        sink.shutdown(0.1)


def test_a_dripping_answer_ends_with_the_deadline(make: Any) -> None:
    stop = threading.Event()
    arrived: list[bool] = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
                for _ in range(200):
                    if stop.wait(0.05):
                        return
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return
                arrived.append(True)

        thread = threading.Thread(target=drip)
        thread.start()
        sink = sink_to(f"http://127.0.0.1:{listener.getsockname()[1]}")
        report = make.send(sink, make.counter(1), timeout=0.5)
        stop.set()
        thread.join()
        assert report.outcomes == {"metrics": "failure"}
        assert not arrived, "the answer was waited for"
        sink.shutdown(0.1)


def test_a_certificate_that_is_missing_is_a_failure_and_never_plaintext(
    make: Any, scripted: Any
) -> None:
    sink = sink_to(
        scripted.endpoint.replace("http:", "https:"), OTEL_EXPORTER_OTLP_CERTIFICATE="/nowhere.pem"
    )
    report = make.send(sink, make.counter(1), events=[make.event()], timeout=2.0)
    assert report.outcomes == {"metrics": "failure", "logs": "failure"}
    assert scripted.requests == []
    sink.shutdown(0.1)


def test_tls_with_client_certificates(
    make: Any, scripted_tls: Any, certificate: tuple[str, str]
) -> None:
    trusted = {"OTEL_EXPORTER_OTLP_CERTIFICATE": certificate[0]}
    known = {
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": certificate[0],
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": certificate[1],
    }
    sink = sink_to(scripted_tls.endpoint, **trusted, **known)
    assert make.send(sink, make.counter(1)).ok
    sink.shutdown(1)
    for variables in ({}, known, trusted):
        sink = sink_to(scripted_tls.endpoint, **variables)
        report = make.send(sink, make.counter(1), timeout=2.0)
        assert report.outcomes == {"metrics": "failure"}
        sink.shutdown(0.2)
    assert len(scripted_tls.requests) == 1


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize("folder", [False, True])
def test_a_bundle_that_the_environment_names_is_trusted(
    make: Any,
    scripted_tls: Any,
    certificate: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variable: str,
    folder: bool,
) -> None:
    trusted = certificate[0]
    if folder:
        name = subprocess.run(
            ["openssl", "x509", "-hash", "-noout", "-in", trusted],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout.strip()
        (tmp_path / f"{name}.0").write_bytes(Path(trusted).read_bytes())
        trusted = str(tmp_path)
    monkeypatch.setenv(variable, trusted)
    sink = sink_to(
        scripted_tls.endpoint,
        OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=certificate[0],
        OTEL_EXPORTER_OTLP_CLIENT_KEY=certificate[1],
    )
    assert make.send(sink, make.counter(1)).ok
    sink.shutdown(1)


@pytest.mark.parametrize("endpoint", ["localhost:1", "ftp://x", "http://", "http://a b", "::"])
def test_a_nonsense_endpoint_is_a_failure(make: Any, endpoint: str) -> None:
    metrics = replace(from_environ("metrics", {}), endpoint=endpoint)
    sink = OtlpSink(metrics, None)
    assert make.send(sink, make.counter(1), timeout=1.0).outcomes == {"metrics": "failure"}
    sink.shutdown(0.1)


@pytest.mark.parametrize("where", ["endpoint", "NETRC", ".netrc"])
def test_a_password_is_sent_wherever_it_is_kept(
    make: Any, scripted: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str
) -> None:
    endpoint = scripted.endpoint
    file = tmp_path / where
    file.write_text("machine 127.0.0.1 login user password secret\n", encoding="utf-8")
    if where == "endpoint":
        endpoint = endpoint.replace("://", "://user:secret@")
    elif where == "NETRC":
        monkeypatch.setenv("NETRC", str(file))
    else:
        monkeypatch.delenv("NETRC", raising=False)
    sink = sink_to(endpoint)
    assert make.send(sink, make.counter(1)).ok
    sink.shutdown(1)
    assert scripted.requests[0][1]["authorization"] == "Basic dXNlcjpzZWNyZXQ="


def test_an_answer_that_is_cut_short_is_asked_for_again(make: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted: list[socket.socket] = []

        def serve() -> None:
            for rest in (b"half", b""):
                connection, _ = listener.accept()
                accepted.append(connection)
                while b"\r\n\r\n" not in connection.recv(65536):
                    pass
                size = len(rest) * 2
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + rest)
                connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        sink = sink_to(f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert make.send(sink, make.counter(1), timeout=10.0).ok
        thread.join(10)
        assert len(accepted) == 2
        sink.shutdown(0.1)


def test_connections_are_used_again(make: Any, scripted: Any) -> None:
    sink = sink_to(scripted.endpoint)
    for i in range(3):
        assert make.send(sink, make.counter(i)).ok
    sink.shutdown(1)
    assert (len(scripted.requests), len(set(scripted.peers))) == (3, 1)


def test_headers_and_passwords_are_not_shown() -> None:
    destination = from_environ(
        "metrics",
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "https://user:secret@host:4318/x?key=secret",
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=secret",
        },
    )
    assert "authorization" not in repr(destination)
    assert "secret" not in replace(destination, endpoint="https://u:secret@h/p?k=secret").shown
