"""The error tree: every error a caller can see, each naming what is wrong and the remedy."""

from __future__ import annotations

__all__ = ["ConfigError", "DataError", "OtelMlError", "ReferenceError", "StateError"]


class OtelMlError(Exception):
    """Base of every error raised on purpose by otel-ml.

    Parameters
    ----------
    message
        What is wrong, naming the file, line, key or column.
    remedy
        What to do about it, as one sentence.
    """

    def __init__(self, message: str, *, remedy: str = "") -> None:
        self.message = message
        self.remedy = remedy
        super().__init__(f"{message}\n  remedy: {remedy}" if remedy else message)


class ConfigError(OtelMlError):
    """A configuration file, variable or argument is not valid."""


class ReferenceError(OtelMlError):
    """A reference profile is missing, damaged or belongs to another model."""


class DataError(OtelMlError):
    """The data given do not have the columns, shapes or values that are needed."""


class StateError(OtelMlError):
    """A snapshot or state directory cannot be used."""
