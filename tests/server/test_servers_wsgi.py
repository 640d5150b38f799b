"""Servers of WSGI applications, however they fork and end: what they answered is what arrived."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from otel_ml.emit import Receiver
from tests.server.serving import (
    SCRIPTS,
    Answer,
    Mode,
    Server,
    Service,
    exporting,
    serving,
    settings,
)

pytestmark = [pytest.mark.server, pytest.mark.slow]

WAIT: Final = 60.0  # seconds, a guard against hanging
BURST: Final = 37
WORKERS: Final = 2
_GUNICORN: Final = ("gunicorn", "wsgi:app", "-b", "127.0.0.1:{port}", "-w", str(WORKERS))
_UWSGI_ANY: Final = (
    *("uwsgi", "--http-socket", "127.0.0.1:{port}", "--module", "wsgi:app", "--master"),
    *("--processes", str(WORKERS), "--virtualenv", sys.prefix),
    *("--enable-threads", "--disable-logging"),
)
_GRACEFULLY: Final = ("--hook-master-start", "unix_signal:15 gracefully_kill_them_all")
_UWSGI: Final = (*_UWSGI_ANY, *_GRACEFULLY)
# A master forks by itself, so that Python's hooks do not run: the SDK's threads, started before by
# `opentelemetry-instrument`, are then waited for in vain at the end, with or without otel-ml.
MODES: Final[dict[str, Mode]] = {
    "gunicorn-sync": Mode((*_GUNICORN, "-k", "sync"), WORKERS),
    "gunicorn-sync-preload": Mode((*_GUNICORN, "-k", "sync", "--preload"), WORKERS),
    "gunicorn-gthread": Mode((*_GUNICORN, "--threads", "4"), WORKERS),
    "gunicorn-gthread-preload": Mode((*_GUNICORN, "--threads", "4", "--preload"), WORKERS),
    "gunicorn-gevent": Mode((*_GUNICORN, "-k", "gevent"), WORKERS),
    "gunicorn-gevent-preload": Mode((*_GUNICORN, "-k", "gevent", "--preload"), WORKERS),
    "uwsgi": Mode(_UWSGI, WORKERS, by_hand=True),
    "uwsgi-lazy-apps": Mode((*_UWSGI, "--lazy-apps"), WORKERS, by_hand=True),
    "uwsgi-threads": Mode((*_UWSGI, "--threads", "4"), WORKERS, by_hand=True),
    "uwsgi-hooks": Mode((*_UWSGI, "--py-call-uwsgi-fork-hooks"), WORKERS),
}


@dataclass(frozen=True)
class Ended:
    """A server that has ended, what it answered, and what was received from it."""

    receiver: Receiver
    answers: list[Answer]
    output: str


@pytest.fixture(scope="module")
def wsgi(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Service:
    pytest.importorskip("opentelemetry.instrumentation.wsgi")
    folder = tmp_path_factory.mktemp("wsgi") / "app"
    shutil.copytree(service.folder, folder)
    shutil.copy(Path(__file__).with_name("wsgi.py"), folder)
    return Service(folder, service.features, service.labels)


def needed(name: str) -> None:
    """Skip a test where its server is not installed."""
    if "gevent" in name and importlib.util.find_spec("gevent") is None:
        pytest.skip("needs gevent")
    if "uwsgi" in name and not (SCRIPTS / "uwsgi").exists():
        pytest.skip("needs uwsgi, which is built from source")


def burst(server: Server, service: Service, start: int) -> list[Answer]:
    """Send requests of one to three rows from several threads."""
    rows = service.features
    return server.predict([rows[start + i : start + i + 1 + i % 3] for i in range(BURST)])


def until_all_work(server: Server, service: Service, receiver: Receiver) -> list[Answer]:
    """Predict until every worker has, and has exported; the kernel hands connections to them."""
    answers: list[Answer] = []
    for turn in range(60):
        answers += burst(server, service, turn)
        if receiver.wait(lambda: len(receiver.series("ml.monitoring.captured")) == WORKERS, 1):
            return answers
    raise AssertionError(f"a worker does not predict, or does not export:\n{server.output()}")


@pytest.fixture(scope="module", params=MODES)
def ended(
    request: pytest.FixtureRequest, wsgi: Service, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ended]:
    needed(request.param)
    work = tmp_path_factory.mktemp("work")
    for name in ("go", "held"):
        (wsgi.folder / name).unlink(missing_ok=True)
    with Receiver() as receiver:
        environ = {**settings(wsgi, work / "state"), **exporting(receiver.endpoint)}
        with serving(MODES[request.param], wsgi, work, environ) as server:
            answers = until_all_work(server, wsgi, receiver)
            answers += burst(server, wsgi, 200)
            server.stop()
            yield Ended(receiver, answers, server.output())


@pytest.mark.fault("D1", "D3")
def test_every_prediction_arrived(ended: Ended) -> None:
    assert {answer.status for answer in ended.answers} == {200}
    rows = sum(answer.rows for answer in ended.answers)
    assert ended.receiver.total("ml.predictions") == rows, ended.output
    assert ended.receiver.total("ml.monitoring.captured") == rows
    assert ended.receiver.total("ml.monitoring.dropped") == 0
    predicted = Counter(str(v) for answer in ended.answers for v in answer.predictions)
    assert predicted == {
        label: ended.receiver.total("ml.prediction.classes", ml_prediction_class=label)
        for label in predicted
    }


@pytest.mark.fault("D1")
def test_every_process_has_an_id_of_its_own(ended: Ended) -> None:
    series = ended.receiver.series("ml.predictions")
    assert len({found["service.instance.id"] for found, _ in series}) == len(series) == WORKERS


def test_nothing_is_said(ended: Ended) -> None:
    # Gevent's greenlets under the SDK's threads, started before it patched, are told of at the end.
    others = re.sub(
        r"thread started by: .*?Thread\(Otel.*?KeyError: \d+\n", "", ended.output, flags=re.S
    )
    assert "Traceback" not in others, others
    assert "monitoring" not in others, others


HELD: Final = {
    "gunicorn-sync": MODES["gunicorn-sync"],
    "gunicorn-gthread": MODES["gunicorn-gthread"],
    "gunicorn-gevent": MODES["gunicorn-gevent"],
    "uwsgi": MODES["uwsgi"],
}


@contextmanager
def running(
    name: str, chosen: Mode, wsgi: Service, work: Path
) -> Iterator[tuple[Server, Receiver]]:
    """Serve with a receiver that gets nothing before the end, but for the first early export."""
    needed(name)
    for file in ("go", "held"):
        (wsgi.folder / file).unlink(missing_ok=True)
    with Receiver() as receiver:
        environ = {**settings(wsgi, work / "state"), **exporting(receiver.endpoint)}
        environ["OTEL_METRIC_EXPORT_INTERVAL"] = "600000"
        with serving(chosen, wsgi, work, environ) as server:
            yield server, receiver


@pytest.mark.fault("D3")
@pytest.mark.parametrize("name", HELD)
def test_a_request_under_way_at_sigterm_is_counted(
    name: str, wsgi: Service, tmp_path: Path
) -> None:
    with running(name, HELD[name], wsgi, tmp_path) as (server, receiver):
        rows = wsgi.features[:5]
        with ThreadPoolExecutor(1) as pool:
            held = pool.submit(server.request, "POST", "/predict/held", rows)
            deadline = time.monotonic() + WAIT
            while not (wsgi.folder / "held").exists():
                assert time.monotonic() < deadline, server.output()
                time.sleep(0.01)
            server.process.send_signal(signal.SIGTERM)
            (wsgi.folder / "go").touch()
            assert held.result(WAIT).predictions
        server.process.wait(WAIT)
        assert receiver.total("ml.predictions") == len(rows), server.output()


@pytest.mark.fault("D3")
@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("gunicorn-sync", signal.SIGTERM),
        ("gunicorn-sync", signal.SIGINT),
        ("gunicorn-sync", signal.SIGQUIT),
        ("gunicorn-gthread", signal.SIGTERM),
    ],
)
def test_nothing_is_lost_by_a_signal(
    name: str, number: signal.Signals, wsgi: Service, tmp_path: Path
) -> None:
    with running(name, MODES[name], wsgi, tmp_path) as (server, receiver):
        answers = burst(server, wsgi, 0)
        server.process.send_signal(number)
        server.process.wait(WAIT)
        assert receiver.total("ml.predictions") == sum(answer.rows for answer in answers)


@pytest.mark.fault("D3")
def test_nothing_is_lost_where_sigterm_ends_an_idle_worker(wsgi: Service, tmp_path: Path) -> None:
    """uWSGI runs nothing at the end of a worker that it ends while it thinks it busy."""
    needed("uwsgi")
    stats = tmp_path / "stats"
    command = (*_UWSGI_ANY, "--die-on-term", "--stats", str(stats))
    with running("uwsgi", Mode(command, WORKERS, by_hand=True), wsgi, tmp_path) as (
        server,
        receiver,
    ):
        answers = burst(server, wsgi, 0)
        deadline = time.monotonic() + WAIT
        while not idle(stats):  # the answer has come before the worker says that it is free
            assert time.monotonic() < deadline, server.output()
            time.sleep(0.01)
        server.stop()
        assert receiver.total("ml.predictions") == sum(answer.rows for answer in answers)


def idle(stats: Path) -> bool:
    """Return whether no worker of uWSGI says that it is busy."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(stats))
        said = json.loads(b"".join(iter(lambda: connection.recv(65_536), b"")))
    return all(worker["status"] == "idle" for worker in said["workers"])


@pytest.mark.fault("D3")
def test_nothing_is_lost_by_a_reload(wsgi: Service, tmp_path: Path) -> None:
    """SIGHUP gives Gunicorn new workers; the old ones end in order."""
    name = "gunicorn-sync"
    with running(name, MODES[name], wsgi, tmp_path) as (server, receiver):
        answers = burst(server, wsgi, 0)
        pids = {answer.pid for answer in answers}
        server.process.send_signal(signal.SIGHUP)
        more: list[Answer] = []
        for turn in range(200):
            more += burst(server, wsgi, turn)
            if len({answer.pid for answer in more} - pids) == WORKERS:
                break
        server.stop()
        rows = sum(answer.rows for answer in (*answers, *more))
        assert receiver.total("ml.predictions") == rows, server.output()
        instances = {f["service.instance.id"] for f, _ in receiver.series("ml.predictions")}
        assert len(instances) == len({answer.pid for answer in (*answers, *more)}) >= WORKERS + 1
