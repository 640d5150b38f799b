"""A Celery worker with a broker on disk: what its tasks predicted arrives, whatever its pool."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from otel_ml.emit import Receiver
from tests.server.serving import SCRIPTS, Service, environment, exporting, settings

pytest.importorskip("celery")
pytestmark = [pytest.mark.server, pytest.mark.slow]

WAIT: Final = 60.0  # seconds, a guard against hanging
TASKS: Final = 23
POOLS: Final = {
    "prefork": ("-P", "prefork", "-c", "2"),
    "prefork-replaced": ("-P", "prefork", "-c", "2", "--max-tasks-per-child", "5"),
    "threads": ("-P", "threads", "-c", "2"),
    "solo": ("-P", "solo"),
}


@pytest.fixture
def tasks(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the module of the tasks, beside its broker's and results' folders."""
    shutil.copy(service.folder / "tumour.joblib", tmp_path)
    shutil.copy(Path(__file__).with_name("tasks.py"), tmp_path / "celery_tasks.py")
    for name in ("queues/control", "results"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("OTEL_ML_ENABLED", "false")  # here tasks are only sent
    yield importlib.import_module("celery_tasks")
    del sys.modules["celery_tasks"]


@contextmanager
def worker(
    folder: Path, environ: dict[str, str], *arguments: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Celery worker until the end of the block; nothing of it is left behind."""
    command = [str(SCRIPTS / "celery"), "-A", "celery_tasks", "worker", "-l", "INFO", *arguments]
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment({"PYTHONPATH": os.pathsep.join(map(str, sys.path)), **environ}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(WAIT)


@pytest.mark.fault("D1", "D3")
@pytest.mark.parametrize("pool", POOLS)
def test_every_prediction_of_a_task_arrives(
    pool: str, service: Service, tasks: Any, tmp_path: Path
) -> None:
    with Receiver() as receiver:
        environ = {
            **settings(service, tmp_path / "state"),
            **exporting(receiver.endpoint),
            "OTEL_ML_CAPTURE_OFFLINE": "true",
            "OTEL_METRIC_EXPORT_INTERVAL": "600000",
        }
        with worker(tmp_path, environ, *POOLS[pool]) as process:
            sent = [tasks.predict.delay(service.features[i : i + 1 + i % 3]) for i in range(TASKS)]
            told = [result.get(timeout=WAIT) for result in sent]
            process.send_signal(signal.SIGTERM)
            process.wait(WAIT)
        output = (tmp_path / "worker.log").read_text()
        given: Counter[int] = Counter()
        for each in told:
            given[each["pid"]] += len(each["predictions"])
        counted = {f["service.instance.id"]: n for f, n in receiver.series("ml.predictions")}
        assert sorted(counted.values()) == sorted(map(float, given.values())), output
        assert receiver.total("ml.monitoring.captured") == given.total()
        assert "Traceback" not in output
