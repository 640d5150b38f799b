"""A seed and a number of calls in; so many odd calls of every public entry point made, and tallied.

Predictions are made as they are in a server: by a scikit-learn model inside and outside of a
request, in threads and event loops, by hand, with labels. Outputs must be the very objects the
model returned, exceptions the very ones it raised.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression

import otel_ml
from tests.faults import odd
from tests.faults.oracles import same, served

__all__ = ["Fuzzer", "Odd"]

METHODS: Final = ("predict", "predict_proba", "predict_log_proba", "decision_function")
RAISED: Final = (*odd.RAISED, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError)
PLAIN: Final = "plain"


class Odd(BaseEstimator):  # type: ignore[misc]  # untyped base
    """A model that returns whatever it was told to, or raises it."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.raises: BaseException | None = None
        self.inner: Odd | None = None

    def _answer(self, X: Any) -> Any:
        if self.inner is not None:  # a monitored model that asks another one
            self.inner.predict_proba(X)
        if self.raises is not None:
            raise self.raises
        return self.answer

    def predict(self, X: Any = None, *args: Any, **kwargs: Any) -> Any:
        return self._answer(X)

    predict_log_proba = predict

    def predict_proba(self, X: Any = None) -> Any:
        return self._answer(X)

    def decision_function(self, X: Any = None) -> Any:
        return self._answer(X)


class OddRegressor(Odd):
    """Another class, so another model."""


@dataclass
class Fuzzer:
    """Makes odd calls and keeps the count of what was certain about them.

    Parameters
    ----------
    seed
        Of everything.
    pause
        Called now and then, so that the worker keeps up.

    Attributes
    ----------
    calls
        Calls made, by entry point.
    plain
        Predictions with nothing odd about them, which must all be counted.
    unserved
        Calls outside of a request, which are no predictions.
    """

    seed: int
    pause: Callable[[], object] = field(default=lambda: None)
    every: int = 200
    calls: Counter[str] = field(default_factory=Counter)
    plain: int = 0
    unserved: int = 0

    def __post_init__(self) -> None:
        odd.warm()
        self.rng = Random(self.seed)
        rows = np.random.default_rng(self.seed).normal(size=(20, 3))
        self.real = LogisticRegression().fit(rows, rows[:, 0] > 0)
        self.rows = rows
        with_none = np.vectorize(lambda v: v, otypes=[float])(rows)
        self.expected = {m: getattr(self.real, m)(with_none) for m in METHODS}
        self.models = [Odd(), OddRegressor()]

    def run(self, calls: int) -> None:
        """Make so many calls."""
        ways: list[Callable[[], None]] = [
            *(self._observe, self._observe, self._label),
            *(self._predict, self._predict, self._predict, self._real, self._by_hand),
        ]
        with ThreadPoolExecutor(4) as pool:
            self._by_hand()  # its model comes first: of too many, some are not watched
            made = 1
            while made < calls:
                way = self.rng.random()
                if way < 0.002:
                    made += self._many(pool, min(16, calls - made))
                elif way < 0.004:
                    made += self._loop(min(16, calls - made))
                else:
                    self.rng.choice(ways)()
                    made += 1
                if made % self.every == 0:
                    self.pause()

    @property
    def total(self) -> int:
        """Calls made so far."""
        return sum(self.calls.values())

    def _maybe(self, share: float = 0.5) -> Any:
        return odd.value(self.rng) if self.rng.random() < share else None

    def _observe(self) -> None:
        rng = self.rng
        model = rng.choice(["m", "n", "\ud800", "x" * 300, f"m{rng.randrange(100)}"])
        given: dict[str, Any] = {
            "model": model if rng.random() < 0.9 else odd.value(rng),
            "features": self._maybe(0.8),
            "scores": self._maybe(),
            "predictions": self._maybe(),
            "ids": self._maybe(0.2),
            "slices": self._maybe(0.2),
            "event_times": self._maybe(0.2),
            "duration": self._maybe(0.1),
            "version": self._maybe(0.05),
        }
        self.calls["observe"] += 1
        otel_ml.observe(**given)

    def _label(self) -> None:
        ids = self._maybe(0.9) if self.rng.random() < 0.5 else ["a", "b"]
        labels = self._maybe(0.9) if self.rng.random() < 0.5 else [odd.cell(self.rng), 1]
        model = self.rng.choice([None, "m", odd.value(self.rng)])
        self.calls["record_labels"] += 1
        otel_ml.record_labels(ids=ids, labels=labels, model=model)

    def _predict(self) -> None:
        rng = self.rng
        model = rng.choice(self.models)
        self._ask(model, rng.choice(METHODS), odd.value(rng), odd.value(rng))

    def _ask(self, model: Odd, method: str, features: Any, answer: Any) -> None:
        """Let a model answer, and compare: the same object, the same exception."""
        rng = self.rng
        model.answer = answer
        model.raises = rng.choice(RAISED)("of the model") if rng.random() < 0.1 else None
        model.inner = Odd(odd.value(rng)) if rng.random() < 0.05 else None
        inside = rng.random() < 0.8
        self.calls["predict"] += 1
        self.unserved += not inside
        found: Any = None
        with served() if inside else nullcontext():
            try:
                found = getattr(model, method)(features)
            except BaseException as error:
                if error is not model.raises:
                    raise
                return
        assert model.raises is None, "an exception of the application was swallowed"
        assert found is answer

    def _real(self) -> None:
        """Let a real model answer, and compare every bit."""
        method = self.rng.choice(METHODS)
        with served():
            found = getattr(self.real, method)(self.rows)
        self.calls["real"] += 1
        assert same(found, self.expected[method])

    def _by_hand(self) -> None:
        """Report what nobody could misunderstand: all of it must be counted."""
        n = self.rng.choice([1, 1, 1, 4])
        first = self.rng.randrange(len(self.rows) - n)
        features = self.rows[first : first + n]
        otel_ml.observe(model=PLAIN, features=features, scores=np.full(n, 0.5))
        self.calls["observe"] += 1
        self.plain += n

    def _many(self, pool: ThreadPoolExecutor, calls: int) -> int:
        """Make calls from several threads at once, each with its own model."""
        tasks = [
            (Odd(odd.value(self.rng)), self.rng.choice(METHODS), odd.value(self.rng))
            for _ in range(calls)
        ]

        def ask(task: tuple[Odd, str, Any]) -> bool:
            model, method, features = task
            with served():
                return getattr(model, method)(features) is model.answer

        assert all(pool.map(ask, tasks))
        self.calls["threads"] += calls
        return calls

    def _loop(self, calls: int) -> int:
        """Make calls from tasks of an event loop, some of them cancelled in the middle."""
        models = [Odd(odd.value(self.rng)) for _ in range(calls)]
        features = [odd.value(self.rng) for _ in range(calls)]

        async def ask(model: Odd, given: Any) -> bool:
            with served():
                await asyncio.sleep(0)
                same_object = model.predict(given) is model.answer
                await asyncio.sleep(0)
            return same_object

        async def all_of_them() -> list[Any]:
            tasks = [asyncio.ensure_future(ask(*p)) for p in zip(models, features, strict=True)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            tasks[0].cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

        for found in asyncio.run(all_of_them()):
            assert found is True or isinstance(found, asyncio.CancelledError), found
        self.calls["tasks"] += calls
        return calls
