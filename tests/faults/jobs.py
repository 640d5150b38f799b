"""A way to have children in, their predictions and those of the parent out: `python -m` runs one.

The parent predicts before it has children, and does not wait for that to be exported. Each process
tells how many rows it predicted; the last line printed is that as JSON, by process number.
"""

from __future__ import annotations

import concurrent.futures
import importlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final

import otel_ml

Told = tuple[int, int]  # process number, rows

PARENT: Final = 7
CHILDREN: Final = 3
TASKS: Final = 12


def predict(rows: int) -> Told:
    """Predict in this process, and tell it."""
    otel_ml.observe(model="job", features={"x": [0.5] * rows}, scores=[0.5] * rows)
    return os.getpid(), rows


def tell(queue: Any, rows: int) -> None:
    """Predict, and tell it by way of a queue."""
    queue.put(predict(rows))


def forked() -> Iterable[Told]:
    """`os.fork`, one child after the other; each ends by way of `atexit`."""
    for rows in range(1, CHILDREN + 1):
        pid = os.fork()
        if pid == 0:
            predict(rows)
            sys.exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        yield pid, rows


def processes(method: str) -> Iterable[Told]:
    """`multiprocessing.Process`."""
    context: Any = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    started = [context.Process(target=tell, args=(queue, n)) for n in range(1, CHILDREN + 1)]
    for process in started:
        process.start()
    for process in started:
        process.join()
        assert process.exitcode == 0
    return [queue.get() for _ in started]


def pool(method: str, *, closed: bool = True) -> Iterable[Told]:
    """`multiprocessing.Pool`, closed, or left by `with`, which ends its processes by SIGTERM."""
    with multiprocessing.get_context(method).Pool(2) as workers:
        told = workers.map(predict, range(1, TASKS + 1), chunksize=1)
        if closed:
            workers.close()
            workers.join()
    return told


def executor(method: str) -> Iterable[Told]:
    """`ProcessPoolExecutor`."""
    context: Any = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as workers:
        return list(workers.map(predict, range(1, TASKS + 1)))


def joblib(backend: str) -> Iterable[Told]:
    """`joblib.Parallel`."""
    from joblib import Parallel, delayed

    told: list[Told] = Parallel(n_jobs=2, backend=backend)(
        delayed(predict)(rows) for rows in range(1, TASKS + 1)
    )
    return told


def loading(indices: Any, batches: Any, ended: Any) -> None:
    """Work as a worker of a data loader does: batches until it is told to stop."""
    while not ended.is_set():
        rows = indices.get()
        if rows is None:
            ended.wait()
            return
        batches.put(predict(rows))


def loader() -> Iterable[Told]:
    """Daemonic workers behind queues, as the data loaders of training frameworks have them."""
    context = multiprocessing.get_context("fork")
    batches: Any = context.Queue()
    ended = context.Event()
    indices: list[Any] = [context.Queue() for _ in range(2)]
    workers = [
        context.Process(target=loading, args=(each, batches, ended), daemon=True)
        for each in indices
    ]
    for worker in workers:
        worker.start()
    for rows in range(1, TASKS + 1):
        indices[rows % 2].put(rows)
    told = [batches.get(timeout=60) for _ in range(TASKS)]
    for each in indices:
        each.put(None)
    ended.set()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    return told


def torch_loader() -> Iterable[Told]:
    """The workers of PyTorch's own loader."""
    data: Any = importlib.import_module("torch.utils.data")

    class Rows(data.Dataset):  # type: ignore[misc]  # of a library that is not typed here
        def __len__(self) -> int:
            return TASKS

        def __getitem__(self, index: int) -> list[Told]:
            return [predict(index + 1)]

    loaded = data.DataLoader(
        Rows(), num_workers=2, collate_fn=lambda items: items[0][0], batch_size=1
    )
    return list(loaded)


def programs() -> Iterable[Told]:
    """`subprocess`: a program of its own, with the environment of this one."""
    for rows in range(1, CHILDREN + 1):
        command = [sys.executable, "-m", __spec__.name, "alone", str(rows)]
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        (pid,) = json.loads(said.stdout)
        yield int(pid), rows


def alone(rows: str) -> Iterable[Told]:
    """Nothing but this process."""
    return [predict(int(rows))]


def killed() -> Iterable[Told]:
    """A child that is killed in the midst of predicting; what it had flushed before is told."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        predict(5)
        assert otel_ml.flush(60)
        while True:
            predict(1)
            os.write(write, b".")
    os.close(write)
    assert len(os.read(read, 1)) == 1
    os.kill(pid, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    yield pid, 5
    yield from forked()


JOBS: Final[dict[str, Callable[..., Iterable[Told]]]] = {
    "fork": forked,
    "process": processes,
    "pool": pool,
    "pool-left": lambda method: pool(method, closed=False),
    "executor": executor,
    "joblib": joblib,
    "loader": loader,
    "torch": torch_loader,
    "subprocess": programs,
    "killed": killed,
    "alone": alone,
}


def main(name: str, *arguments: str) -> None:
    """Run a job and print what was predicted where."""
    given: Counter[int] = Counter()
    if name != "alone":
        given.update(dict([predict(PARENT)]))
    for pid, rows in JOBS[name](*arguments):
        given[pid] += rows
    print(json.dumps(given))


if __name__ == "__main__":
    main(*sys.argv[1:])
