"""The backtest as a function: data, a reference and column roles in, a report out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from otel_ml.backtest.feed import Feed
from otel_ml.backtest.replay import Progress, Replay
from otel_ml.backtest.report import Report, report_of
from otel_ml.backtest.roles import Roles, build_reference
from otel_ml.backtest.settings import Settings
from otel_ml.errors import DataError
from otel_ml.profile import Reference
from otel_ml.profile.columns import Columns
from otel_ml.profile.frames import read_table, to_columns
from otel_ml.types import ModelKey, Task

__all__ = ["backtest", "run"]

_MODEL: Final = "model"
_COMPARED: Final = frozenset(
    {"--score", "--prediction", "--label", "--sensitive", "--slice", "--categorical"}
)


def run(
    data: object,
    reference: object = None,
    *,
    score: str | Sequence[str] = (),
    prediction: str | None = None,
    label: str | None = None,
    timestamp: str | None = None,
    id: str | None = None,
    client: str | None = None,
    labeller: str | None = None,
    version: str | None = None,
    sensitive: Sequence[str] = (),
    slice: Sequence[str] = (),
    ignore: Sequence[str] = (),
    categorical: Sequence[str] = (),
    task: Task | None = None,
    positive: str | None = None,
    threshold: float = 0.5,
    label_delay: str = "0rows",
    false_incidents: str = "1/30d",
    compare: str | None = None,
    min_effect: float | None = None,
    learn_rows: int | None = None,
    model: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Run historical data through the engine.

    Parameters
    ----------
    data
        A parquet or CSV file, a pattern, a folder, several of them, a DataFrame, or a mapping of
        columns; in the order in which the rows came.
    reference
        A table as above, a reference file (.json), a `Reference`, or None: the first rows of the
        data become it.
    score, prediction, label, timestamp, id, client, labeller, version
        Names of the columns that have these roles.
    sensitive, slice, ignore, categorical
        Names of columns, as for ``otel-ml init``.
    task, positive, threshold
        As for `Reference.build`.
    label_delay
        When a label is known: so many rows, or so much time in the data, after its prediction.
    false_incidents
        The budget, such as ``1/30d`` or ``1/100000rows``.
    compare
        Other budgets to try in the same pass, separated by commas; ``""`` for none. Ten times
        stricter and looser below a million rows if left out.
    min_effect
        Total variation below which drift never alarms.
    learn_rows
        Rows that become the reference where there is none.
    model
        Name of the model.
    progress
        Called with rows done, rows in all and open incidents.

    Returns
    -------
    Report
        Incidents, performance, fairness, drift and the other budgets.

    Raises
    ------
    DataError
        If a file or a column that is asked for is nowhere, or the reference cannot be built.
    ConfigError
        If an option is not valid.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> train = {"x": rng.normal(size=4000)}
    >>> live = {"x": np.concatenate([rng.normal(size=2000), rng.normal(1, 1, size=1000)])}
    >>> report = run(live, train, false_incidents="1/100000rows")
    >>> [one["members"][0]["target"] for one in report.incidents]
    ['x']
    """
    roles = Roles(
        score=(score,) if isinstance(score, str) else tuple(score),
        prediction=prediction,
        label=label,
        timestamp=timestamp,
        id=id,
        client=client,
        labeller=labeller,
        version=version,
        sensitive=tuple(sensitive),
        slice=tuple(slice),
        ignore=tuple(ignore),
        categorical=tuple(categorical),
        task=task,
        positive=positive,
        threshold=threshold,
    )
    settings = Settings.parse(
        false_incidents=false_incidents,
        compare=compare,
        label_delay=label_delay,
        min_effect=min_effect,
        learn_rows=learn_rows,
    )
    return backtest(data, reference, roles, settings, model=model, progress=progress)


def backtest(
    data: object,
    reference: object,
    roles: Roles,
    settings: Settings,
    *,
    model: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Run historical data through the engine; `run` with its options checked.

    Parameters
    ----------
    data, reference
        As for `run`.
    roles
        What the columns are.
    settings
        What is asked for.
    model, progress
        As for `run`.

    Raises
    ------
    DataError
        As for `run`.
    """
    feed = Feed.of(data)
    notes: list[str] = []
    known, names, table = _reference(reference, roles, feed, model)
    for option, column in roles.columns():
        if column in feed.names or not feed.names:
            continue
        if column not in names:
            empty = np.empty(0)
            every = Columns(0, dict.fromkeys((*feed.names, *names), empty), feed.where)
            every.require(column, option)
        notes.append(f"The data have no column {column!r} ({option}).")
    for option, column in roles.columns():
        if table and column not in names and option in _COMPARED:
            notes.append(f"The reference has no column {column!r} ({option}).")
    replay = Replay(
        feed,
        known,
        roles.within(feed.names),
        settings,
        ModelKey(
            model or (_MODEL if known is None else known.model_name),
            None if known is None else known.model_version,
        ),
    )
    replay.run(progress)
    return report_of(replay, notes)


def _reference(
    given: object, roles: Roles, feed: Feed, model: str | None
) -> tuple[Reference | None, frozenset[str], bool]:
    """Return the reference, the columns it knows, and whether they are all those of a table."""
    if given is None:
        return None, frozenset(), False
    if isinstance(given, (str, Path)) and Path(given).suffix.lower() == ".json":
        if not Path(given).is_file():
            raise DataError(f"{given}: no such file", remedy="check the path")
        given = Reference.load(given)
    if isinstance(given, Reference):
        groups = () if given.group_layout is None else given.group_layout.groups
        known = frozenset((*given.features, *(group.attribute for group in groups)))
        return given, known, False
    if isinstance(given, (str, Path)):
        table = read_table(Path(given))
        stem = Path(given).name.lstrip(".").split(".")[0]
    else:
        table, stem = to_columns(given, where="reference"), _MODEL
    for option, column in roles.columns():
        if column not in table.data and column not in feed.names:
            table.require(column, option, also=feed.names)
    built = build_reference(table, roles.within(table.data), model or stem, name_clients=True)
    return built, frozenset(table.data), True
