"""A script is ended by a signal, at any moment: with the option nothing is lost."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading

import pytest

from otel_ml.emit import Receiver
from tests.faults.processes import Finished, alone, running

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs POSIX signals")

OPTION = {"OTEL_ML_FLUSH_ON_SIGTERM": "true"}
HANG = 60.0  # seconds; a guard, not a measure
BUDGET = 3.0
SLACK = 4.0  # seconds a busy machine may add; without the bound it would be forever

PREDICT = """
import os, signal, sys, threading, time
import otel_ml
from otel_ml import pipeline

def predict(rows):
    otel_ml.observe(model="m", features={"x": [0.5] * rows}, scores=[0.5] * rows)

"""
IDLE = PREDICT + 'predict(5)\nprint("ready", flush=True)\nwhile True: time.sleep(0.1)\n'


def to(receiver: Receiver, **more: str) -> dict[str, str]:
    """Return variables that export to a receiver, and not by themselves before the end."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "OTEL_METRIC_EXPORT_INTERVAL": "600000",
        **more,
    }


def ended(script: str, receiver: Receiver, *numbers: signal.Signals, **environ: str) -> Finished:
    return alone(script, timeout=HANG, environ=to(receiver, **environ), send=numbers)


@pytest.mark.fault("D3")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_idle(number: signal.Signals) -> None:
    with Receiver() as receiver:
        done = ended(IDLE, receiver, number, **OPTION)
        assert (done.code, done.err) == (-number, "")  # it has ended by that very signal
        assert receiver.total("ml.predictions") == 5


@pytest.mark.fault("D3")
def test_twice() -> None:
    with Receiver() as receiver:
        done = ended(IDLE, receiver, signal.SIGTERM, signal.SIGTERM, **OPTION)
        assert (done.code, done.err) == (-signal.SIGTERM, "")
        assert receiver.total("ml.predictions") == 5


@pytest.mark.fault("D3")
def test_interrupted_from_the_keyboard() -> None:
    with Receiver() as receiver:
        done = ended(IDLE, receiver, signal.SIGINT)  # an exception, so `atexit` runs
        assert done.code in (1, -signal.SIGINT)  # as without otel-ml, by the way Python was started
        assert done.err.rstrip().endswith("KeyboardInterrupt")
        assert receiver.total("ml.predictions") == 5


@pytest.mark.fault("D3")
def test_in_the_middle_of_a_prediction() -> None:
    """What has not returned is no prediction; all that had is counted."""
    script = PREDICT + (
        "import numpy as np\n"
        "os.environ['OTEL_ML_CAPTURE_OFFLINE'] = 'true'\n"
        "from otel_ml.capture import MLInstrumentor\n"
        "MLInstrumentor().instrument()\n"
        "from sklearn.base import BaseEstimator\n"
        "class Slow(BaseEstimator):\n"
        "    def predict(self, X):\n"
        "        if len(X) == 1:\n"
        "            print('ready', flush=True)\n"
        "            while True: time.sleep(0.01)\n"
        "        return np.zeros(len(X))\n"
        "model = Slow()\n"
        "for _ in range(3): model.predict(np.zeros((4, 2)))\n"
        "model.predict(np.zeros((1, 2)))\n"
    )
    with Receiver() as receiver:
        done = ended(script, receiver, signal.SIGTERM, **OPTION)
        assert (done.code, done.err) == (-signal.SIGTERM, "")
        assert receiver.total("ml.predictions") == 12


@pytest.mark.fault("D3")
def test_under_load() -> None:
    """Threads predict all the while; what had returned before the signal came is counted."""
    script = PREDICT + (
        "predict(1)\n"  # in the main thread: only there can a handler be installed
        "done = [0] * 3\n"
        "def load(i):\n"
        "    while True:\n"
        "        predict(2); done[i] += 2\n"
        "        time.sleep(0.001)\n"
        "for i in range(3): threading.Thread(target=load, args=(i,), daemon=True).start()\n"
        "while sum(done) < 300: time.sleep(0.01)\n"
        "print('ready', flush=True)\n"
        "while True: print(sum(done), flush=True); time.sleep(0.005)\n"
    )
    with Receiver() as receiver:
        done = ended(script, receiver, signal.SIGTERM, **OPTION)
        assert (done.code, done.err) == (-signal.SIGTERM, "")
        said = max((int(line) for line in done.out.split()[1:]), default=300)
        assert receiver.total("ml.predictions") >= said
        assert receiver.total("ml.monitoring.dropped") == 0


