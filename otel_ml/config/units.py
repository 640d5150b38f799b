"""Quantities as people write them (``30d``, ``100000rows``, ``1/30d``) in, seconds and rows out."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from otel_ml.errors import ConfigError

__all__ = ["Period", "parse_allowance", "parse_count_or_duration", "parse_period"]

SECONDS: Final = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_LONGEST_SECONDS: Final = 100 * 366 * SECONDS["d"]
_MOST_ROWS: Final = 10**15

_QUANTITY: Final = re.compile(r"([0-9][0-9_]*(?:\.[0-9]+)?)\s*([a-z]+)", re.ASCII)
_COUNT: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)
_SHAPE: Final = "a number and a unit out of s, m, h, d, w or rows"


@dataclass(frozen=True, slots=True)
class Period:
    """A stretch of time or of traffic; exactly one of the two is given.

    Parameters
    ----------
    seconds
        Length in seconds, or None where it is counted in rows.
    rows
        Length in rows (predictions), or None where it is measured in seconds.
    """

    seconds: float | None = None
    rows: int | None = None


def parse_period(text: str) -> Period:
    """Read a period that is longer than nothing.

    Parameters
    ----------
    text
        ``30d``, ``24h``, ``36 h``, ``90s``, ``2w`` or ``100000rows``; underscores may group digits.

    Returns
    -------
    Period
        Seconds or rows, whichever the unit says.

    Raises
    ------
    ConfigError
        Where the text has no known unit, is zero, or is beyond a century or 10**15 rows.

    Examples
    --------
    >>> parse_period("30d")
    Period(seconds=2592000.0, rows=None)
    >>> parse_period("100_000rows")
    Period(seconds=None, rows=100000)
    """
    period = _quantity(text)
    if not (period.seconds or period.rows):
        raise ConfigError(f"expected {_SHAPE} above zero, found {_shown(text)}", remedy=_remedy())
    return period


def parse_count_or_duration(text: str) -> Period:
    """Read a delay, which may be nothing at all.

    Parameters
    ----------
    text
        As for `parse_period`; zero is allowed.

    Returns
    -------
    Period
        Seconds or rows, whichever the unit says.

    Raises
    ------
    ConfigError
        Where the text has no known unit or is beyond a century or 10**15 rows.

    Examples
    --------
    >>> parse_count_or_duration("1000rows")
    Period(seconds=None, rows=1000)
    >>> parse_count_or_duration("36h")
    Period(seconds=129600.0, rows=None)
    """
    return _quantity(text)


def parse_allowance(text: str) -> tuple[float, str]:
    """Read a budget of false incidents: how many, and per what.

    Parameters
    ----------
    text
        ``1/30d`` or ``0.5/100000rows``.

    Returns
    -------
    tuple of float and str
        The count, above zero, and the period as written (`parse_period` takes it).

    Raises
    ------
    ConfigError
        Where the text is anything else.

    Examples
    --------
    >>> parse_allowance("1/30d")
    (1.0, '30d')
    """
    count, slash, per = text.partition("/")
    count, per = count.strip(), per.strip()
    if not slash or not _COUNT.fullmatch(count) or not 0 < float(count) < math.inf:
        raise ConfigError(
            f"expected a count per period, found {_shown(text)}",
            remedy="Write it like 1/30d or 1/100000rows.",
        )
    parse_period(per)
    return float(count), per


@lru_cache(maxsize=64)  # a budget is asked for at every evaluation
def _quantity(text: str) -> Period:
    match = _QUANTITY.fullmatch(text.strip().lower())
    unit = match.group(2) if match else ""
    if match is None or (unit not in SECONDS and unit not in ("row", "rows")):
        raise ConfigError(f"expected {_SHAPE}, found {_shown(text)}", remedy=_remedy())
    digits = match.group(1).replace("_", "")
    # Longer texts would only be refused below, and int() refuses 4,300 digits in its own words.
    number = float(digits) if len(digits) < 40 else math.inf
    if unit in SECONDS:
        if number * SECONDS[unit] > _LONGEST_SECONDS:
            raise ConfigError(f"{_shown(text)} is longer than 100 years", remedy=_remedy())
        return Period(seconds=number * SECONDS[unit])
    if number > _MOST_ROWS or number != int(number):
        raise ConfigError(
            f"expected a whole number of rows up to {_MOST_ROWS}, found {_shown(text)}",
            remedy=_remedy(),
        )
    return Period(rows=int(number))


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _remedy() -> str:
    return "Write it like 30d, 24h or 100000rows."
