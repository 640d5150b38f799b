"""A spool on disk: what was exported once survives the end of its process, killed or not."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource

from otel_ml.emit.destination import from_environ
from otel_ml.emit.lane import Patience
from otel_ml.emit.otlp import OtlpSink
from otel_ml.emit.receiver import Receiver
from otel_ml.emit.spool_file import SpoolFile
from otel_ml.semconv.metrics import ML_PREDICTIONS
from tests.emit.conftest import Make, Scripted, scripted_server
from tests.faults.processes import ROOT, alone
from tests.faults.proxy import Fault, Proxy

QUICK = Patience(backoff=(0.01,))
make = Make()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "state" / "spool"


NOWHERE = "http://127.0.0.1:9"


def sink_to(endpoint: str, spool: Path, name: str = "s", **more: Any) -> OtlpSink:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **more.pop("environ", {})}
    return OtlpSink(
        from_environ("metrics", variables),
        from_environ("logs", variables),
        resource=lambda: Resource({"service.name": name}),
        patience=QUICK,
        spool=spool,
        **more,
    )


def abandoned(spool: Path, name: str = "s", *, value: int = 7, **more: Any) -> str:
    """Leave behind what a killed process leaves; return its instance id."""
    sink = sink_to(NOWHERE, spool, name, **more)
    make.send(sink, make.counter(value), events=[make.event(f"ml.{name}")], timeout=0.3)
    assert sink._process is not None
    kept = sink._process._spool
    assert kept is not None
    assert kept._own is not None
    for file in (kept._own, *(leftover.file for leftover in kept.leftovers)):
        file.release()  # as the end of the process does
    sink._process._spool = None
    for outlet in sink._process._outlets:
        outlet._spool = None
    sink.shutdown(0.0)
    return next(
        pair.value.string_value
        for pair in kept._resource.message.attributes
        if pair.key == "service.instance.id"
    )


def files(spool: Path) -> list[str]:
    return sorted(path.suffix for path in spool.iterdir())


@pytest.mark.fault("D4")
def test_what_is_delivered_leaves_nothing_on_disk(receiver: Receiver, spool: Path) -> None:
    sink = sink_to(receiver.endpoint, spool)
    for value in range(3):
        assert make.send(sink, make.counter(value), events=[make.event()]).ok
    (path,) = spool.glob("*.spool")
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM event").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM state").fetchone() == (0,)
    connection.close()
    sink.shutdown(5)
    assert files(spool) == []
    assert len(receiver.events()) == 3


@pytest.mark.fault("D4")
def test_what_an_ended_process_left_is_sent_as_what_it_was(
    receiver: Receiver, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With its resource, its instance, its start and its times; the counter is the last state."""
    abandoned(spool, "old", value=41)
    sink = sink_to(receiver.endpoint, spool, "new")
    assert make.send(sink, make.counter(1), start_ns=make.START + 5, now_ns=make.NOW + 5).ok
    assert receiver.total("ml.test.counter", service_name="old") == 41
    assert receiver.total("ml.test.counter", service_name="new") == 1
    (event,) = receiver.events()
    assert (event["name"], event["resource"]["service.name"]) == ("ml.old", "old")
    (request,) = receiver.metrics
    old, new = request.resource_metrics
    for resource, shift in ((old, 0), (new, 5)):
        point = resource.scope_metrics[0].metrics[0].sum.data_points[0]
        assert point.start_time_unix_nano == make.START + shift
        assert point.time_unix_nano == make.NOW + shift
    receiver.clear()
    assert make.send(sink, make.counter(2)).ok
    assert [r.resource_metrics[0].resource for r in receiver.metrics] == [new.resource]
    assert receiver.logs == [], "nothing comes twice"
    sink.shutdown(5)
    assert files(spool) == []