@pytest.mark.fault("D3")
def test_in_the_middle_of_an_export() -> None:
    """The collector is answering the first export when the signal comes, with more waiting."""
    came, answer = threading.Event(), threading.Event()

    def slowly(_: object) -> None:
        came.set()
        answer.wait(HANG)

    script = PREDICT + (
        "predict(5)\n"
        "threading.Thread(target=otel_ml.flush, args=(60,), daemon=True).start()\n"
        "sys.stdin.readline()\n"
        "predict(3)\n"
        "print('ready', flush=True)\n"
        "while True: signal.pause()\n"
    )
    with (
        Receiver(on_metrics=slowly) as receiver,
        running(script, environ=to(receiver, **OPTION), stdin=subprocess.PIPE) as process,
    ):
        assert came.wait(HANG)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        answer.set()
        assert process.wait(HANG) == -signal.SIGTERM
        assert receiver.total("ml.predictions") == 8


@pytest.mark.fault("D3")
def test_the_collector_is_silent() -> None:
    """It takes the connection and never answers: the process ends all the same, in time."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        script = IDLE.replace("signal.pause()", "time.sleep(0.01)")
        with running(
            script, environ={**OPTION, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(BUDGET + SLACK) == -signal.SIGTERM


@pytest.mark.fault("D3")
def test_the_main_thread_holds_every_lock_when_the_signal_comes() -> None:
    """A handler interrupts anywhere. Then there can be no flush, but there is an end, in time."""
    script = PREDICT + (
        "predict(5)\n"
        "import logging\n"
        "mine = pipeline.current()\n"
        "locks = [value for value in vars(mine).values()\n"
        "         if hasattr(value, 'acquire') or hasattr(value, '_cond')]\n"
        "assert len(locks) >= 2\n"
        "for lock in locks: getattr(lock, '_cond', lock).acquire()\n"
        "threading._active_limbo_lock.acquire(); logging._lock.acquire()\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(0.01)\n"
    )
    with running(script, environ={**OPTION, "OTEL_METRICS_EXPORTER": "none"}) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(BUDGET + SLACK) == -signal.SIGTERM


@pytest.mark.fault("D3")
@pytest.mark.parametrize(
    ("handler", "code"),
    [
        ("lambda *_: sys.exit(7)", 7),
        ("lambda *_: os._exit(8)", 8),
        ("lambda *_: (print('mine', flush=True), signal.signal(signal.SIGTERM, signal.SIG_DFL),"
         " os.kill(os.getpid(), signal.SIGTERM))", -signal.SIGTERM),
    ],
)  # fmt: skip
def test_the_application_has_a_handler(handler: str, code: int) -> None:
    script = f"import os, signal, sys\nsignal.signal(signal.SIGTERM, {handler})\n" + IDLE
    with Receiver() as receiver:
        done = ended(script, receiver, signal.SIGTERM, **OPTION)
        assert (done.code, done.err) == (code, "")
        assert receiver.total("ml.predictions") == 5


@pytest.mark.fault("D1", "D3")
@pytest.mark.parametrize(
    ("handler", "code"),
    [("signal.SIG_DFL", -signal.SIGTERM), ("lambda *_: sys.exit(7)", 7)],
)
def test_a_child_that_is_ended_as_soon_as_it_is_forked(handler: str, code: int) -> None:
    """Python forgets signals that come that early; a pool would wait for such a child for ever."""
    script = (
        f"import signal, sys\nsignal.signal(signal.SIGTERM, {handler})\n"
        + PREDICT
        + "predict(5)\nassert otel_ml.flush(30)\n"
        "for _ in range(50):\n"
        "    pid = os.fork()\n"
        "    if not pid:\n"
        "        time.sleep(20)\n"
        "        os._exit(3)\n"
        "    os.kill(pid, signal.SIGTERM)\n"
        "    _, status = os.waitpid(pid, 0)\n"
        "    print(os.waitstatus_to_exitcode(status))\n"
    )
    with Receiver() as receiver:
        done = ended(script, receiver, **OPTION)
        assert (done.code, done.err) == (0, "")
        assert done.out.split() == [str(code)] * 50
        assert receiver.total("ml.predictions") == 5


@pytest.mark.fault("D1", "D3")
def test_a_signal_that_comes_during_a_fork_reaches_the_parent() -> None:
    script = (
        # what is registered before ours runs after it
        "import os, signal\n"
        "os.register_at_fork(before=lambda: os.kill(os.getpid(), signal.SIGTERM))\n"
        + PREDICT
        + "predict(5)\nassert otel_ml.flush(30)\n"
        "pid = os.fork()\n"
        "if not pid:\n"
        "    os._exit(0)\n"
        "os.waitpid(pid, 0)\n"
        "time.sleep(20)\n"
    )
    with Receiver() as receiver:
        done = ended(script, receiver, **OPTION)
        assert (done.code, done.err) == (-signal.SIGTERM, "")
        assert receiver.total("ml.predictions") == 5


@pytest.mark.fault("D3")
def test_a_handler_that_goes_on_goes_on() -> None:
    """Such as one that ends a loop in order; what is predicted until then is counted, too."""
    script = (
        "import signal\nstop = []\n"
        "signal.signal(signal.SIGTERM, lambda *_: stop.append(1))\n"
        + PREDICT
        + "predict(5)\nprint('ready', flush=True)\n"
        "while not stop: time.sleep(0.01)\n"
        "predict(4)\n"
    )
    with Receiver() as receiver:
        done = ended(script, receiver, signal.SIGTERM, **OPTION)
        assert (done.code, done.err) == (0, "")
        assert receiver.total("ml.predictions") == 9


@pytest.mark.fault("D3")
def test_what_is_ignored_stays_ignored() -> None:
    script = (
        "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        + PREDICT
        + "predict(5)\nprint('ready', flush=True)\nsys.stdin.readline()\n"
        "assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN\n"
        "signal.raise_signal(signal.SIGHUP)\nprint('alive')\n"
    )
    with Receiver() as receiver:
        done = ended(script, receiver, signal.SIGHUP, **OPTION)
        assert (done.code, done.out) == (0, "ready\nalive\n")
        assert receiver.total("ml.predictions") == 5


@pytest.mark.fault("D3", "A10")
@pytest.mark.parametrize("by", ["observe", "instrument"])
def test_no_handler_is_installed_silently(by: str) -> None:
    script = PREDICT + (
        "from otel_ml.capture import MLInstrumentor\n"
        f"predict(1) if {by == 'observe'} else MLInstrumentor().instrument()\n"
        "for name in ('SIGTERM', 'SIGHUP'):\n"
        "    print(signal.getsignal(getattr(signal, name)) is signal.SIG_DFL)\n"
    )
    with Receiver() as receiver:
        assert ended(script, receiver).out.split() == ["True", "True"]
        assert ended(script, receiver, **OPTION).out.split() == ["False", "False"]


@pytest.mark.fault("D3")
def test_turning_it_off_gives_the_signals_back() -> None:
    script = PREDICT + (
        "mine = lambda *_: None\n"
        "signal.signal(signal.SIGHUP, mine)\n"
        "from otel_ml.capture import MLInstrumentor\n"
        "MLInstrumentor().instrument(); MLInstrumentor().instrument()\n"
        "assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL\n"
        "MLInstrumentor().uninstrument()\n"
        "assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL\n"
        "assert signal.getsignal(signal.SIGHUP) is mine\n"
        "MLInstrumentor().instrument()\n"
        "theirs = lambda *_: None\n"
        "signal.signal(signal.SIGTERM, theirs)\n"
        "MLInstrumentor().uninstrument()\n"
        "assert signal.getsignal(signal.SIGTERM) is theirs\n"
    )
    with Receiver() as receiver:
        done = ended(script, receiver, **OPTION)
        assert (done.code, done.err) == (0, "")


@pytest.mark.fault("D3")
def test_a_first_prediction_in_a_thread_installs_nothing_and_breaks_nothing() -> None:
    script = PREDICT + (
        "thread = threading.Thread(target=predict, args=(3,)); thread.start(); thread.join()\n"
        "assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL\n"
    )
    with Receiver() as receiver:
        done = ended(script, receiver, **OPTION)
        assert (done.code, done.err) == (0, "")
        assert receiver.total("ml.predictions") == 3
