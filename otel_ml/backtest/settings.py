"""What a backtest is asked to do, as texts, in; checked settings out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from otel_ml.config import Period, parse_allowance, parse_count_or_duration
from otel_ml.errors import ConfigError

__all__ = ["Allowance", "Settings", "compared"]

_FACTOR: Final = 10
_AT_ONCE: Final = Period(rows=0)


@dataclass(frozen=True, slots=True)
class Allowance:
    """A budget of false incidents as people write it.

    Parameters
    ----------
    count
        How many.
    per
        In what: ``30d``, ``100000rows``.
    """

    count: float
    per: str

    def __str__(self) -> str:
        return f"{self.count:g}/{self.per}"

    @classmethod
    def parse(cls, text: str, option: str) -> Allowance:
        """Read ``1/30d``; errors name the option.

        Raises
        ------
        ConfigError
            Where it is no count per period.
        """
        try:
            return cls(*parse_allowance(text))
        except ConfigError as error:
            raise ConfigError(f"{option}: {error.message}", remedy=error.remedy) from error


@dataclass(frozen=True, slots=True)
class Settings:
    """What a backtest is asked to do.

    Parameters
    ----------
    budget
        False incidents put up with.
    compare
        Other budgets to try in the same pass; None leaves the choice to the number of rows.
    label_delay
        How long after its prediction a label is known.
    min_effect
        As for `Engine`; None is its default.
    learn_rows
        Rows that become the reference where there is none; None is the engine's default.
    """

    budget: Allowance = Allowance(1, "30d")
    compare: tuple[Allowance, ...] | None = None
    label_delay: Period = _AT_ONCE
    min_effect: float | None = None
    learn_rows: int | None = None

    @classmethod
    def parse(
        cls,
        *,
        false_incidents: str,
        compare: str | None,
        label_delay: str,
        min_effect: float | None,
        learn_rows: int | None,
    ) -> Settings:
        """Read the options of the command line.

        Raises
        ------
        ConfigError
            Where one of them is not valid; names the option.
        """
        try:
            delay = parse_count_or_duration(label_delay)
        except ConfigError as error:
            raise ConfigError(f"--label-delay: {error.message}", remedy=error.remedy) from error
        if min_effect is not None and not 0 <= min_effect < 1:
            raise ConfigError(
                f"--min-effect {min_effect:g} is no total variation",
                remedy="give a share of rows from 0 to below 1, such as 0.02",
            )
        if learn_rows is not None and learn_rows < 1:
            raise ConfigError(
                f"--learn-rows {learn_rows} leaves nothing to learn from",
                remedy="give a few thousand rows",
            )
        others = None
        if compare is not None:
            parts = [part for part in compare.split(",") if part.strip()]
            others = tuple(Allowance.parse(part, "--compare") for part in parts)
        return cls(
            Allowance.parse(false_incidents, "--false-incidents"),
            others,
            delay,
            min_effect,
            learn_rows,
        )


def compared(settings: Settings, rows: int, most_rows: int) -> tuple[Allowance, ...]:
    """Return the other budgets to try: those asked for, else ten times stricter and looser.

    Parameters
    ----------
    settings
        What was asked for.
    rows, most_rows
        Rows there are, and up to which the default is worth its time.
    """
    if settings.compare is not None:
        return tuple(one for one in settings.compare if one != settings.budget)
    if rows >= most_rows:
        return ()
    stated = settings.budget
    return (
        Allowance(stated.count / _FACTOR, stated.per),
        Allowance(stated.count * _FACTOR, stated.per),
    )