@pytest.mark.fault("D4")
def test_what_is_left_waits_as_long_as_the_receiver_is_away(
    receiver: Receiver, spool: Path
) -> None:
    ids = {abandoned(spool, f"old{i}", value=i) for i in range(3)}
    sink = sink_to(NOWHERE, spool, "between")
    report = make.send(sink, make.counter(5), events=[make.event("ml.between")], timeout=0.3)
    assert report.dropped == {}
    sink.shutdown(0.3)
    assert len(list(spool.glob("*.spool"))) == 4
    assert ids
    sink = sink_to(receiver.endpoint, spool, "last")
    assert make.send(sink).ok
    found = {a["service.name"]: v for a, v in receiver.series("ml.test.counter")}
    assert found == {"old0": 0, "old1": 1, "old2": 2, "between": 5}
    names = sorted(event["name"] for event in receiver.events())
    assert names == ["ml.between", "ml.old0", "ml.old1", "ml.old2"]
    sink.shutdown(5)
    assert files(spool) == []


@pytest.mark.fault("D4")
def test_what_is_refused_for_good_is_counted_and_does_not_come_again(
    scripted: Scripted, spool: Path
) -> None:
    abandoned(spool, "poison")
    scripted.by_content = lambda _, body: scripted.reply(status=400) if b"poison" in body else None
    sink = sink_to(scripted.endpoint, spool, "new")
    report = make.send(sink, make.counter(1), events=[make.event("ml.good")])
    assert report.dropped == {"rejected": 2}
    sink.shutdown(5)
    assert files(spool) == []


