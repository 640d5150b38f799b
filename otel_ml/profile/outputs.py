"""Scores, predictions and labels as given in, task, classes, watched score and class keys out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.errors import DataError
from otel_ml.profile.values import category_keys, numeric_values
from otel_ml.types import FloatArray, Task

__all__ = ["PREDICTION", "SCORE", "Outputs", "as_scores", "decided", "read_outputs"]

SCORE: Final = "score"
PREDICTION: Final = "prediction"
_MAX_CLASSES: Final = 20


@dataclass(frozen=True)
class Outputs:
    """What a model puts out, brought to one form.

    Parameters
    ----------
    task
        Kind of model.
    classes
        Class keys; of a binary task the second is the positive one.
    score
        Score that is watched, shape ``(n,)``, or None.
    predictions, labels
        Class keys, or values of a regression, shape ``(n,)``, or None.
    """

    task: Task
    classes: tuple[str, ...]
    score: FloatArray | None
    predictions: NDArray[Any] | None
    labels: NDArray[Any] | None


def read_outputs(
    n: int,
    scores: object,
    predictions: object,
    labels: object,
    task: Task | None,
    positive: str | None,
    threshold: float,
) -> Outputs:
    """Return what a model puts out in one form.

    Parameters
    ----------
    n
        Number of rows.
    scores, predictions, labels
        As given; array-likes of `n` rows, or None.
    task, positive, threshold
        As for `Reference.build`.

    Raises
    ------
    DataError
        If one of them has another number of rows, or the positive class is not among the labels.
    """
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
        return Outputs(task, (), None, None if value is None else numeric_values(value)[0], label)
    classes = _classes(label, pred, positive, score if matrix else None, task)
    keys = None if pred is None else category_keys(pred)
    if score is not None:
        score = as_scores(score)
        if keys is None:
            keys = decided(classes, score, threshold, task)
        if matrix:
            score = score[:, 1] if task == "binary" else score.max(axis=1)
    return Outputs(
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
