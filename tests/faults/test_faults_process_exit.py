"""The interpreter ends, in every order and with any collector: all is sent, or it is in time."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from otel_ml.emit import Receiver
from tests.faults.processes import Finished, alone

HANG = 60.0  # seconds; a guard, not a measure
BUDGET = 3.0  # seconds of the exit that are ours
SLACK = 4.0  # what a busy machine may add to that; without the bound it would be forever

PREDICT = """
import atexit, os, sys, threading, time
import otel_ml

def predict(rows):
    otel_ml.observe(model="m", features={"x": [0.5] * rows}, scores=[0.5] * rows)

"""
# The last thing that runs of the application tells the time; the process' end is told outside.
LAST = "print(time.monotonic(), flush=True)\n"


def to(endpoint: str, **more: str) -> dict[str, str]:
    """Return variables that export to an endpoint, and not by themselves before the end."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_METRIC_EXPORT_INTERVAL": "600000",
        **more,
    }


def run(script: str, endpoint: str, **environ: str) -> Finished:
    return alone(script, timeout=HANG, environ=to(endpoint, **environ))


def counted(script: str, code: int = 0, err: str = "", **environ: str) -> float:
    """Run a script to its end; return the predictions that arrived."""
    with Receiver() as receiver:
        done = run(script, receiver.endpoint, **environ)
        assert (done.code, done.err) == (code, err)
        assert receiver.total("ml.monitoring.dropped") == 0
        return receiver.total("ml.predictions")


# Collectors that are none


@contextmanager
def refused() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as once:
        port = once.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextmanager
def silent() -> Iterator[str]:
    """Connections are taken by the kernel, and nobody reads."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def dripping() -> Iterator[str]:
    """An answer comes, a byte every fifth of a second, for minutes."""
    ended = threading.Event()
    answering: list[threading.Thread] = []

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
            while not ended.wait(0.2):
                connection.sendall(b"\0")

    def accept(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                thread = threading.Thread(target=answer, args=(connection,))
                answering.append(thread)
                thread.start()

    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        accepting = threading.Thread(target=accept, args=(server,))
        accepting.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        ended.set()
        server.shutdown(socket.SHUT_RDWR)
        accepting.join(HANG)
    for thread in answering:
        thread.join(HANG)


COLLECTORS = [refused, silent, dripping]


def exit_seconds(endpoint: str, **environ: str) -> float:
    """Return how long a script's process outlives the last line of the script."""
    script = PREDICT + "for _ in range(200): predict(50)\n" + LAST
    done = run(script, endpoint, **environ)
    ended = time.monotonic()
    assert done.code == 0, done
    assert "Traceback" not in done.err, done  # a message that says what is wrong is right
    return ended - float(done.out)


