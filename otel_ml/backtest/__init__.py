"""Historical data in; what would have fired, when and why, and what other budgets would do, out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from otel_ml.backtest.api import run
    from otel_ml.backtest.report import Report
    from otel_ml.backtest.roles import Roles

__all__ = ["Report", "Roles", "run"]

# loaded when first used: the command line reads the roles without the weight of the engine
_HOME: Final = {
    "Report": "otel_ml.backtest.report",
    "Roles": "otel_ml.backtest.roles",
    "run": "otel_ml.backtest.api",
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
