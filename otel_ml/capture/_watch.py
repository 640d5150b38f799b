"""A method of a class comes in; a plain function that does the same and is captured goes out.

The application's result and exception pass through untouched.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial, update_wrapper, wraps
from time import perf_counter_ns
from types import MethodType
from typing import Any, Final, TypeAlias

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY

from otel_ml.capture._call import Switch, finish, named, note, unserved
from otel_ml.capture._context import context_reader
from otel_ml.capture._scope import QUIET, SCOPE, Request
from otel_ml.frame import DURATION, INLINE, METHOD
from otel_ml.snapshot import by_value

__all__ = ["Portable", "is_ours", "quieten", "unwrap", "watch"]

Method: TypeAlias = Callable[..., Any]

_MARK = "__otel_ml__"
_NONE_GIVEN: Final[Any] = object()


def watch(function: Method, method: str, switch: Switch) -> Method:
    """Wrap a method that predicts.

    Parameters
    ----------
    function
        The original, as found in the class.
    method
        Its name.
    switch
        The instrumentor's.

    Returns
    -------
    watched
        A plain function: bound methods and models pickle as before.
    """
    enter, current_context = SCOPE.set, context_reader()
    quiet = _SUPPRESS_INSTRUMENTATION_KEY

    @wraps(function)
    def watched(self: Any, features: Any = _NONE_GIVEN, /, *args: Any, **kwargs: Any) -> Any:
        outer = SCOPE.get()
        if args or kwargs or features is _NONE_GIVEN:
            given = () if features is _NONE_GIVEN else (features,)
            call = partial(function, self, *given, *args, **kwargs)
            features = features if given else named(kwargs)
        else:
            call = None
        if outer is not None and type(outer) is not Request:
            result = function(self, features) if call is None else call()
            if type(outer) is list and outer[METHOD] == "predict":
                note(outer, self, method, features, result)
            return result
        context = current_context()
        if (
            not switch.on
            # the application has told instrumentations to keep quiet
            or (context and (context.get(quiet) or context.get("suppress_instrumentation")))
            or (outer is None and unserved(context, features))
        ):
            enter(QUIET)
            try:
                return function(self, features) if call is None else call()
            finally:
                enter(outer)
        # in the order of `otel_ml.frame`
        if outer is not None and outer.entries and outer.earlier(self, method, features):
            # a snapshot was taken when the other method was called
            frame = [self, method, None, None, 0, context, outer, None, features, None]
        elif type(features) is list and len(features) == 1 and type(row := features[0]) is list:
            frame = [self, method, INLINE, None, 0, context, outer, None, features, None, *row]
        else:
            kept = by_value(features)
            frame = [self, method, kept, None, 0, context, outer, None, features, None]
        enter(frame)
        started = perf_counter_ns()
        try:
            result = function(self, features) if call is None else call()
        except BaseException as error:
            frame[DURATION] = perf_counter_ns() - started
            enter(outer)
            finish(frame, outer, None, error)
            raise
        frame[DURATION] = perf_counter_ns() - started
        enter(outer)
        finish(frame, outer, result, None)
        return result

    return _marked(watched)


def quieten(function: Method, switch: Switch) -> Method:
    """Wrap a method inside which nothing is a prediction that is served: training, evaluation."""

    @wraps(function)
    def quiet(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        outer = SCOPE.get()
        if outer is QUIET or not switch.on:
            return function(self, *args, **kwargs)
        SCOPE.set(QUIET)
        try:
            return function(self, *args, **kwargs)
        finally:
            SCOPE.set(outer)

    return _marked(quiet)


def is_ours(function: object) -> bool:
    """Say whether a function is a wrapper of ours itself, and not a wrapper of someone's around it.

    Notes
    -----
    `functools.wraps` copies the attributes of what it wraps, so the mark refers to its bearer.
    """
    return function is not None and getattr(function, _MARK, None) is function


def unwrap(function: Any) -> Method:
    """Return what a wrapper of ours wraps."""
    original: Method = function.__wrapped__
    return original


class Portable:
    """A wrapper for classes that cloudpickle writes by value: it pickles as the original.

    Such a class (of ``__main__``, or local to a function) takes its methods along into the file,
    and the file must load where otel-ml is not installed.

    Parameters
    ----------
    wrapper
        The function to call here.
    """

    def __init__(self, wrapper: Method) -> None:
        update_wrapper(self, wrapper)
        self.__wrapped__ = unwrap(wrapper)
        self._wrapper = wrapper
        setattr(self, _MARK, self)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self._wrapper if instance is None else MethodType(self._wrapper, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._wrapper(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        # `copy.copy` returns a function itself: the only way to say "this object" in the standard
        # library alone.
        return copy.copy, (self.__wrapped__,)


def _marked(wrapper: Method) -> Method:
    setattr(wrapper, _MARK, wrapper)
    return wrapper
