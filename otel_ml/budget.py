"""The one number a team states in, the evidence that must be exceeded out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from otel_ml.config import parse_period
from otel_ml.errors import ConfigError

__all__ = ["EVALUATION_ROWS", "EVALUATION_SECONDS", "Budget"]

EVALUATION_ROWS: Final = 50
EVALUATION_SECONDS: Final = 10.0
_DAY: Final = 86_400.0
_ROWS_PER_DAY: Final = 1_000_000.0  # traffic ceiling assumed where none is stated


@dataclass(frozen=True, slots=True)
class Budget:
    """False incidents a team puts up with, per model.

    Parameters
    ----------
    false_incidents
        How many.
    per
        In what: ``30d``, ``24h``, or predictions such as ``100000rows``.
    rows_per_day
        Ceiling of the traffic; turns a period of time into evaluations. One million predictions a
        day if left out.

    Examples
    --------
    >>> Budget(1, per="100000rows").evaluations
    2000.0
    """

    false_incidents: float = 1.0
    per: str = "30d"
    rows_per_day: float | None = None

    def __post_init__(self) -> None:
        if not self.false_incidents > 0:
            raise ConfigError(
                f"a budget of {self.false_incidents} false incidents would never let one through",
                remedy="state a number above zero, such as 1 per 30d",
            )
        parse_period(self.per)

    @property
    def in_rows(self) -> bool:
        """Whether the budget is stated in predictions, not in time."""
        return parse_period(self.per).rows is not None

    @property
    def evaluations(self) -> float:
        """Evaluations per false incident allowed: the threshold of the model's evidence."""
        period = parse_period(self.per)
        if period.rows is not None:
            return max(period.rows / EVALUATION_ROWS / self.false_incidents, 1.0)
        assert period.seconds is not None
        daily = (self.rows_per_day or _ROWS_PER_DAY) / EVALUATION_ROWS + _DAY / EVALUATION_SECONDS
        return max(period.seconds / _DAY * daily / self.false_incidents, 1.0)
