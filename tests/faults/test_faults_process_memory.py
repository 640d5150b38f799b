"""Memory runs out at any place of the worker: what is lost there is counted, and nothing half done.

Every function of otel-ml that the worker calls is made to fail once, at its first call, as if the
memory for it could not be had.
"""

from __future__ import annotations

import logging
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import numpy as np
import pytest

import otel_ml
from otel_ml import config, pipeline
from otel_ml.semconv import metrics as m
from otel_ml.testing import MemoryPipeline
from otel_ml.types import Buckets
from tests.faults.oracles import HANG, Books

PACKAGE: Final = str(Path(otel_ml.__file__).parent)
ROWS: Final = 40
LABELS: Final = 10
Site = tuple[str, int, str]


def site(code: CodeType) -> Site:
    return code.co_filename.removeprefix(PACKAGE), code.co_firstlineno, code.co_name


class Failing:
    """Trace function of the worker's thread: notes where it comes, and fails once at a site."""

    def __init__(self, target: Site | None = None) -> None:
        self.target = target
        self.seen: dict[Site, None] = {}
        self.failed = False

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        if event != "call" or not frame.f_code.co_filename.startswith(PACKAGE):
            return
        if threading.current_thread().name != "otel-ml":
            return
        here = site(frame.f_code)
        self.seen[here] = None
        if here == self.target and not self.failed:
            self.failed = True  # an exception ends the tracing of this thread
            raise MemoryError


def predict(seed: int) -> None:
    """Report rows of all kinds that have labels."""
    rng = np.random.default_rng(seed)
    ids = [f"{seed}-{i}" for i in range(ROWS)]
    otel_ml.observe(
        model="m",
        features={"x": rng.normal(size=ROWS), "c": rng.choice(["a", "b"], ROWS)},
        scores=rng.uniform(size=ROWS),
        predictions=rng.choice(["no", "yes"], ROWS),
        ids=ids,
    )
    otel_ml.record_labels(ids=ids[:LABELS], labels=["yes"] * LABELS, model="m")


@dataclass(frozen=True)
class Tried:
    """What became of a pipeline in which something failed."""

    books: Books
    whole: float
    ended: bool
    restarts: int

    @property
    def right(self) -> bool:
        """All is counted or dropped, no call in part, and the worker lives or was restarted.

        Labels that are lost are said in the same books, as one.
        """
        books = self.books
        lost = books.captured - books.counted
        balanced = lost == books.lost and 2 * ROWS <= books.captured <= 2 * ROWS + 1
        return balanced and books.counted == self.whole and self.ended and self.restarts <= 1


def tried(failing: Failing) -> Tried:
    """Run a pipeline in which something fails between two predictions."""
    running = MemoryPipeline()
    before = pipeline.replace(running)
    threading.settrace(failing)
    try:
        predict(1)
        running.flush(HANG)
        predict(2)  # as if nothing had been
        running.flush(HANG)  # what an export failed to say the next one does
        books = Books.of(running)
        sizes = [sample.value for sample in running.sink.samples(m.ML_INFERENCE_BATCH_SIZE)]
        whole = sum(size.sum or 0.0 for size in sizes if isinstance(size, Buckets))
    finally:
        threading.settrace(None)
        pipeline.replace(before)
        ended = running.shutdown(HANG)
    return Tried(books, whole, ended, running.restarts)


# a thread that fails before its first line is gone; another one takes over
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.fault("D11", "A4")
@pytest.mark.slow
@pytest.mark.skipif(sys.gettrace() is not None, reason="the tests are being traced themselves")
def test_every_place_fails_once(caplog: pytest.LogCaptureFixture) -> None:
    config.reset()
    config.configure({"learn_rows": 60})  # the reference is frozen between the two
    try:
        tried(Failing())  # everything is imported and made once
        first = Failing()
        normal = tried(first)
        assert normal.right
        assert normal.books.lost == normal.restarts == 0
        assert len(first.seen) > 100
        wrong = []
        for target in first.seen:
            failing = Failing(target)
            try:
                with caplog.at_level(logging.CRITICAL, "otel_ml"):
                    found = tried(failing)
            except AssertionError as error:
                wrong.append(f"{target}: {error}")
                continue
            if not (failing.failed and found.right):
                wrong.append(f"{target}: {failing.failed} {found}")
        assert not wrong, "\n".join(wrong)
    finally:
        config.reset()
