"""Captured calls in, batches per model out: all conversion of user objects happens here.

Runs in the worker. A call whose features cannot be read is still a prediction: it is counted
without them. Only what has no row count at all is dropped, with a reason.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.batches import join_batches
from otel_ml.profile.frames import to_columns
from otel_ml.profile.values import category_keys
from otel_ml.reading import array, checked, table
from otel_ml.types import Batch, Captured, FloatArray

__all__ = ["Converted", "convert", "join_batches", "pseudonym"]

_SCORING: Final = ("predict_proba", "predict_log_proba")
_DECIDING: Final = ("predict",)
_PARTS: Final = (dict, list, tuple, set, frozenset, np.ndarray)
_TOLD: Final = frozenset((*_SCORING, *_DECIDING))
_MAX_CLIENT_CHARS: Final = 16


@dataclass(frozen=True)
class Converted:
    """What became of one call.

    Parameters
    ----------
    batch
        Its rows, or None where there is nothing to count.
    problem
        Drop reason where it was not taken, or "".
    unreadable
        Why its inputs or its outputs are left out of the batch, or "".
    """

    batch: Batch | None
    problem: str = ""
    unreadable: str = ""


def pseudonym(client: str, key: bytes) -> str:
    """Return the keyed hash under which a client is known, 16 hex digits."""
    digest = hmac.new(key, client.encode("utf-8", "surrogatepass"), hashlib.sha256)
    return digest.hexdigest()[:_MAX_CLIENT_CHARS]


def convert(
    call: Captured,
    *,
    names: Sequence[str] = (),
    positive: str | None = None,
    ignore: Sequence[str] = (),
    key: bytes = b"",
) -> Converted:
    """Convert one captured call.

    Parameters
    ----------
    call
        As the request path left it.
    names
        Feature names of the reference, for arrays without names.
    positive
        Positive class of a binary model.
    ignore
        Columns to leave out.
    key
        Key of client pseudonyms.

    Returns
    -------
    Converted
        A batch, or the reason why there is none.
    """
    durations = None if call.duration_ns < 0 else np.array([call.duration_ns / 1e9])
    if call.error is not None:
        return Converted(Batch(0, {}, durations=None, errors=(call.error,)))
    if call.extra is not None:
        return _by_hand(call, names, ignore)
    outputs = {call.method: call.output, **(call.outputs or {})}
    try:
        scores, predictions = _outputs(outputs, call.model, positive)
    except Exception:  # objects of the application: they may raise anything
        scores, predictions = None, None
    n = _rows(scores, predictions, outputs.values())
    features, unreadable = _features(call, names, ignore)
    if n is None:
        if not features:
            return Converted(None, "output_shape")
        n = len(next(iter(features.values())))
    if features and len(next(iter(features.values()))) != n:
        features, unreadable = {}, "shape"
    if scores is not None and len(scores) != n:
        scores, unreadable = None, "output_shape"
    elif scores is None and predictions is None and _TOLD & outputs.keys():
        unreadable = "output_shape"
    scores, invalid = (None, 0) if scores is None else checked(scores)
    return Converted(
        Batch(
            n,
            features,
            predictions=predictions,
            scores=scores,
            ids=_ids(call.prediction_id or call.alias, n),  # nobody was told another one
            aliases=None if call.alias is None else _ids(call.alias, n),
            clients=None if call.client is None else [pseudonym(call.client, key)] * n,
            durations=durations,
            sizes=np.array([n], dtype=np.int64),
            invalid=invalid,
        ),
        unreadable=unreadable,
    )


def _ids(base: str | None, n: int) -> list[str] | None:
    if base is None:
        return None
    return [base] if n == 1 else [f"{base}-{i}" for i in range(n)]


def _features(
    call: Captured, names: Sequence[str], ignore: Sequence[str]
) -> tuple[Mapping[str, NDArray[Any]], str]:
    """Return columns by name, and why there are none, or ""."""
    own = _attribute(call.model, "feature_names_in_")
    try:
        known = () if own is None else tuple(str(name) for name in own)
        return table(call.features, (known, names), ignore).data, ""
    except Exception:  # as above
        return {}, "invalid_input"


def _outputs(
    outputs: Mapping[str, object], model: object, positive: str | None
) -> tuple[FloatArray | None, NDArray[Any] | None]:
    scores: FloatArray | None = None
    predictions: NDArray[Any] | None = None
    classes = _attribute(model, "classes_")
    for method, output in outputs.items():
        if output is None or (
            isinstance(output, (list, tuple))
            and method in _SCORING
            and (len(output) and isinstance(output[0], np.ndarray))
        ):
            continue  # multi-output: one matrix per output, watched when there is a convention
        values = np.asarray(output)
        if values.ndim == 0 and values.dtype == object:
            continue  # nothing that numpy can read: its text would become a class
        if method in _SCORING and values.ndim in (1, 2) and values.dtype.kind == "f":
            values = np.exp(values) if method == "predict_log_proba" else values
            scores = _probabilities(values.astype(np.float64), classes, positive)
            if scores is not None and scores.ndim == 2 and scores.shape[1] > 2:
                known = _labels(classes, scores.shape[1])
                predictions = (
                    known[np.argmax(scores, axis=1)] if predictions is None else predictions
                )
        elif method in _DECIDING and values.ndim <= 2:
            flat = values.reshape(-1) if values.ndim < 2 or values.shape[1] == 1 else None
            if flat is not None and _are_decisions(flat):
                classifier = classes is not None or values.dtype.kind not in "f"
                predictions = category_keys(flat) if classifier else flat.astype(np.float64)
    return scores, predictions


def _are_decisions(values: NDArray[Any]) -> bool:
    """Say whether these are classes or numbers: not records, boxes or objects without a name."""
    if values.dtype != object:
        return values.dtype.kind not in "cV"
    for kind in set(map(type, values.tolist())):
        if issubclass(kind, _PARTS):
            return False
        if kind.__repr__ is object.__repr__ and kind.__str__ is object.__str__:
            return False  # its text is where it lies in memory: a class for each prediction
    return True


def _labels(classes: Any, k: int) -> NDArray[Any]:
    if classes is not None and len(classes) == k:
        return category_keys(np.asarray(classes))
    return np.array([str(i) for i in range(k)], dtype=object)


def _probabilities(values: FloatArray, classes: Any, positive: str | None) -> FloatArray | None:
    if 0 in values.shape[1:]:
        return None
    if values.ndim == 2 and values.shape[1] == 2 and positive is not None:
        known = _labels(classes, 2).tolist()
        if known.index(positive) == 0 if positive in known else False:
            return np.ascontiguousarray(values[:, ::-1])
    return values


def _rows(scores: Any, predictions: Any, outputs: Iterable[object]) -> int | None:
    for value in (predictions, scores):
        if value is not None:
            return len(value)
    for output in outputs:
        if isinstance(output, np.ndarray) and output.ndim:
            return len(output)
        if isinstance(output, (list, tuple)) and output:
            first = output[0]
            return len(first) if isinstance(first, np.ndarray) and first.ndim else len(output)
        shape = getattr(output, "shape", None)
        if isinstance(shape, tuple) and shape and isinstance(shape[0], int):
            return shape[0]
    return None


def _attribute(model: object, name: str) -> Any:
    """Return an attribute of the user's model; whatever its code raises means there is none."""
    try:
        return getattr(model, name, None)
    except Exception:
        return None


