"""What a model does while it is watched is what it does otherwise, and is told as it was."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from otel_ml.capture import MLInstrumentor
from otel_ml.semconv import metrics as m
from tests.faults import odd
from tests.faults.fuzz import Odd
from tests.faults.oracles import HANG, Trial, faulty, same, served

pytest.importorskip("starlette")
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route


def counted(trial: Trial, model: str) -> float:
    """Return the predictions of a model that were counted."""
    trial.books()
    return sum(float(s.value) for s in trial.sink.samples(m.ML_PREDICTIONS, ml_model_name=model))


# A5


@pytest.mark.fault("A5")
@settings(odd.MANY, max_examples=odd.MANY.max_examples // 3)
@given(
    hnp.arrays(np.float64, (4, 2), elements=st.floats(-1e6, 1e6)),
    st.sampled_from(["array", "list", "dict", "fortran", "view", "rows"]),
    st.integers(0, 7),
)
def test_what_is_captured_is_what_was_there_at_the_time_of_the_call(
    rows: Any, kind: str, place: int
) -> None:
    """Of two models one is given what the application changes at once: both are told alike."""
    i, j = divmod(place, 2)

    def ask(trial: Trial, model: str, change: bool) -> None:
        made: dict[str, Callable[[], Any]] = {
            "array": lambda: rows.copy(),
            "list": lambda: rows.tolist(),
            "dict": lambda: {"f0": rows[:, 0].tolist(), "f1": rows[:, 1].copy()},
            "fortran": lambda: np.asfortranarray(rows),
            "view": lambda: np.repeat(rows, 2, axis=0)[::2],
            "rows": lambda: [row.copy() for row in rows],
        }
        value = made[kind]()
        scores = np.full(4, 0.25)
        trial.observe(4, model=model, features=value, scores=scores)
        if change:
            scores[:] = 0.75
            target = value[f"f{j}"] if kind == "dict" else value[i]
            target[i if kind == "dict" else j] = 1e9

    def told(trial: Trial, model: str) -> list[Any]:
        return [
            (s.metric.name, {**s.attributes, "ml.model.name": ""}, s.value)
            for s in trial.sink.samples(ml_model_name=model)
            if s.metric.name.startswith(("ml.feature", "ml.prediction.score"))
        ]

    with faulty(settings={"learn_rows": 4}) as trial:
        with trial.held():
            ask(trial, "changed", change=True)
            ask(trial, "unchanged", change=False)
        for model in ("changed", "unchanged"):
            trial.observe(4, model=model, features=rows, scores=np.full(4, 0.25))
        trial.books()
        assert told(trial, "changed") == told(trial, "unchanged") != []


# A6


@pytest.mark.fault("A6")
@pytest.mark.parametrize("error", [*odd.RAISED, KeyboardInterrupt, asyncio.CancelledError])
def test_an_exception_passes_untouched_and_is_counted(watched: None, error: Any) -> None:
    model = Odd()
    model.raises = raised = error("of the model")
    with faulty() as trial:
        for _ in range(3):
            with pytest.raises(error) as seen, served():
                model.predict([[1.0]])
            assert seen.value is raised
            assert [entry.name for entry in seen.traceback][-1] == "_answer"
            assert raised.__cause__ is raised.__context__ is None
            trial.gave(1)
        assert counted(trial, "Odd") == 3
        assert trial.sink.value(m.ML_PREDICTIONS, error_type=error.__name__) == 3


@pytest.mark.fault("A2")
@pytest.mark.parametrize("error", odd.RAISED)
def test_a_file_that_cannot_say_its_name_is_loaded_as_ever(
    watched: None, tmp_path: Path, error: Any
) -> None:
    class Place(os.PathLike[str]):
        def __fspath__(self) -> str:
            raise error

    class Nameless(io.BytesIO):
        name = Place()

    path = tmp_path / "model.joblib"
    joblib.dump(Odd([0.5]), path)
    with faulty() as trial:
        model = trial.call(joblib.load, Nameless(path.read_bytes()))
        with served():
            assert model.predict([[1.0]]) == [0.5]
        trial.gave(1)
        assert counted(trial, "Odd") == 1


# A7


class Lines(BaseEstimator):  # type: ignore[misc]  # untyped base
    """A model that answers piece by piece."""

    def __init__(self) -> None:
        self.closed = 0

    def predict(self, X: Any) -> Iterator[int]:
        try:
            yield from range(len(X))
        finally:
            self.closed += 1


def respond(model: Lines) -> Starlette:
    async def stream(request: Request) -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            for i in model.predict([[1.0]] * 3):
                yield str(i).encode()
                await asyncio.sleep(0)

        return StreamingResponse(pieces())

    async def plain(request: Request) -> JSONResponse:
        return JSONResponse(list(model.predict([[1.0]] * 3)))

    return Starlette(routes=[Route("/stream", stream), Route("/plain", plain)])


async def ask(app: Starlette, path: str, gone_after: int | None = None) -> list[bytes]:
    """Send a request to an application; the client hangs up after some pieces of the answer."""
    pieces: list[bytes] = []
    asked = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not asked.is_set():
            asked.set()
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body" and message.get("body"):
            pieces.append(message["body"])
            if gone_after is not None and len(pieces) >= gone_after:
                raise OSError("the client is gone")

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
    await asyncio.wait_for(app(scope, receive, send), HANG)
    return pieces


@pytest.mark.fault("A7")
def test_a_generator_is_handed_on_unread(watched: None) -> None:
    model = Lines()
    with faulty(given=None) as trial:
        with served():
            found = model.predict([[1.0], [2.0]])
        trial.books()  # the worker has had its turn, and must not have taken a piece
        assert list(found) == [0, 1]
        assert model.closed == 1


@pytest.mark.fault("A7")
@pytest.mark.parametrize("gone_after", [None, 1, 2])
def test_a_client_that_hangs_up_in_the_middle(watched: None, gone_after: int | None) -> None:
    with faulty(given=None) as trial:
        model = Lines()
        app = respond(model)

        async def all_of_it() -> None:
            if gone_after is None:
                assert await ask(app, "/stream") == [b"0", b"1", b"2"]
            else:
                with contextlib.suppress(Exception):  # however the server puts it
                    await ask(app, "/stream", gone_after)
            assert await ask(app, "/plain") == [b"[0,1,2]"]

        asyncio.run(all_of_it())
        assert trial.books().captured >= 2 + 2
        gc.collect()
        assert model.closed == 2, "the generator is let go"


# A8


class Turning(RuleBasedStateMachine):
    """Instrumentation goes on and off between and during calls of models that call models."""

    def __init__(self) -> None:
        super().__init__()
        self.on = False
        self.calls = 0
        self.context = faulty(given=None)
        self.trial = self.context.__enter__()
        self.outer, self.inner = Odd(np.array([0.5])), Odd(np.array([[0.5, 0.5]]))
        self.outer.inner = self.inner

    @rule(times=st.integers(1, 3))
    def turn_on(self, times: int) -> None:
        for _ in range(times):
            MLInstrumentor().instrument()
        self.on = True

    @rule(times=st.integers(1, 3))
    def turn_off(self, times: int) -> None:
        for _ in range(times):
            MLInstrumentor().uninstrument()
        self.on = False

    @rule(method=st.sampled_from(["predict", "predict_proba", "decision_function"]))
    def nested(self, method: str) -> None:
        with served():
            assert getattr(self.outer, method)([[1.0]]) is self.outer.answer
        self.calls += self.on

    @rule(on=st.booleans())
    def turned_during_a_call(self, on: bool) -> None:
        before, self.outer.inner = self.outer.inner, None
        outer = self

        class During(Odd):
            def predict_proba(self, X: Any = None) -> Any:
                outer.turn_on(1) if on else outer.turn_off(1)
                return super().predict_proba(X)

        self.outer.inner = During(self.inner.answer)
        was = self.on
        with served():
            assert self.outer.predict([[1.0]]) is self.outer.answer
        # a call that began while it was off is not watched; what it turns on begins with the next
        self.calls += was
        self.outer.inner = before
        self.during = on

    @invariant()
    def counted_once(self) -> None:
        assert counted(self.trial, "Odd") == self.calls

    def teardown(self) -> None:
        MLInstrumentor().uninstrument()
        self.context.__exit__(None, None, None)


TestTurning = pytest.mark.fault("A8")(Turning.TestCase)
TestTurning.settings = settings(
    odd.MANY, max_examples=odd.MANY.max_examples // 5, stateful_step_count=20
)


# A9


@pytest.mark.fault("A9", "D13")
def test_two_hundred_threads_and_an_event_loop_at_once(watched: None) -> None:
    """Every prediction is counted once, and every answer is the model's."""
    rows = np.random.default_rng(0).normal(size=(50, 3))
    model = LogisticRegression().fit(rows, rows[:, 0] > 0)
    forest = RandomForestClassifier(3, random_state=0, n_jobs=2).fit(rows, rows[:, 0] > 0)
    MLInstrumentor().uninstrument()
    expected = model.predict_proba(rows), forest.predict_proba(rows)
    MLInstrumentor().instrument()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    threads, times = 200, 5

    def work(start: Callable[[], object]) -> bool:
        start()
        with served():
            return all(same(model.predict_proba(rows), expected[0]) for _ in range(times))

    async def loop() -> bool:
        async def one() -> bool:
            with served():
                await asyncio.sleep(0)
                return same(forest.predict_proba(rows), expected[1])

        return all(await asyncio.gather(*(one() for _ in range(times))))

    try:
        with faulty(longest=HANG) as trial:
            barrier = threading.Barrier(threads)
            with ThreadPoolExecutor(threads) as pool:
                found = [pool.submit(work, lambda: barrier.wait(HANG)) for _ in range(threads)]
                assert asyncio.run(loop())
                assert all(f.result(HANG) for f in found)
            trial.gave(len(rows) * times * (threads + 1))
    finally:
        sys.setswitchinterval(interval)
