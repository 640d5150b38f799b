"""A thread pool's `submit` comes in; one that takes the open request along goes out.

`loop.run_in_executor(pool, model.predict, X)` is how an asynchronous endpoint calls a model, and
executors do not carry context variables into their threads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from otel_ml.capture._scope import QUIET, SCOPE, Request

__all__ = ["carrying"]


def carrying(submit: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``ThreadPoolExecutor.submit``; outside of requests and calls it does nothing."""

    @wraps(submit)
    def carried_submit(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        scope = SCOPE.get()
        if scope is None:
            return submit(self, fn, *args, **kwargs)
        inside = scope if type(scope) is Request else QUIET

        def carried(*args: Any, **kwargs: Any) -> Any:
            before = SCOPE.get()
            SCOPE.set(inside)
            try:
                return fn(*args, **kwargs)
            finally:
                SCOPE.set(before)

        return submit(self, carried, *args, **kwargs)

    return carried_submit
