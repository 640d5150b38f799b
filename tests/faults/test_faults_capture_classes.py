"""Arguments and classes that nobody would think of: still the caller notices nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

import otel_ml
from tests.faults.fuzz import Odd
from tests.faults.oracles import faulty, served


@pytest.mark.fault("A1")
@pytest.mark.parametrize(
    "timeout",
    [None, -1, 0, math.nan, math.inf, 10**400, "soon", object()],
    ids=lambda t: str(t)[:9],
)
@pytest.mark.parametrize("call", [otel_ml.flush, otel_ml.shutdown])
def test_a_timeout_that_is_none(call: Callable[..., bool], timeout: Any) -> None:
    with faulty() as trial:
        trial.observe(features=[[1.0]])
        assert trial.call(call, timeout) in (True, False)
        trial.observe(features=[[1.0]])  # whatever it ended is begun again


@pytest.mark.fault("A6")
def test_the_class_of_an_exception_may_be_odd(watched: None) -> None:
    class Named(type):
        @property
        def __name__(cls) -> str:  # type: ignore[override]  # the fault
            raise SystemExit

    error = Named("Error", (Exception,), {})()
    model = Odd()
    model.raises = error
    with faulty(given=None):
        seen: BaseException | None = None
        try:  # `pytest.raises` would ask for the name
            with served():
                model.predict([[1.0]])
        except BaseException as raised:
            seen = raised
        untouched = seen is error  # a message of pytest would ask for the name
        assert untouched