def _by_hand(call: Captured, names: Sequence[str], ignore: Sequence[str]) -> Converted:
    try:
        return _given(call, call.extra or {}, names, ignore)
    except Exception:  # as above
        return Converted(None, "invalid_input")


def _given(
    call: Captured, extra: Mapping[str, Any], names: Sequence[str], ignore: Sequence[str]
) -> Converted:
    scores, predictions = extra.get("scores"), extra.get("predictions")
    score = None if scores is None else np.asarray(scores, dtype=np.float64)
    decided = None if predictions is None else array(predictions)
    if decided is not None and decided.ndim == 2 and decided.shape[1] == 1:
        decided = decided[:, 0]
    if score is not None and (score.ndim not in (1, 2) or 0 in score.shape[1:]):
        return Converted(None, "output_shape")
    if decided is not None and decided.ndim != 1:
        return Converted(None, "output_shape")
    lengths = [len(v) for v in (score, decided) if v is not None]
    unreadable = ""
    if decided is not None and not _are_decisions(decided):
        decided, unreadable = None, "output_shape"
    elif decided is not None and decided.dtype.kind != "f":
        decided = category_keys(decided)
    slices = to_columns(extra.get("slices") or {})
    features: Mapping[str, NDArray[Any]] = {}
    if call.features is not None:
        try:
            features = table(call.features, (names,), ignore).data
        except Exception:
            if not lengths:
                raise
            unreadable = "invalid_input"
    n = len(next(iter(features.values()))) if features else (lengths[0] if lengths else slices.n)
    ids, times = extra.get("ids"), extra.get("event_times")
    others = [*lengths, *(len(given) for given in (ids, times) if given is not None)]
    if any(length != n for length in others) or (slices.data and slices.n != n):
        return Converted(None, "shape")
    if n == 0:
        given = (call.features, scores, predictions)
        if all(value is None for value in given):
            return Converted(None, "invalid_input")
        return Converted(Batch(0, {}, sizes=np.zeros(1, dtype=np.int64)))
    invalid = 0
    if score is not None:
        score, invalid = checked(score)
    return Converted(
        Batch(
            n,
            features,
            predictions=decided,
            scores=score,
            ids=None if ids is None else [str(i) for i in ids],
            slices={k: category_keys(v) for k, v in slices.data.items()},
            event_times=None if times is None else np.asarray(times, dtype=np.float64),
            durations=None if call.duration_ns < 0 else np.array([call.duration_ns / 1e9]),
            sizes=np.array([n], dtype=np.int64),
            invalid=invalid,
        ),
        unreadable=unreadable,
    )
