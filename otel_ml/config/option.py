"""The meaning and bounds of one setting in, metadata of a dataclass field out."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from otel_ml.errors import ConfigError

__all__ = ["Option", "header", "header_or_empty", "not_empty", "option"]

_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")


@dataclass(frozen=True, slots=True)
class Option:
    """What a field of the settings means and accepts, beyond its type.

    Parameters
    ----------
    doc
        One or two sentences for the reference page.
    env
        Environment variable that overrides the file, or None.
    minimum, maximum
        Smallest and largest number accepted, both inclusive.
    above
        Bound that a number must exceed.
    check
        Raises `ConfigError` for a string (or an item of a list) that is not acceptable.
    secret
        The value is never shown in a message.
    """

    doc: str
    env: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    check: Callable[[str], object] | None = None
    secret: bool = False


def option(doc: str, **rest: Any) -> dict[str, Option]:
    """Return the metadata of a field that can be configured."""
    return {"option": Option(doc, **rest)}


def header(text: str) -> None:
    """Raise `ConfigError` for what cannot be the name of an HTTP header."""
    if not _HEADER.fullmatch(text):
        raise ConfigError(
            f"expected the name of an HTTP header, found {text[:60]!r}",
            remedy="Header names are letters, digits and hyphens, like x-request-id.",
        )


def header_or_empty(text: str) -> None:
    """Raise `ConfigError` for what is neither empty nor the name of an HTTP header."""
    if text:
        header(text)


def not_empty(text: str) -> None:
    """Raise `ConfigError` for a text without a visible character."""
    if not text.strip():
        raise ConfigError("expected a text that is not empty", remedy="Give it, or omit the key.")
