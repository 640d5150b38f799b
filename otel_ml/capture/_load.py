"""A function that loads models comes in; one that also remembers the path goes out."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from os import PathLike
from typing import Any

from otel_ml.identity import remember

__all__ = ["remembering"]


def remembering(load: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``load(file, …)``.

    Parameters
    ----------
    load
        Takes a path or an open file first, and returns a model, or a dict, list or tuple of which
        some members predict.
    """

    @wraps(load)
    def loading(*args: Any, **kwargs: Any) -> Any:
        loaded = load(*args, **kwargs)
        try:
            _note(loaded, args[0] if args else next(iter(kwargs.values())))
        except KeyboardInterrupt:
            raise
        except BaseException:  # of a file object of the application: the model goes by its class
            return loaded
        return loaded

    return loading


def _note(loaded: object, source: object) -> None:
    path = source if isinstance(source, str | PathLike) else getattr(source, "name", None)
    if not isinstance(path, str | PathLike):
        return
    members: list[tuple[str, object]]
    if type(loaded) is dict:
        members = [(str(key), value) for key, value in loaded.items()]
    elif type(loaded) is list or type(loaded) is tuple:
        members = [(str(index), value) for index, value in enumerate(loaded)]
    else:
        remember(loaded, path)
        return
    models = [(key, value) for key, value in members if hasattr(type(value), "predict")]
    for key, value in models:
        remember(value, path, key if len(models) > 1 else "")
