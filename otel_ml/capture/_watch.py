"""A method of a class comes in; a plain function that does the same and is captured goes out.

The application's result and exception pass through untouched.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import update_wrapper, wraps
from types import MethodType
from typing import Any, TypeAlias

from otel_ml.capture._call import Call, Switch, begin, finish, note
from otel_ml.capture._scope import QUIET, SCOPE, Request

__all__ = ["Portable", "is_ours", "quieten", "unwrap", "watch"]

Method: TypeAlias = Callable[..., Any]

_MARK = "__otel_ml__"


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

    @wraps(function)
    def watched(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        outer = SCOPE.get()
        if outer is not None and type(outer) is not Request:
            result = function(self, *args, **kwargs)
            if type(outer) is Call and outer.method == "predict":
                note(outer, self, method, args, kwargs, result)
            return result
        call = begin(switch, outer, self, method, args, kwargs)
        SCOPE.set(call)
        try:
            result = function(self, *args, **kwargs)
        except BaseException as error:
            SCOPE.set(outer)
            finish(call, None, error)
            raise
        SCOPE.set(outer)
        finish(call, result, None)
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
