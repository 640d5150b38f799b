"""A table and what its columns are in, a reference out; and which columns are no features."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from otel_ml.backtest.times import Timestamps
from otel_ml.errors import DataError
from otel_ml.profile import Reference
from otel_ml.profile.columns import Columns
from otel_ml.profile.values import category_keys, numeric_values
from otel_ml.types import FloatArray, Task

__all__ = ["Roles", "build_reference"]

_SINGLE = ("prediction", "label", "timestamp", "id", "client", "labeller", "version")
_MANY = ("score", "sensitive", "slice", "ignore", "categorical")


@dataclass(frozen=True, slots=True)
class Roles:
    """What the columns of a table are; the rest are features.

    Parameters
    ----------
    score
        Probability of the positive class, or one column per class.
    prediction, label
        Predicted and true class or value.
    timestamp, id, client
        Time, id and caller of the row.
    labeller, version
        Who gave the label, and which version of the model answered.
    sensitive, slice
        Columns by which fairness and performance are split; they stay features.
    ignore, categorical
        Columns to leave out, and numeric columns that are codes.
    task, positive, threshold
        As for `Reference.build`.
    """

    score: tuple[str, ...] = ()
    prediction: str | None = None
    label: str | None = None
    timestamp: str | None = None
    id: str | None = None
    client: str | None = None
    labeller: str | None = None
    version: str | None = None
    sensitive: tuple[str, ...] = ()
    slice: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    task: Task | None = None
    positive: str | None = None
    threshold: float = 0.5

    def columns(self) -> Iterator[tuple[str, str]]:
        """Yield option and column of every role that is given."""
        for name in _SINGLE:
            column = getattr(self, name)
            if column is not None:
                yield f"--{name}", column
        for name in _MANY:
            for column in getattr(self, name):
                yield f"--{name}", column

    @property
    def outside(self) -> frozenset[str]:
        """Columns that are no features."""
        single = (getattr(self, name) for name in _SINGLE)
        return frozenset((*self.score, *self.ignore, *(c for c in single if c is not None)))

    @property
    def groups(self) -> tuple[str, ...]:
        """Columns by which performance is split."""
        return tuple(dict.fromkeys((*self.sensitive, *self.slice)))

    def within(self, names: Collection[str]) -> Roles:
        """Return the roles whose columns are among some names; scores go together or not at all."""
        kept: dict[str, Any] = {
            name: value
            for name in _SINGLE
            if (value := getattr(self, name)) is not None and value not in names
        }
        changes: dict[str, Any] = dict.fromkeys(kept)
        for name in _MANY:
            changes[name] = tuple(c for c in getattr(self, name) if c in names)
        if len(changes["score"]) < len(self.score):
            changes["score"] = ()
        return replace(self, **changes)


def build_reference(
    table: Columns,
    roles: Roles,
    model: str,
    version: str | None = None,
    *,
    name_clients: bool = False,
) -> Reference:
    """Build a reference from a table and its column roles.

    Parameters
    ----------
    table
        Training or validation data, with the outputs of the model where they are known.
    roles
        What its columns are; each has to be there.
    model, version
        Which model it belongs to.
    name_clients
        Whether clients are counted under the names in the table. Live traffic knows pseudonyms
        only, so a reference for it must not.

    Raises
    ------
    DataError
        If the table has no rows, a column that a role names is missing, or roles and columns
        contradict each other; names the file.
    """
    if table.n == 0:
        raise DataError(
            f"{table.where}: the table has no rows", remedy="give at least a few hundred rows"
        )
    for option, column in roles.columns():
        table.require(column, option)
    times = None
    if roles.timestamp is not None:
        times = Timestamps().seconds(table.data[roles.timestamp])
        if not np.isfinite(times).any():
            raise DataError(
                f"{table.where}: column {roles.timestamp!r} (asked for by `--timestamp`) holds no "
                "time that can be read",
                remedy="give ISO 8601 texts, times, or seconds since 1970",
            )
        table = _in_order(table, times)
        times = np.sort(times)  # a row without a time comes last, as in the table
    features = {name: column for name, column in table.data.items() if name not in roles.outside}
    if not features:
        raise DataError(
            f"{table.where}: no feature is left", remedy="name fewer columns in the roles"
        )
    scores = [_numbers(table, column) for column in roles.score]
    stacked = None if not scores else scores[0] if len(scores) == 1 else np.stack(scores, axis=1)
    try:
        reference = Reference.build(
            features,
            scores=stacked,
            predictions=None if roles.prediction is None else table.data[roles.prediction],
            labels=None if roles.label is None else table.data[roles.label],
            slices={name: table.data[name] for name in roles.groups if name not in features},
            sensitive=roles.groups,
            times=times,
            clients=table.data[roles.client] if name_clients and roles.client else None,
            categorical=roles.categorical,
            model_name=model,
            model_version=version,
            task=roles.task,
            positive=roles.positive,
            threshold=roles.threshold,
        )
    except DataError as error:
        raise DataError(f"{table.where}: {error.message}", remedy=error.remedy) from error
    _check(reference, table, roles)
    return reference


def _in_order(table: Columns, times: FloatArray) -> Columns:
    order = np.argsort(times, kind="stable")
    return Columns(table.n, {k: v[order] for k, v in table.data.items()}, table.where)


def _check(reference: Reference, table: Columns, roles: Roles) -> None:
    """Refuse what would be written without having an effect."""
    if reference.task != "binary" and roles.positive is not None:
        raise DataError(
            f"{table.where}: --positive {roles.positive} has no meaning, "
            f"the task is {reference.task}",
            remedy="leave it out, or give --task binary",
        )
    for option, column in (("label", roles.label), ("prediction", roles.prediction)):
        if column is None or reference.task != "binary":
            continue
        classes = {key for key in category_keys(table.data[column]).tolist() if key is not None}
        if len(classes) > 2:
            raise DataError(
                f"{table.where}: column {column!r} (asked for by `--{option}`) has {len(classes)} "
                "classes, a binary task has two",
                remedy=f"give --task multiclass, or another column as --{option}",
            )
    if reference.group_layout is None and roles.groups:
        raise DataError(
            f"{table.where}: no group can be watched (--sensitive, --slice): nothing says which "
            "class was predicted",
            remedy="add --prediction or the --score of each class of a classifier, "
            "or leave the options out",
        )


def _numbers(table: Columns, column: str) -> FloatArray:
    values, text = numeric_values(table.data[column])
    if text.any():
        found = table.data[column][text][0]
        raise DataError(
            f"{table.where}: column {column!r} (asked for by `--score`) holds {found!r}, "
            "which is no number",
            remedy="name the column with the probability",
        )
    return values
