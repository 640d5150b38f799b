"""A load, its length and a collector in, memory, threads and descriptors over time out.

``python -m tests.faults.soak --minutes 10 --rate 10000`` is ten minutes with the collector down;
with ``--churn --collector up --minutes 60`` models, callers, categories and labels come and go.
The exit code is 1 where a bound is exceeded.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

ABOVE_BASE: Final = 64.0  # MiB
SLOPE: Final = 1.0  # MiB per minute
SETTLED: Final = 120.0  # seconds after which the slope counts, at most half of the whole
TICK: Final = 0.01  # seconds between two bursts of the load
MODELS, CLIENTS = 40, 500  # at a time; each is replaced after a while
LABEL_DELAY: Final = 50  # bursts


@dataclass(frozen=True)
class Reading:
    """What was found at a moment of the run."""

    seconds: float
    rss_mib: float
    threads: int
    descriptors: int
    predictions: int


@dataclass
class Report:
    """The readings of a run and what they come to.

    ``base_mib`` is the application alone, before otel-ml is imported; ``loaded_mib`` is it after
    the first export.
    """

    base_mib: float
    loaded_mib: float = 0.0
    predictions: int = 0
    wanted: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    restarts: int = 0
    readings: list[Reading] = field(default_factory=list)

    @property
    def settled(self) -> list[Reading]:
        """The readings that count for the slope."""
        from_ = min(SETTLED, self.readings[-1].seconds / 2)
        return [reading for reading in self.readings if reading.seconds >= from_]

    @property
    def slope(self) -> float:
        """MiB per minute once it is settled, by least squares."""
        minutes = np.array([reading.seconds / 60 for reading in self.settled])
        rss = np.array([reading.rss_mib for reading in self.settled])
        minutes = minutes - minutes.mean()
        return float(minutes @ (rss - rss.mean()) / (minutes @ minutes))

    @property
    def peak(self) -> float:
        """Largest resident set."""
        return max(reading.rss_mib for reading in self.readings)

    def problems(self, slope: float = SLOPE, above: float = ABOVE_BASE) -> list[str]:
        """Return what exceeds its bound."""
        found = []
        if self.peak > self.base_mib + above:
            found.append(f"{self.peak - self.base_mib:.1f} MiB above base, at most {above}")
        if self.slope > slope:
            found.append(f"{self.slope:.2f} MiB per minute, at most {slope}")
        for name in ("threads", "descriptors"):
            counts = [getattr(reading, name) for reading in self.settled]
            half = len(counts) // 2
            # a connection that is being tried just then is no growth
            if np.median(counts[half:]) > max(counts[:half]):
                found.append(f"{name} grow: {counts}")
        if self.predictions < 0.9 * self.wanted:
            found.append(f"only {self.predictions} of {self.wanted} predictions could be made")
        return found


def read(since: float, predictions: int) -> Reading:
    """Look at this process."""
    resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return Reading(
        round(time.monotonic() - since, 2),
        resident * os.sysconf("SC_PAGESIZE") / 2**20,
        threading.active_count(),
        len(os.listdir("/proc/self/fd")),
        predictions,
    )


@contextlib.contextmanager
def collector(kind: str) -> Iterator[str]:
    """Yield an endpoint where nobody listens, where nobody answers, or one that works."""
    if kind == "up":
        script = (
            "import sys\nfrom otel_ml.emit import Receiver\n"
            "with Receiver(keep=3) as r: print(r.endpoint, flush=True); sys.stdin.read()"
        )
        command = [sys.executable, "-c", script]
        with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            yield process.stdout.readline().strip()
            process.stdin.close()
        return
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        if kind == "silent":
            yield endpoint
            return
    yield endpoint


class Load:
    """Predictions of many features; with churn, of models, callers and categories that change.

    Parameters
    ----------
    features
        Number of features.
    batch
        Rows of a call.
    churn
        Whether everything that has a name changes.
    """

    def __init__(self, features: int, batch: int, churn: bool) -> None:
        self._rng = np.random.default_rng(14)
        self._rows = self._rng.normal(size=(4096, features))
        self._batch = batch
        self._churn = churn
        self._names = [f"f{i}" for i in range(features)]
        self.count = 0
        self._unlabelled: list[tuple[str, list[str]]] = []

    def burst(self, calls: int) -> None:
        """Make a number of calls."""
        for _ in range(calls):
            first = self.count % (len(self._rows) - self._batch)
            if first < self._batch:  # all have been sent: new ones, or they would be duplicates
                self._rng.standard_normal(out=self._rows)
            rows = self._rows[first : first + self._batch]
            scores = np.full(self._batch, 0.25)
            if self._churn:
                self._changing(rows, scores)
            else:
                self._observe(model="m", features=rows, scores=scores)
            self.count += self._batch

    def _changing(self, rows: Any, scores: Any) -> None:
        turn = self.count // self._batch
        name = f"model-{(turn // 50_000 * 7 + turn) % MODELS + turn // 500_000 * MODELS}"
        if turn % 10 == 0:
            self._called(rows, scores, f"client-{turn // 10 % CLIENTS + turn // 1_000_000}")
            return
        columns: dict[str, Any] = dict(zip(self._names, rows.T, strict=True))
        columns["category"] = [f"c{self._rng.integers(turn // 100 + 5)}"] * self._batch
        ids = [f"{turn}-{i}" for i in range(self._batch)]
        self._observe(
            model=name, features=columns, scores=scores, ids=ids, version=str(turn // 200_000)
        )
        self._unlabelled.append((name, ids))
        if len(self._unlabelled) > LABEL_DELAY:
            of, known = self._unlabelled.pop(0)
            self._label(ids=known, labels=[turn % 2] * len(known), model=of)

    def _called(self, rows: Any, scores: Any, client: str) -> None:
        from otel_ml import pipeline
        from otel_ml.testing import FakeModel
        from otel_ml.types import Captured

        both = np.stack([1 - scores, scores], axis=1)
        call = Captured(FakeModel(), "predict_proba", rows.copy(), both, time.time_ns())
        call.client = client
        pipeline.submit(call)

    def _observe(self, **given: Any) -> None:
        import otel_ml

        otel_ml.observe(**given)

    def _label(self, **given: Any) -> None:
        import otel_ml

        otel_ml.record_labels(**given)


def soak(
    minutes: float,
    rate: int,
    features: int = 30,
    batch: int = 1,
    churn: bool = False,
    every: float = 5.0,
    say: Callable[[Reading], object] = lambda reading: None,
) -> Report:
    """Predict at a rate for a while in this process, and read its memory.

    Parameters
    ----------
    minutes
        How long.
    rate
        Predictions per second.
    features, batch, churn
        Of the load.
    every
        Seconds between readings.
    say
        Called with each reading.
    """
    load = Load(features, batch, churn)
    gc.collect()
    report = Report(read(time.monotonic(), 0).rss_mib)
    from otel_ml import pipeline

    load.burst(max(int(rate * TICK / batch), 1))
    pipeline.flush(10.0)
    began = due = time.monotonic()
    report.loaded_mib = read(began, 0).rss_mib
    owed = 0.0
    for tick in range(int(minutes * 60 / TICK)):
        owed += rate * TICK / batch
        load.burst(int(owed))
        owed -= int(owed)
        now = time.monotonic()
        if now >= due:
            due += every
            report.readings.append(read(began, load.count))
            say(report.readings[-1])
        time.sleep(max(began + (tick + 1) * TICK - now, 0.0))
        if now - began > minutes * 60:
            break
    report.readings.append(read(began, load.count))
    report.predictions = load.count
    report.wanted = int(min(minutes * 60, report.readings[-1].seconds) * rate)
    report.skipped = dict(pipeline.current().skipped)
    report.restarts = pipeline.current().restarts
    pipeline.shutdown(3.0)
    return report


def main(arguments: list[str] | None = None) -> int:
    """Run it and print a report."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=int, default=10_000, help="predictions per second")
    parser.add_argument("--features", type=int, default=30)
    parser.add_argument("--batch", type=int, default=1, help="rows of a call")
    parser.add_argument("--churn", action="store_true")
    parser.add_argument("--collector", choices=("refused", "silent", "up"), default="refused")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between readings")
    parser.add_argument("--slope", type=float, default=SLOPE, help="MiB per minute at most")
    parser.add_argument("--above", type=float, default=ABOVE_BASE, help="MiB above base at most")
    parser.add_argument("--report", type=Path, help="JSON file to write")
    given = parser.parse_args(arguments)

    def say(reading: Reading) -> None:
        print(
            f"{reading.seconds:8.1f} s {reading.rss_mib:8.1f} MiB {reading.threads:3} threads "
            f"{reading.descriptors:3} descriptors {reading.predictions:12} predictions",
            flush=True,
        )

    with collector(given.collector) as endpoint:
        os.environ.update(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_METRIC_EXPORT_INTERVAL="5000")
        report = soak(
            given.minutes, given.rate, given.features, given.batch, given.churn, given.every, say
        )
    problems = report.problems(given.slope, given.above)
    print(
        f"base {report.base_mib:.1f} MiB, otel-ml loaded {report.loaded_mib:.1f}, peak "
        f"{report.peak:.1f}; {report.slope:+.3f} MiB per minute once settled; "
        f"{report.predictions} predictions, not taken: {report.skipped or 'none'}; "
        f"restarts {report.restarts}"
    )
    for problem in problems:
        print(f"exceeded: {problem}")
    if given.report is not None:
        figures = {**asdict(report), "slope": report.slope, "problems": problems}
        given.report.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