@pytest.mark.fault("A12", "C1", "C2")
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("collector", COLLECTORS)
def test_the_end_is_in_time(collector: Callable[[], Iterator[str]], protocol: str) -> None:
    with collector() as endpoint:  # type: ignore[attr-defined]
        bare = exit_seconds(endpoint, OTEL_ML_ENABLED="false")
        with_us = exit_seconds(endpoint, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
    assert with_us - bare <= BUDGET + SLACK


@pytest.mark.fault("A12")
def test_a_normal_end() -> None:
    assert counted(PREDICT + "predict(5)\n") == 5


@pytest.mark.fault("A12")
def test_while_the_worker_imports() -> None:
    """The first prediction starts the worker, which loads numpy and more: here the exit comes."""
    for _ in range(3):
        assert counted(PREDICT + "predict(5); sys.exit()\n") == 5


@pytest.mark.fault("A12")
@pytest.mark.parametrize("by", ["predict", "instrument"])
def test_handlers_of_the_application_that_predict(by: str) -> None:
    """Handlers run the last first: ours after those registered after it was."""
    first = "predict(1)" if by == "predict" else "MLInstrumentor().instrument()"
    script = PREDICT + (
        "from otel_ml.capture import MLInstrumentor\n"
        f"{first}\n"
        "atexit.register(predict, 20)\n"
        "predict(3)\n"
        "atexit.register(predict, 100)\n"
    )
    assert counted(script) == 123 + (by == "predict")


@pytest.mark.fault("A12")
def test_a_handler_that_predicts_after_ours() -> None:
    """It comes too late to be counted, and that is all: no traceback, no hang."""
    script = PREDICT + "atexit.register(predict, 20)\npredict(3)\n"
    assert counted(script) in (3, 23)


@pytest.mark.fault("A12")
def test_a_handler_that_flushes_and_shuts_down() -> None:
    script = PREDICT + (
        "atexit.register(otel_ml.shutdown)\n"  # runs after ours
        "predict(3)\n"
        "atexit.register(otel_ml.shutdown)\n"  # and before
        "atexit.register(otel_ml.flush)\n"
        "atexit.register(predict, 4)\n"
    )
    assert counted(script) == 7


@pytest.mark.fault("A12")
def test_in_the_middle_of_an_export() -> None:
    """The worker waits for a collector that answers late when the script ends, with more to say."""
    came, answer = threading.Event(), threading.Event()

    def slowly(_: object) -> None:
        came.set()
        answer.wait(1.0)

    script = PREDICT + (
        "predict(5)\n"
        "exporting = threading.Thread(target=otel_ml.flush, args=(60,), daemon=True)\n"
        "exporting.start()\n"
        "time.sleep(0.5)\n"
        "predict(3)\n"
    )
    with Receiver(on_metrics=slowly) as receiver:
        done = run(script, receiver.endpoint)
        assert (done.code, done.err) == (0, "")
        assert came.is_set()
        answer.set()
        assert receiver.total("ml.predictions") == 8


@pytest.mark.fault("A12")
def test_in_the_middle_of_an_export_that_never_ends() -> None:
    with silent() as endpoint:
        script = PREDICT + (
            "predict(5)\n"
            "threading.Thread(target=otel_ml.flush, args=(60,), daemon=True).start()\n"
            "time.sleep(0.5)\n"
        )
        done = run(script + LAST, endpoint)
        assert done.code == 0, done
        assert "Traceback" not in done.err, done
        assert time.monotonic() - float(done.out) <= BUDGET + SLACK


@pytest.mark.fault("A12")
def test_threads_predict_to_the_very_end() -> None:
    script = PREDICT + (
        "def load():\n"
        "    while True: predict(2); time.sleep(0.0005)\n"
        "for _ in range(4): threading.Thread(target=load, daemon=True).start()\n"
        "predict(1)\n"
        "time.sleep(0.5)\n"
    )
    with Receiver() as receiver:
        done = run(script, receiver.endpoint)
        assert (done.code, done.err) == (0, "")
        assert receiver.total("ml.predictions") > 0


@pytest.mark.fault("A12")
def test_a_thread_that_exits_is_not_the_process() -> None:
    script = PREDICT + (
        "def work():\n"
        "    predict(2); sys.exit(5)\n"
        "thread = threading.Thread(target=work); thread.start(); thread.join()\n"
        "predict(3)\n"
    )
    assert counted(script) == 5


@pytest.mark.fault("A12")
def test_a_thread_that_outlives_the_main_one() -> None:
    """The interpreter waits for it, and only then ends."""
    script = PREDICT + (
        "def work():\n"
        "    threading.main_thread().join(); predict(2)\n"
        "threading.Thread(target=work).start()\n"
        "predict(3)\n"
    )
    assert counted(script) == 5


@pytest.mark.fault("A12")
def test_an_exception_nobody_catches() -> None:
    with Receiver() as receiver:
        done = run(PREDICT + "predict(5)\n1 / 0\n", receiver.endpoint)
        assert done.code == 1
        assert done.err.count("Traceback") == 1
        assert receiver.total("ml.predictions") == 5


@pytest.mark.fault("A12")
def test_an_end_without_ceremony() -> None:
    """`os._exit` runs nothing: what was flushed before is there, as the documentation says."""
    assert counted(PREDICT + "predict(5); otel_ml.flush(60); predict(3); os._exit(0)\n") == 5


@pytest.mark.fault("A12")
def test_an_end_that_is_told_nothing_twice() -> None:
    """Also where the application has ended the pipeline itself, and where nothing was predicted."""
    assert counted(PREDICT + "predict(5); otel_ml.shutdown(60)\n") == 5
    assert counted(PREDICT + "otel_ml.shutdown(60)\n") == 0
    assert counted(PREDICT + "predict(5); otel_ml.shutdown(60); predict(2)\n") == 7
