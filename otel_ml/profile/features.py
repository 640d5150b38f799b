"""Named columns in, the cells of features and groups, and how much the model uses each, out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.errors import DataError
from otel_ml.profile.cells import CategoryCells, Cells, NumericCells
from otel_ml.profile.frames import Columns
from otel_ml.profile.outcomes import GroupLayout, Groups
from otel_ml.profile.outputs import PREDICTION, SCORE, Outputs
from otel_ml.profile.values import category_key
from otel_ml.types import FloatArray, IntArray

__all__ = [
    "SCORE_BINS",
    "check_columns",
    "count_groups",
    "feature_cells",
    "is_categorical",
    "prediction_cells",
    "sensitivities",
]

SCORE_BINS: Final = 20
_OUTPUTS: Final = frozenset({SCORE, PREDICTION})
_NUMERIC_BINS: Final = 12
_BANDS: Final = 4
_MAX_GROUPS: Final = 20


def check_columns(
    columns: Columns,
    extra: Mapping[str, NDArray[Any]],
    categorical: Sequence[str],
    numeric: Sequence[str],
    sensitive: Sequence[str],
) -> None:
    """Check that named columns are there and all have the same length.

    Raises
    ------
    DataError
        If not; names the column and the option that asks for it.
    """
    if columns.n == 0:
        raise DataError("the reference has no rows", remedy="give at least a few hundred rows")
    reserved = sorted(_OUTPUTS & set(columns.data))
    if reserved:
        raise DataError(
            f"a feature is named {reserved[0]!r}, which is the name of an output",
            remedy="rename the column, or pass it as scores or predictions",
        )
    for option, names in (("categorical", categorical), ("numeric", numeric)):
        for name in names:
            columns.require(name, option)
    for name in sensitive:
        if name not in extra:
            columns.require(name, "sensitive", also=tuple(extra))
    for name, column in extra.items():
        if len(column) != columns.n:
            raise DataError(
                f"slice {name!r} has {len(column)} rows, the features have {columns.n}",
                remedy="give one value per row",
            )


def feature_cells(
    name: str, column: NDArray[Any], categorical: bool, numeric: bool, min_group: int
) -> Cells:
    """Return the cells of a feature, by value or by quantile."""
    if categorical or (not numeric and is_categorical(column)):
        return CategoryCells.build(name, column, min_group=min_group)
    return NumericCells.build(name, column, bins=_NUMERIC_BINS)


def is_categorical(column: NDArray[Any]) -> bool:
    """Tell whether a column is counted by value: text and booleans are, numbers are binned."""
    if column.dtype.kind not in "OUS":
        return column.dtype.kind == "b"
    known = [k for k in column[:1000].tolist() if category_key(k) is not None]
    return not known or not all(
        isinstance(k, (int, float, np.number, Decimal, Fraction))
        and not isinstance(k, (bool, np.bool_))
        for k in known
    )


def prediction_cells(outputs: Outputs, min_group: int) -> Cells:
    """Return the cells of the predictions: every class, or quantiles of a regression."""
    assert outputs.predictions is not None
    if outputs.task == "regression":
        return NumericCells.build(PREDICTION, outputs.predictions, bins=SCORE_BINS)
    # a class without a single prediction in the reference is known all the same
    built = CategoryCells.build(PREDICTION, outputs.predictions, min_group=min_group)
    known = (*built.categories, *(c for c in outputs.classes if c not in built.categories))
    return CategoryCells(PREDICTION, known)


def count_groups(
    outputs: Outputs,
    columns: Columns,
    extra: Mapping[str, NDArray[Any]],
    sensitive: Sequence[str],
    sources: Sequence[Cells],
    min_group: int,
) -> tuple[GroupLayout | None, IntArray | None]:
    """Return the groups of the slicing columns, and confusion counts where labels are known."""
    if not outputs.classes or outputs.predictions is None:
        return None, None
    by_name = {cells.name: cells for cells in sources}
    groups = []
    for name in dict.fromkeys((*sensitive, *extra)):
        column = extra[name] if name in extra else columns.data[name]
        cells = by_name.get(name)
        if isinstance(cells, NumericCells) or (cells is None and not is_categorical(column)):
            bands: Cells = NumericCells.build(name, column, bins=_BANDS)
        else:
            bands = CategoryCells.build(name, column, top=_MAX_GROUPS, min_group=min_group)
        groups.append(Groups(name, bands))
    layout = GroupLayout(outputs.classes, tuple(groups))
    if outputs.labels is None:
        return layout, None
    codes = [
        g.codes(extra[g.attribute] if g.attribute in extra else columns.data[g.attribute])
        for g in groups
    ]
    return layout, layout.count(
        layout.class_codes(outputs.predictions), layout.class_codes(outputs.labels), codes
    )


def sensitivities(
    data: Mapping[str, NDArray[Any]],
    predict: Callable[[Mapping[str, NDArray[Any]]], FloatArray],
) -> dict[str, float]:
    """Return the mean absolute change of the score when a feature is shuffled, by feature.

    Measured on up to 2,000 rows, with a fixed seed.
    """
    rng = np.random.default_rng(0)
    n = len(next(iter(data.values())))
    rows = rng.permutation(n)[:2000]
    base = {name: column[rows] for name, column in data.items()}
    score = np.asarray(predict(base), dtype=np.float64)
    out = {}
    for name, column in base.items():
        moved = np.asarray(predict({**base, name: rng.permutation(column)}), dtype=np.float64)
        out[name] = float(np.mean(np.abs(moved - score)))
    return out
