"""The same column roles as options of every verb that reads a table."""

from __future__ import annotations

import argparse
from dataclasses import fields

from otel_ml.backtest.roles import Roles
from otel_ml.errors import ConfigError

__all__ = ["add_roles", "names", "roles_of"]


def names(text: str) -> tuple[str, ...]:
    """Return the names in a comma-separated list."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def add_roles(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what the columns of a table are."""
    roles = parser.add_argument_group("column roles", "what is not given is inferred, and said")
    roles.add_argument(
        "--score",
        type=names,
        default=(),
        metavar="COLUMN[,…]",
        help="probability of the positive class, or one column per class",
    )
    roles.add_argument("--prediction", metavar="COLUMN", help="predicted class or value")
    roles.add_argument("--label", metavar="COLUMN", help="true class or value")
    roles.add_argument("--timestamp", metavar="COLUMN", help="time of the row; never a feature")
    roles.add_argument("--id", metavar="COLUMN", help="id of the row; never a feature")
    roles.add_argument("--client", metavar="COLUMN", help="who asked; never a feature")
    roles.add_argument("--labeller", metavar="COLUMN", help="who gave the label; never a feature")
    roles.add_argument(
        "--version", metavar="COLUMN", help="version of the model that answered; never a feature"
    )
    roles.add_argument(
        "--sensitive",
        type=names,
        default=(),
        metavar="COLUMN[,…]",
        help="columns by which fairness is watched; they stay features",
    )
    roles.add_argument(
        "--slice",
        type=names,
        default=(),
        metavar="COLUMN[,…]",
        help="columns by which performance is split",
    )
    roles.add_argument(
        "--ignore", type=names, default=(), metavar="COLUMN[,…]", help="columns to leave out"
    )
    roles.add_argument(
        "--categorical",
        type=names,
        default=(),
        metavar="COLUMN[,…]",
        help="numeric columns that are codes: counted by value",
    )
    roles.add_argument("--task", choices=("binary", "multiclass", "regression"))
    roles.add_argument("--positive", metavar="LABEL", help="positive class of a binary task")
    roles.add_argument(
        "--threshold",
        type=float,
        default=0.5,
        metavar="P",
        help="score from which a binary model decides for the positive class (default: 0.5)",
    )


def roles_of(arguments: argparse.Namespace) -> Roles:
    """Return the roles that the options of `add_roles` gave.

    Raises
    ------
    ConfigError
        If the threshold is no probability.
    """
    if not 0 <= arguments.threshold <= 1:
        raise ConfigError(
            f"--threshold {arguments.threshold:g} is no probability", remedy="give one from 0 to 1"
        )
    return Roles(**{field.name: getattr(arguments, field.name) for field in fields(Roles)})
