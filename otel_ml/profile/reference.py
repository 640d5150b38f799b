"""Training data in, the frozen profile that production is compared with out.

A reference holds counts, never rows: cells and counts of every feature and output, confusion counts
per group where labels were given, and how sensitive the model is to each feature. No category or
group shared by fewer than *k* rows is named in it; the model's classes always are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.errors import DataError
from otel_ml.profile import io
from otel_ml.profile.cells import (
    CategoryCells,
    Cells,
    NumericCells,
    category_key,
    category_keys,
    moments,
    numeric_values,
)
from otel_ml.profile.frames import Columns, to_columns
from otel_ml.profile.outcomes import GroupLayout, Groups
from otel_ml.profile.profile import Layout, Profile
from otel_ml.types import FloatArray, IntArray, Task

__all__ = ["PREDICTION", "SCORE", "Reference"]

SCORE: Final = "score"
PREDICTION: Final = "prediction"
_OUTPUTS: Final = frozenset({SCORE, PREDICTION})
_NUMERIC_BINS: Final = 12
_SCORE_BINS: Final = 20
_BANDS: Final = 4
_MAX_GROUPS: Final = 20
_MAX_CLASSES: Final = 20


@dataclass(frozen=True)
class Reference:
    """The frozen profile of training data, or of the first traffic.

    Parameters
    ----------
    model_name, model_version
        Which model it belongs to.
    task
        Kind of model.
    features
        Feature names in the order of the model's matrix.
    profile
        Counts of every feature, and of ``score`` and ``prediction`` where they were given.
    group_layout
        Classes and slicing groups, or None without labels or classes.
    outcomes
        Confusion counts, shape ``(groups, predicted, true)``, or None without labels.
    sensitivity
        Mean absolute change of the score when a feature is shuffled, by feature.
    threshold
        Decision threshold on the score of a binary task.
    source
        ``data`` or ``traffic``.
    """

    model_name: str
    model_version: str | None
    task: Task
    features: tuple[str, ...]
    profile: Profile
    group_layout: GroupLayout | None = None
    outcomes: IntArray | None = None
    sensitivity: Mapping[str, float] = field(default_factory=dict)
    threshold: float = 0.5
    source: str = "data"

    @cached_property
    def sha256(self) -> str:
        """Checksum of the canonical form of everything in it."""
        return io.checksum(self.to_json())

    @property
    def id(self) -> str:
        """First 12 hex digits of the checksum."""
        return self.sha256[:12]

    @property
    def layout(self) -> Layout:
        """Sources and cells."""
        return self.profile.layout

    def rows(self, name: str) -> int:
        """Return the reference rows of one source."""
        return self.profile.rows(name)

    @classmethod
    def build(
        cls,
        features: object,
        *,
        scores: object = None,
        predictions: object = None,
        labels: object = None,
        slices: Mapping[str, Any] | None = None,
        categorical: Sequence[str] = (),
        numeric: Sequence[str] = (),
        sensitive: Sequence[str] = (),
        ignore: Sequence[str] = (),
        model_name: str,
        model_version: str | None = None,
        task: Task | None = None,
        positive: str | None = None,
        threshold: float = 0.5,
        sensitivity: Mapping[str, float] | None = None,
        predict: Callable[[Mapping[str, NDArray[Any]]], FloatArray] | None = None,
        min_group: int = 10,
        source: str = "data",
    ) -> Reference:
        """Build a reference from arrays, a mapping of columns or a DataFrame.

        Parameters
        ----------
        features
            Columns by name, a 2-D array (names become ``f0``, ``f1``, …) or a DataFrame (pandas,
            polars, arrow).
        scores
            Probability of the positive class, shape ``(n,)``, or of each class, ``(n, K)``.
        predictions
            Predicted classes or values, shape ``(n,)``; derived from the scores if left out.
        labels
            True classes or values, shape ``(n,)``; without them there is no reference performance.
        slices
            Slicing columns that are not features, by name.
        categorical, numeric
            Features to treat so; the rest is decided by type and number of distinct values.
        sensitive
            Features and slices by which performance and fairness are watched.
        ignore
            Columns to leave out.
        model_name, model_version
            Which model it belongs to.
        task
            Kind of model; inferred from scores, predictions and labels if left out.
        positive
            Positive class of a binary task; the larger of two labels if left out.
        threshold
            Decision threshold on the score.
        sensitivity
            Mean absolute change of the score when a feature is shuffled, by feature.
        predict
            Function from columns to scores, shape ``(n,)``; measures `sensitivity` on up to 2,000
            rows when given.
        min_group
            A category or group shared by fewer rows is never named.
        source
            ``data`` or ``traffic``.

        Returns
        -------
        Reference
            The frozen profile.

        Raises
        ------
        DataError
            If columns have different lengths, a named column is missing, or there are no rows.
        """
        columns = to_columns(features, ignore=ignore)
        extra = {str(k): np.asarray(v) for k, v in (slices or {}).items()}
        _check(columns, extra, categorical, numeric, sensitive)
        outputs = _outputs(columns.n, scores, predictions, labels, task, positive, threshold)
        sources: list[Cells] = [
            _feature_cells(name, column, name in set(categorical), name in set(numeric), min_group)
            for name, column in columns.data.items()
        ]
        data = dict(columns.data)
        if outputs.score is not None:
            sources.append(NumericCells.build(SCORE, outputs.score, bins=_SCORE_BINS))
            data[SCORE] = outputs.score
        if outputs.predictions is not None:
            sources.append(_prediction_cells(outputs, min_group))
            data[PREDICTION] = outputs.predictions
        layout = Layout(tuple(sources))
        profile = Profile(layout)
        for i, cells in enumerate(sources):
            codes, values = cells.codes(data[cells.name])
            profile.counts[i, : cells.size] = np.bincount(codes, minlength=cells.size)
            if values is not None:
                profile.moments[i] = moments(values)
        layout_and_counts = _count_groups(outputs, columns, extra, sensitive, sources, min_group)
        if sensitivity is None and predict is not None:
            sensitivity = _sensitivity(columns.data, predict)
        return cls(
            model_name=model_name,
            model_version=model_version,
            task=outputs.task,
            features=tuple(columns.data),
            profile=profile,
            group_layout=layout_and_counts[0],
            outcomes=layout_and_counts[1],
            sensitivity={
                k: float(v) for k, v in (sensitivity or {}).items() if np.isfinite(float(v))
            },
            threshold=threshold,
            source=source,
        )

    def save(self, path: str | Path) -> None:
        """Write the reference as one readable, checksummed JSON file, replacing it atomically."""
        io.write(Path(path), self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> Reference:
        """Read a reference file.

        Raises
        ------
        ReferenceError
            If the file is missing, damaged, of another version, or was changed by hand.
        """
        return cls.from_json(io.read(Path(path)), where=str(path))

    def to_json(self) -> dict[str, Any]:
        """Return the reference as plain JSON values."""
        return {
            "model": {"name": self.model_name, "version": self.model_version},
            "task": self.task,
            "threshold": self.threshold,
            "source": self.source,
            "features": list(self.features),
            "cells": self.layout.to_json(),
            "profile": self.profile.to_json(),
            "groups": None if self.group_layout is None else self.group_layout.to_json(),
            "outcomes": None if self.outcomes is None else self.outcomes.tolist(),
            "sensitivity": dict(sorted(self.sensitivity.items())),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], *, where: str = "reference") -> Reference:
        """Return the reference that `to_json` wrote."""
        with io.reading(where):
            layout = Layout.from_json(data["cells"])
            groups = None if data["groups"] is None else GroupLayout.from_json(data["groups"])
            outcomes = None
            if data["outcomes"] is not None and groups is not None:
                outcomes = np.array(data["outcomes"], dtype=np.int64).reshape(groups.shape)
            return cls(
                model_name=str(data["model"]["name"]),
                model_version=data["model"]["version"],
                task=data["task"],
                features=tuple(data["features"]),
                profile=Profile.from_json(layout, data["profile"]),
                group_layout=groups,
                outcomes=outcomes,
                sensitivity={str(k): float(v) for k, v in data["sensitivity"].items()},
                threshold=float(data["threshold"]),
                source=str(data["source"]),
            )


@dataclass(frozen=True)
class _Outputs:
    task: Task
    classes: tuple[str, ...]
    score: FloatArray | None
    predictions: NDArray[Any] | None
    labels: NDArray[Any] | None


def _check(
    columns: Columns,
    extra: Mapping[str, NDArray[Any]],
    categorical: Sequence[str],
    numeric: Sequence[str],
    sensitive: Sequence[str],
) -> None:
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


def _outputs(
    n: int,
    scores: object,
    predictions: object,
    labels: object,
    task: Task | None,
    positive: str | None,
    threshold: float,
) -> _Outputs:
    given = {
        name: None if value is None else np.asarray(value)
        for name, value in (("scores", scores), ("predictions", predictions), ("labels", labels))
    }
    for name, value in given.items():
        if value is not None and len(value) != n:
            raise DataError(
                f"{name} have {len(value)} rows, the features have {n}",
                remedy="give one value per row",
            )
    score, pred, label = given["scores"], given["predictions"], given["labels"]
    matrix = score is not None and score.ndim == 2 and score.shape[1] > 1
    if score is not None and score.ndim == 2 and score.shape[1] == 1:
        score = score[:, 0]
    if task is None:
        task = _infer_task(matrix, score, pred, label)
    if task == "regression":
        value = pred if pred is not None else score
        return _Outputs(task, (), None, None if value is None else numeric_values(value)[0], label)
    classes = _classes(label, pred, positive, score if matrix else None, task)
    keys = None if pred is None else category_keys(pred)
    if score is not None:
        score = as_scores(score)
        if keys is None:
            keys = decided(classes, score, threshold, task)
        if matrix:
            score = score[:, 1] if task == "binary" else score.max(axis=1)
    return _Outputs(
        task,
        classes,
        score,
        keys,
        None if label is None else category_keys(label),
    )


def as_scores(scores: NDArray[Any]) -> FloatArray:
    """Return scores as float64, shape ``(n,)`` or ``(n, K)``.

    Raises
    ------
    DataError
        If they are not numbers, or not one or one per class for every row.
    """
    if scores.ndim not in (1, 2):
        raise DataError(
            f"scores of shape {scores.shape}", remedy="give shape (n,), or (n, K) for K classes"
        )
    try:
        with np.errstate(over="ignore"):
            return scores.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"scores are not numbers ({error})",
            remedy="give probabilities; classes are predictions",
        ) from error


def decided(
    classes: Sequence[str], scores: FloatArray, threshold: float, task: Task
) -> NDArray[Any] | None:
    """Return the class keys that scores decide for, None where they cannot tell.

    Parameters
    ----------
    classes
        Known classes, in the order of the columns; further columns go by their number.
    scores
        Shape ``(n,)`` or ``(n, K)``.
    threshold
        Of the positive class.
    task
        Kind of model.

    Returns
    -------
    numpy.ndarray
        Shape ``(n,)``, object; None for a row whose score is not a number.
    """
    if scores.ndim == 2 and scores.shape[1] == 1:
        scores = scores[:, 0]
    if scores.ndim == 2 and task == "binary" and scores.shape[1] == 2:
        scores = scores[:, 1]
    finite: NDArray[np.bool_] = np.isfinite(scores)
    known = finite if scores.ndim == 1 else np.asarray(finite.all(axis=1))
    if scores.ndim == 2:
        more = [str(i) for i in range(len(classes), scores.shape[1])]
        names = np.array([*classes, *more], dtype=object)
        keys = names[np.argmax(np.where(known[:, None], scores, 0.0), axis=1)]
    elif len(classes) == 2:
        keys = np.array(classes, dtype=object)[(scores >= threshold) * 1]
    else:
        return None
    keys[~known] = None
    return np.asarray(keys)


def _infer_task(
    matrix: bool,
    score: NDArray[Any] | None,
    pred: NDArray[Any] | None,
    label: NDArray[Any] | None,
) -> Task:
    if matrix and score is not None:
        return "binary" if score.shape[1] == 2 else "multiclass"
    target = label if label is not None else pred
    if target is None:
        return "binary"
    distinct = len({k for k in category_keys(target).tolist() if k is not None})
    if score is not None or distinct <= 2:
        return "binary" if distinct <= 2 else "multiclass"
    return "regression" if target.dtype.kind == "f" or distinct > _MAX_CLASSES else "multiclass"


def _classes(
    label: NDArray[Any] | None,
    pred: NDArray[Any] | None,
    positive: str | None,
    score: NDArray[Any] | None,
    task: Task,
) -> tuple[str, ...]:
    seen: set[str] = set()
    for column in (label, pred):
        if column is not None:
            seen |= {k for k in category_keys(column).tolist() if k is not None}
    if not seen:
        seen = {str(i) for i in range(score.shape[1] if score is not None else 2)}
    if score is not None and all(k in {str(i) for i in range(score.shape[1])} for k in seen):
        seen = {str(i) for i in range(score.shape[1])}  # a class without a row has a column too
    ordered = sorted(seen, key=lambda k: (len(k), k) if k.lstrip("-").isdigit() else (99, k))
    if task == "binary":
        if len(ordered) == 1:
            ordered = ["0", "1"] if ordered[0] in {"0", "1"} else [f"not {ordered[0]}", *ordered]
        if positive is not None:
            if positive not in ordered:
                raise DataError(
                    f"positive class {positive!r} is not among the labels {ordered}",
                    remedy="name one of them, spelled as in the data",
                )
            ordered = [c for c in ordered if c != positive] + [positive]
    return tuple(ordered[:_MAX_CLASSES])


def _feature_cells(
    name: str, column: NDArray[Any], categorical: bool, numeric: bool, min_group: int
) -> Cells:
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


def _prediction_cells(outputs: _Outputs, min_group: int) -> Cells:
    assert outputs.predictions is not None
    if outputs.task == "regression":
        return NumericCells.build(PREDICTION, outputs.predictions, bins=_SCORE_BINS)
    # a class without a single prediction in the reference is known all the same
    built = CategoryCells.build(PREDICTION, outputs.predictions, min_group=min_group)
    known = (*built.categories, *(c for c in outputs.classes if c not in built.categories))
    return CategoryCells(PREDICTION, known)


def _count_groups(
    outputs: _Outputs,
    columns: Columns,
    extra: Mapping[str, NDArray[Any]],
    sensitive: Sequence[str],
    sources: Sequence[Cells],
    min_group: int,
) -> tuple[GroupLayout | None, IntArray | None]:
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


def _sensitivity(
    data: Mapping[str, NDArray[Any]],
    predict: Callable[[Mapping[str, NDArray[Any]]], FloatArray],
) -> dict[str, float]:
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
