"""Training data in, everything a reference consists of out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otel_ml.errors import DataError
from otel_ml.profile.cells import Cells, NumericCells, moments
from otel_ml.profile.dependence import design_effects
from otel_ml.profile.derived import RESERVED, derive, derived_cells
from otel_ml.profile.features import (
    SCORE_BINS,
    check_columns,
    count_groups,
    feature_cells,
    prediction_cells,
    sensitivities,
)
from otel_ml.profile.frames import Columns, to_columns
from otel_ml.profile.joint import Joint
from otel_ml.profile.outcomes import GroupLayout
from otel_ml.profile.outputs import PREDICTION, SCORE, Outputs, read_outputs
from otel_ml.profile.profile import Layout, Profile
from otel_ml.profile.repeats import REPEATS_SOURCE, reference_repeats
from otel_ml.profile.season import Season
from otel_ml.profile.surrogate import as_measured, fit_effects, sensitivities_of
from otel_ml.profile.tables import LabelledRows, LabelTable, label_tables
from otel_ml.profile.tails import tail_designs
from otel_ml.profile.values import numeric_values
from otel_ml.types import FloatArray, IntArray, Task

__all__ = ["Given", "Parts", "build_parts"]


@dataclass(frozen=True, slots=True)
class Given:
    """Arguments of `Reference.build`, as documented there."""

    scores: object
    predictions: object
    labels: object
    slices: Mapping[str, Any]
    times: object
    clients: object
    categorical: frozenset[str]
    numeric: frozenset[str]
    sensitive: tuple[str, ...]
    ignore: tuple[str, ...]
    task: Task | None
    positive: str | None
    threshold: float
    predict: Callable[[Mapping[str, NDArray[Any]]], FloatArray] | None
    sensitivity: Mapping[str, float] | None
    min_group: int


@dataclass(frozen=True, slots=True)
class Parts:
    """What a reference consists of, as documented there."""

    task: Task
    features: tuple[str, ...]
    profile: Profile
    group_layout: GroupLayout | None
    outcomes: IntArray | None
    sensitivity: Mapping[str, float]
    joint: Joint | None
    season: Season
    designs: Mapping[str, float]
    effects: Mapping[str, FloatArray]
    repeats: tuple[int, int, int]
    tables: tuple[LabelTable, ...]


def build_parts(features: object, given: Given) -> Parts:
    """Return what a reference consists of.

    Raises
    ------
    DataError
        If columns have different lengths, a named column is missing, or there are no rows.
    """
    columns, extra, outputs = _read(features, given)
    base = _base_cells(columns, outputs, given)
    layout = Layout(tuple(base))
    data = dict(columns.data)
    if outputs.score is not None:
        data[SCORE] = outputs.score
    if outputs.predictions is not None:
        data[PREDICTION] = outputs.predictions
    codes = np.full((columns.n, len(base)), -1, dtype=np.int16)
    values = np.full(codes.shape, np.nan)
    for j, cells in enumerate(base):
        codes[:, j], found = cells.codes(data[cells.name])
        if found is not None:
            values[:, j] = found
    group_layout, outcomes = count_groups(
        outputs, columns, extra, given.sensitive, base, given.min_group
    )
    sliced = {**columns.data, **extra}
    joint = Joint.build(layout, tuple(columns.data), codes, values)
    clients = None if given.clients is None else np.asarray(given.clients, dtype=object)
    layout = Layout(
        (
            *base,
            *derived_cells(
                joint,
                None if joint is None else joint.held_out(codes, values),
                next((c for c in base if c.name == SCORE), None),
                np.isfinite(values[:, layout.index[SCORE]])
                if SCORE in layout.index
                else np.zeros(columns.n, dtype=bool),
                group_layout,
                []
                if group_layout is None
                else [g.codes(sliced[g.attribute]) for g in group_layout.groups],
                clients,
                given.min_group,
            ),
        )
    )
    more = len(layout.sources) - len(base)
    codes = np.pad(codes, ((0, 0), (0, more)), constant_values=-1)
    values = np.pad(values, ((0, 0), (0, more)), constant_values=np.nan)
    known = None if clients is None else clients.tolist()
    derive(layout, joint, group_layout, codes, values, sliced, known, held_out=True)
    times = _times(given.times, columns.n)
    order = np.arange(columns.n) if times is None else np.argsort(times, kind="stable")
    ordered, when = codes[order], None if times is None else times[order]
    season = Season.build(layout, ordered, when)
    found = design_effects(layout, ordered, season, when)
    found = tail_designs(layout, ordered, season, when, found)
    designs = {c.name: float(d) for c, d in zip(layout.sources, found, strict=True)}
    repeats, designs[REPEATS_SOURCE] = reference_repeats(
        {k: v[order] for k, v in columns.data.items()}, columns.n
    )
    # no source can show less dependence than most do
    designs[REPEATS_SOURCE] = max(designs[REPEATS_SOURCE], float(np.median(found)))
    effects: dict[str, FloatArray] = {}
    sensitivity: Mapping[str, float] = {}
    profile = _profile(layout, codes, values)
    if SCORE in layout.index:
        score = values[:, layout.index[SCORE]]
        effects = fit_effects(layout, tuple(columns.data), codes, score, values)
        sensitivity = sensitivities_of(effects, {name: _law(profile, name) for name in effects})
    measured = given.sensitivity
    if measured is None and given.predict is not None:
        measured = sensitivities(columns.data, given.predict)
    if measured is not None:
        effects = as_measured(effects, sensitivity, measured)
        sensitivity = measured
    return Parts(
        outputs.task,
        tuple(columns.data),
        profile,
        group_layout,
        outcomes,
        {k: float(v) for k, v in sensitivity.items() if np.isfinite(float(v))},
        joint,
        season,
        {name: round(value, 4) for name, value in designs.items()},
        {k: np.round(v, 9) for k, v in effects.items()},
        repeats,
        _tables(outputs, group_layout, sliced),
    )


def _tables(
    outputs: Outputs, layout: GroupLayout | None, columns: Mapping[str, NDArray[Any]]
) -> tuple[LabelTable, ...]:
    """Return calibration, or error and bias, of the rows whose label is known."""
    if outputs.labels is None or outputs.predictions is None:
        return ()
    n = len(outputs.labels)
    unknown = np.full(n, np.nan)
    if outputs.task == "regression":
        none = np.full(n, -1, dtype=np.int16)
        truth, _ = numeric_values(outputs.labels)
        predicted, _ = numeric_values(outputs.predictions)
        rows = LabelledRows(none, none, predicted, truth, ())
        return label_tables("regression", GroupLayout((), ()), rows)
    if layout is None:
        return ()
    rows = LabelledRows(
        layout.class_codes(outputs.predictions),
        layout.class_codes(outputs.labels),
        unknown if outputs.score is None else outputs.score,
        unknown,
        tuple(g.codes(columns[g.attribute]) for g in layout.groups),
    )
    return label_tables(outputs.task, layout, rows)


def _read(features: object, given: Given) -> tuple[Columns, Mapping[str, NDArray[Any]], Outputs]:
    columns = to_columns(features, ignore=given.ignore)
    stated = (given.scores, given.predictions, given.labels)
    if not columns.data:  # outputs alone can be watched, too
        rows = (len(np.asarray(v)) for v in stated if v is not None)
        columns = Columns(max(rows, default=0), {})
    extra = {str(k): np.asarray(v) for k, v in given.slices.items()}
    check_columns(columns, extra, tuple(given.categorical), tuple(given.numeric), given.sensitive)
    taken = [name for name in columns.data if name.startswith(RESERVED)]
    if taken:
        raise DataError(
            f"a feature is named {taken[0]!r}, as sources made of several columns are",
            remedy=f"rename it: names do not begin with {', '.join(RESERVED)}",
        )
    if given.clients is not None and len(np.asarray(given.clients)) != columns.n:
        raise DataError(
            f"{len(np.asarray(given.clients))} clients for {columns.n} rows",
            remedy="give one value per row",
        )
    outputs = read_outputs(columns.n, *stated, given.task, given.positive, given.threshold)
    return columns, extra, outputs


def _base_cells(columns: Columns, outputs: Outputs, given: Given) -> list[Cells]:
    out: list[Cells] = [
        feature_cells(
            name, column, name in given.categorical, name in given.numeric, given.min_group
        )
        for name, column in columns.data.items()
    ]
    if outputs.score is not None:
        out.append(NumericCells.build(SCORE, outputs.score, bins=SCORE_BINS))
    if outputs.predictions is not None:
        out.append(prediction_cells(outputs, given.min_group))
    return out


def _times(given: object, n: int) -> FloatArray | None:
    if given is None:
        return None
    times = np.asarray(given, dtype=np.float64)
    if times.shape != (n,):
        raise DataError(
            f"times of shape {times.shape} for {n} rows", remedy="give one time per row, in seconds"
        )
    return times


def _profile(layout: Layout, codes: NDArray[np.int16], values: FloatArray) -> Profile:
    profile = Profile(layout)
    for i, cells in enumerate(layout.sources):
        told = codes[:, i] >= 0
        profile.counts[i, : cells.size] = np.bincount(codes[told, i], minlength=cells.size)
        if isinstance(cells, NumericCells):
            profile.moments[i] = moments(values[:, i])
    return profile


def _law(profile: Profile, name: str) -> FloatArray:
    counts = profile.of(name).astype(np.float64)
    return np.asarray(counts / max(counts.sum(), 1.0))
