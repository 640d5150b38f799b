"""A process that ends while the receiver is gone: it ends in time, and what can be sent is sent."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from otel_ml.emit.hand import Hand, finish
from otel_ml.emit.receiver import Receiver
from tests.faults.processes import alone
from tests.faults.proxy import Fault, Proxy

BUDGET = 3.0
SLACK = 2.0  # for a machine that is busy with other things: threads and sockets get their turn late

SCRIPT = """
import atexit, os, sys, threading, time
from otel_ml.emit.build import build_sinks
from otel_ml.types import Event, MetricDef, Sample

sinks = build_sinks({**os.environ, **dict(pair.split("=", 1) for pair in sys.argv[3].split())})
counter = MetricDef("ml.c", "counter", "{row}", "", (), ())
began = [0.0]
if sys.argv[1] == "no thread at all":
    def refuse(self):
        raise RuntimeError("can't start new thread")
    threading.Thread.start = refuse

def export(timeout):
    for sink in sinks:
        sink.export([Sample(counter, {}, 1)], [Event("ml.e", {}, 1, "info")], start_ns=1,
                    now_ns=time.time_ns(), timeout=timeout)

@atexit.register
def leave():
    deadline = time.monotonic() + float(sys.argv[2])
    export(max(deadline - time.monotonic(), 0.0))
    for sink in sinks:
        sink.shutdown(max(deadline - time.monotonic(), 0.0))
    print(f"took {time.monotonic() - began[0]:.3f}")

if sys.argv[1] == "exported before":
    export(0.2)
began[0] = time.monotonic()
"""


@contextmanager
def receiver_that_is(state: str) -> Iterator[int]:
    if state == "refused":
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            port: int = closed.getsockname()[1]
        yield port
        return
    faults = {"black-holed": Fault(black_hole=True), "dripping": Fault(drip=0.3)}
    with (
        Receiver() as receiver,
        Proxy(int(receiver.endpoint.rpartition(":")[2]), faults[state]) as proxy,
    ):
        yield proxy.port


@pytest.mark.server
@pytest.mark.fault("A12", "C1", "C2")
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("state", ["refused", "black-holed", "dripping"])
def test_the_exit_keeps_to_its_budget(state: str, protocol: str) -> None:
    """Two signals and one budget of three seconds, threads or none; nothing on standard error."""
    with receiver_that_is(state) as port:
        for before in ("exported before", "first export", "no thread at all"):
            variables = (
                f"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:{port} "
                f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol}"
            )
            # The full budget for one; the others show that it is kept to, whatever it is.
            full = (before, protocol, state) == ("exported before", "http/protobuf", "black-holed")
            budget = BUDGET if full else 0.5
            ended = alone(SCRIPT, before, str(budget), variables)
            assert ended.code == 0, ended.err
            assert "Traceback" not in ended.err
            assert float(ended.out.split()[1]) <= budget + SLACK
            if state == "refused" and before != "exported before":
                continue
            assert "not delivered at the end" in ended.err


@pytest.mark.server
@pytest.mark.fault("A12")
@pytest.mark.parametrize("before", ["exported before", "first export", "no thread at all"])
def test_what_can_be_sent_at_the_exit_is_sent(before: str) -> None:
    with Receiver() as receiver:
        ended = alone(SCRIPT, before, "20", f"OTEL_EXPORTER_OTLP_ENDPOINT={receiver.endpoint}")
        assert (ended.code, ended.err) == (0, "")
        assert receiver.total("ml.c") == 1
        assert len(receiver.events("ml.e")) == (2 if before == "exported before" else 1)


WHOLE = """
import atexit, time

began = [0.0]
atexit.register(lambda: print(f"took {time.monotonic() - began[0]:.3f}"))  # the last to run
import otel_ml

otel_ml.observe(model="m", features=[[0.5, 1.0]], scores=[0.1])
began[0] = time.monotonic()
"""


@pytest.mark.server
@pytest.mark.fault("A12", "C1", "C2")
@pytest.mark.parametrize("state", ["refused", "black-holed", "dripping"])
def test_a_serving_process_ends_within_the_budget(state: str) -> None:
    """From a prediction to the end of the process, with everything that is between them."""
    with receiver_that_is(state) as port:
        ended = alone(WHOLE, environ={"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"})
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    assert float(ended.out.split()[1]) <= BUDGET + SLACK


def test_signals_go_at_the_same_time() -> None:
    """Each of three pieces of work waits until all three have begun."""
    together = threading.Barrier(3)
    hands: list[Hand[int]] = [Hand("test") for _ in range(3)]

    def meet(_deadline: float) -> int:
        return together.wait(20.0)

    tickets = [hand.begin(meet, 0.0) for hand in hands]
    finish(tickets, time.monotonic() + 20.0)
    assert sorted(ticket.result or 0 for ticket in tickets) == [0, 1, 2]
    for hand in hands:
        hand.dismiss()


def test_what_a_piece_of_work_raises_ends_neither_its_thread_nor_its_owner() -> None:
    hand: Hand[int] = Hand("test")

    def leave(_deadline: float) -> int:
        raise SystemExit

    first = hand.begin(leave, 0.0)
    second = hand.begin(lambda deadline: int(deadline), 7.0)
    finish([first, second], time.monotonic() + 20.0)
    assert (first.done, first.result, second.result) == (True, None, 7)
    hand.dismiss()


def test_without_threads_the_time_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)

    now = time.monotonic()
    hands: list[Hand[float]] = [Hand("test") for _ in range(3)]
    tickets = [hand.begin(lambda deadline: deadline, now + 300.0) for hand in hands]
    assert not any(ticket.taken for ticket in tickets)
    finish(tickets, now + 300.0)
    shares = [(ticket.result or 0.0) - now for ticket in tickets]
    assert all(abs(a - b) < 30.0 for a, b in zip(shares, (100.0, 150.0, 300.0), strict=True))