@pytest.mark.fault("D4")
def test_differences_that_did_not_arrive_are_kept_and_those_that_did_are_not(
    receiver: Receiver, spool: Path
) -> None:
    delta: dict[str, Any] = {
        "environ": {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta"}
    }
    with Proxy(int(receiver.endpoint.rpartition(":")[2])) as proxy:
        sink = sink_to(f"http://127.0.0.1:{proxy.port}", spool, **delta)
        assert make.send(sink, make.counter(10)).ok
        proxy.fault = Fault(black_hole=True)
        proxy.hang_up()
        make.send(sink, make.counter(13), timeout=0.2)
        make.send(sink, make.counter(15), timeout=0.2)
        sink.shutdown(0.1)
    sink = sink_to(receiver.endpoint, spool, **delta)
    assert make.send(sink).ok
    assert receiver.total("ml.test.counter") == 15
    sink.shutdown(5)


@pytest.mark.fault("D4")
def test_the_directory_is_private(spool: Path) -> None:
    before = os.umask(0)
    try:
        sink = sink_to(NOWHERE, spool)
        make.send(sink, make.counter(1), events=[make.event()], timeout=0.2)
        assert stat.S_IMODE(spool.stat().st_mode) == 0o700
        found = {path.suffix: stat.S_IMODE(path.stat().st_mode) for path in spool.iterdir()}
        assert found == {".spool": 0o600, ".lock": 0o600}
        sink.shutdown(0.1)
    finally:
        os.umask(before)


# D8


def damaged(how: str, content: bytes) -> bytes:
    if how == "empty":
        return b""
    if how == "garbage":
        return random.Random(1).randbytes(len(content))
    if how == "truncated":
        return content[: len(content) // 2]
    pages = bytearray(content)
    for at in range(100, len(pages), 97):
        pages[at] ^= 0xFF
    return bytes(pages)


@pytest.mark.fault("D8")
@pytest.mark.parametrize("how", ["empty", "garbage", "truncated", "flipped"])
def test_a_damaged_file_is_put_aside_and_the_others_are_sent(
    receiver: Receiver, spool: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    abandoned(spool, "bad")
    (path,) = spool.glob("*.spool")
    path.write_bytes(damaged(how, path.read_bytes()))
    abandoned_ok = spool.parent / "other"
    abandoned(abandoned_ok, "good")
    (good,) = abandoned_ok.glob("*.spool")
    good.rename(spool / good.name)
    for start in range(3):  # a process that starts again and again
        sink = sink_to(receiver.endpoint, spool)
        assert make.send(sink, make.counter(start)).ok
        sink.shutdown(5)
    assert receiver.total("ml.test.counter", service_name="good") == 7
    said = [r for r in caplog.records if "is damaged" in r.getMessage()]
    # A file without a byte is an empty database to SQLite: of no version, so it is left alone.
    assert len(said) == (0 if how == "empty" else 1)
    assert len(list(spool.glob("*.corrupt"))) == len(said)


@pytest.mark.fault("D9")
def test_a_file_of_a_newer_version_is_not_touched(
    receiver: Receiver, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    abandoned(spool, "newer")
    (path,) = spool.glob("*.spool")
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    content = path.read_bytes()
    sink = sink_to(receiver.endpoint, spool)
    assert make.send(sink, make.counter(1)).ok
    sink.shutdown(5)
    assert path.read_bytes() == content
    assert "is of another version" in caplog.text


@pytest.mark.fault("D8")
def test_a_file_damaged_under_a_living_process_is_replaced(receiver: Receiver, spool: Path) -> None:
    sink = sink_to(NOWHERE, spool)
    make.send(sink, make.counter(1), events=[make.event("ml.first")], timeout=0.2)
    (path,) = spool.glob("*.spool")
    path.write_bytes(random.Random(2).randbytes(20_000))
    for value in (2, 3):
        make.send(sink, make.counter(value), events=[make.event("ml.next")], timeout=0.2)
    assert len(list(spool.glob("*.corrupt"))) == 1
    sink.shutdown(0.2)
    sink = sink_to(receiver.endpoint, spool)
    make.send(sink)
    assert receiver.total("ml.test.counter") == 3
    assert "ml.next" in {event["name"] for event in receiver.events()}
    sink.shutdown(5)


@pytest.mark.fault("D7")
@pytest.mark.parametrize("obstacle", ["a file", "nothing allowed", "cleared"])
def test_without_a_directory_telemetry_goes_on_in_memory_and_says_so_once(
    receiver: Receiver, spool: Path, obstacle: str, caplog: pytest.LogCaptureFixture
) -> None:
    if obstacle == "a file":
        spool.parent.mkdir()
        spool.write_text("not a directory", encoding="utf-8")
    elif obstacle == "nothing allowed":
        spool = Path("/proc/self/spool")  # where nobody, not even root, makes a directory
    sink = sink_to(receiver.endpoint, spool)
    for value in range(1, 4):
        assert make.send(sink, make.counter(value), events=[make.event()]).ok
        if obstacle == "cleared":
            for path in spool.iterdir():
                path.unlink()
    sink.shutdown(5)
    assert receiver.total("ml.test.counter") == 3
    assert len(receiver.events()) == 3
    said = [r for r in caplog.records if "kept in memory only" in r.getMessage()]
    assert len(said) <= 1 if obstacle == "cleared" else len(said) == 1


FULL = """
import resource, signal, sys, time
from tests.faults.test_faults_export_spool import make, sink_to
from pathlib import Path
import logging
logging.basicConfig(stream=sys.stderr)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sink = sink_to(sys.argv[1], Path(sys.argv[2]))
assert make.send(sink, make.counter(1)).ok
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
for value in range(2, 6):
    events = [make.event(attributes={"text": "x" * 100_000})]
    assert make.send(sink, make.counter(value), events=events).ok
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert make.send(sink, make.counter(6), events=[make.event()]).ok
sink.shutdown(5)
"""


@pytest.mark.server
@pytest.mark.fault("D7")
@pytest.mark.parametrize("limit", [0, 4_096, 20_000, 60_000])
def test_a_disk_that_is_full_costs_the_spool_and_nothing_else(
    receiver: Receiver, spool: Path, limit: int
) -> None:
    """The system refuses every write beyond a few bytes of a file; later there is room again."""
    ended = alone(FULL, receiver.endpoint, str(spool), str(limit))
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    assert 1 <= ended.err.count("kept in memory only") <= 2, ended.err
    assert receiver.total("ml.test.counter") == 6
    assert len(receiver.events()) == 5
    assert files(spool) == []


@pytest.mark.fault("D4", "C10")
def test_a_spool_is_bounded_and_what_it_loses_is_counted(receiver: Receiver, spool: Path) -> None:
    size = 400_000
    for i in range(4):
        sink = sink_to(NOWHERE, spool, f"old{i}", spool_bytes=size)
        events = [make.event(attributes={"text": "x" * 30_000}) for _ in range(4)]
        make.send(sink, make.counter(i), events=events, timeout=0.2)
        sink.shutdown(0.1)
        used = sum(path.stat().st_size for path in spool.iterdir())
        assert used <= size + 50_000
    sink = sink_to(NOWHERE, spool, "last", spool_bytes=size)
    dropped: Counter[str] = Counter()
    for _ in range(3):
        events = [make.event(attributes={"text": "x" * 100_000})]
        dropped.update(make.send(sink, events=events, timeout=0.2).dropped)
        assert sum(path.stat().st_size for path in spool.iterdir()) <= size + 50_000
    assert dropped["spool_full"] in (5, 10), "one or two processes' four events and a state"
    sink.shutdown(0.1)


@pytest.mark.fault("D10", "D1")
def test_processes_that_live_are_left_alone(receiver: Receiver, spool: Path) -> None:
    """Two at once in one process, and a child of a fork: each has a file and sends its own."""
    one = sink_to(NOWHERE, spool, "one")
    make.send(one, make.counter(1), events=[make.event("ml.one")], timeout=0.2)
    two = sink_to(receiver.endpoint, spool, "two")
    assert make.send(two, make.counter(2), events=[make.event("ml.two")]).ok
    child = os.fork()
    if child == 0:
        try:
            ok = make.send(two, make.counter(3), events=[make.event("ml.child")]).ok
            two.shutdown(5)
        except BaseException:
            os._exit(2)
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert make.send(two, make.counter(4)).ok
    assert sorted(event["name"] for event in receiver.events()) == ["ml.child", "ml.two"]
    assert sorted(value for _, value in receiver.series("ml.test.counter")) == [3, 4]
    two.shutdown(5)
    (path,) = spool.glob("*.spool")
    assert SpoolFile.claim(path) is None, "its process lives"
    one.shutdown(0.1)


HEIR = """
import os, sys
from pathlib import Path
from tests.faults.test_faults_export_spool import make, sink_to

sink = sink_to(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
os.write(1, b"ready\\n")
os.read(0, 1)
ok = make.send(sink, make.counter(1)).ok
os.write(1, b"done\\n")
os.read(0, 1)
sink.shutdown(20)
sys.exit(not ok)
"""


@pytest.mark.server
@pytest.mark.fault("D10")
def test_of_many_that_start_at_once_one_sends_what_was_left(
    receiver: Receiver, spool: Path
) -> None:
    for i in range(5):
        abandoned(spool, f"old{i}", value=i)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    command = [sys.executable, "-c", HEIR, receiver.endpoint, str(spool)]
    started = [
        subprocess.Popen(
            [*command, f"heir{i}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
        )
        for i in range(4)
    ]
    for step in (b"ready\n", b"done\n"):
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == step
        for process in started:
            assert process.stdin is not None
            process.stdin.write(b"x")
            process.stdin.flush()
    for process in started:
        with process:
            assert process.wait(60) == 0
    assert sorted(event["name"] for event in receiver.events()) == [f"ml.old{i}" for i in range(5)]
    sent = Counter(
        pair.value.string_value
        for request in receiver.metrics
        for resource in request.resource_metrics
        for pair in resource.resource.attributes
        if pair.key == "service.name"
    )
    assert sent == {**{f"old{i}": 1 for i in range(5)}, **{f"heir{i}": 1 for i in range(4)}}
    assert files(spool) == []


KILLED = """
import os, sys, time
from pathlib import Path
from tests.faults.test_faults_export_spool import make, sink_to

sink = sink_to(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
value = 0
while value < int(sys.argv[4]):
    value += 1
    make.send(sink, make.counter(value), events=[make.event(f"ml.{sys.argv[3]}.{value}")],
              timeout=0.15)
    os.write(1, b"%d\\n" % value)
sink.shutdown(20)
"""


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.fault("D4")
def test_nothing_that_was_exported_is_lost_by_sigkill(receiver: Receiver, spool: Path) -> None:
    """Processes are killed anywhere while the receiver comes and goes; the last is left to end."""
    chance = random.Random(20)
    faults = [
        Fault(),
        Fault(black_hole=True),
        Fault(reset_down=0),
        Fault(reset_up=0),
        Fault(delay=0.1),
    ]
    flushed: dict[str, int] = {}
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    with Proxy(int(receiver.endpoint.rpartition(":")[2])) as proxy:
        for run in range(12):
            name = f"run{run}"
            last = run == 11
            proxy.fault = Fault() if last else faults[run % len(faults)]
            command = [sys.executable, "-c", KILLED, f"http://127.0.0.1:{proxy.port}", str(spool)]
            with subprocess.Popen(
                [*command, name, "3" if last else "1000000"], stdout=subprocess.PIPE, env=environ
            ) as process:
                assert process.stdout is not None
                lines = chance.randint(1, 6)
                told = 0
                for line in process.stdout:
                    told = int(line)
                    if told == lines and not last:
                        if chance.random() < 0.5:  # anywhere in the next export, not at its edge
                            proxy.fault = chance.choice(faults)
                        process.send_signal(signal.SIGKILL)
                process.wait(60)
            assert process.returncode == (0 if last else -signal.SIGKILL)
            flushed[name] = told
    values = {a["service.name"]: int(v) for a, v in receiver.series("ml.test.counter")}
    arrived = Counter(event["name"] for event in receiver.events())
    assert len({a["service.instance.id"] for a, _ in receiver.series("ml.test.counter")}) == 12
    for name, value in flushed.items():
        # The one export that was under way may or may not have been committed.
        assert values[name] in (value, value + 1), name
        got = {int(key.rpartition(".")[2]) for key in arrived if key.startswith(f"ml.{name}.")}
        assert got in (set(range(1, value + 1)), set(range(1, value + 2))), name
    known = {f"ml.run{run}.{i}" for run in range(12) for i in range(1, 8)}
    assert set(arrived) <= known
    assert files(spool) == []


PREDICTING = """
import os, signal, sys
import otel_ml

for row in range(int(sys.argv[1])):
    otel_ml.observe(model="churn", features=[[0.5, float(row)]], scores=[0.1])
otel_ml.flush(timeout=20.0)
if sys.argv[2] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.server
@pytest.mark.fault("D4")
def test_predictions_of_a_killed_process_are_counted_in_the_end(
    receiver: Receiver, spool: Path
) -> None:
    """From the prediction to the receiver, with nothing but the variable set."""
    variables = {
        "OTEL_ML_SPOOL_DIR": str(spool),
        "OTEL_EXPORTER_OTLP_ENDPOINT": NOWHERE,
        "OTEL_SERVICE_NAME": "shop",
    }
    killed = alone(PREDICTING, "50", "killed", environ=variables)
    assert killed.code == -signal.SIGKILL, killed.err
    assert list(spool.glob("*.spool"))
    variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = receiver.endpoint
    ended = alone(PREDICTING, "3", "ended", environ=variables)
    assert ended.code == 0, ended.err
    counts = sorted(value for _, value in receiver.series(ML_PREDICTIONS.name))
    assert counts == [3, 50]
    assert files(spool) == []
