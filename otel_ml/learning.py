"""The first traffic in, a frozen reference out, where nobody gave one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from otel_ml.errors import DataError
from otel_ml.profile import Reference
from otel_ml.profile.coder import encode
from otel_ml.profile.outputs import as_scores
from otel_ml.profile.season import slots
from otel_ml.profile.settling import FIRST_SHARE, unsettled_rows
from otel_ml.profile.values import category_key, numeric_values
from otel_ml.types import Batch, ModelKey

__all__ = ["Learner"]

_KEPT: Final = 100_000  # rows held at most, whatever `learn_rows` says
_KEPT_VALUES: Final = 1_000_000  # the same in values, where fewer rows are asked for
_LEAST_FIRST: Final = 50
_MOST_NAMES: Final = 10_000  # features; rows may each have names of their own
_KINDS: Final[Mapping[str, Any]] = {"clients": object, "event_times": np.float64}


class Learner:
    """Holds the first rows until they can become the reference.

    Parameters
    ----------
    model
        Name and version for the reference.
    target
        Rows that become the reference.
    options
        Keyword arguments of `Reference.build`.
    """

    def __init__(self, model: ModelKey, target: int, options: Mapping[str, Any]) -> None:
        self.model = model
        self.target = min(max(target, 1), _KEPT)
        self.options = dict(options)
        self.rows = 0
        self.left_out = 0
        self._batches: list[Batch] = []
        self._labels: dict[str, str] = {}

    @property
    def ready(self) -> bool:
        """Whether enough rows were seen."""
        return self.rows >= self.target

    @property
    def progress(self) -> float:
        """Share of the rows seen, 0 to 1."""
        return min(self.rows / self.target, 1.0)

    def add(self, batch: Batch) -> None:
        """Hold a batch; of a huge one only the first rows."""
        most = max(self.target, min(_KEPT, _KEPT_VALUES // max(len(batch.features), 1)))
        room = most - self.rows
        if batch.n > 0 and room > 0:
            self._batches.append(batch if batch.n <= room else _first(batch, room))
        self.rows += batch.n

    def add_labels(self, ids: Sequence[str], labels: Sequence[Any]) -> None:
        """Hold labels that come while learning."""
        for key, label in zip(ids, labels, strict=True):
            known = category_key(label)
            if known is not None and len(self._labels) < _KEPT:
                self._labels.setdefault(str(key), known)

    def freeze(self) -> tuple[Reference, list[tuple[Batch, int]], Mapping[str, str]]:
        """Return the reference, the batches that may still get labels, and labels that came."""
        try:
            return self._frozen()
        except Exception:
            self._postpone()
            raise

    def _postpone(self) -> None:
        # to try with each further batch would cost the application more than it is worth
        if self.rows < _KEPT:
            self.target = min(2 * self.rows, _KEPT)
        else:
            self.rows = 0
            self._batches.clear()

    def _frozen(self) -> tuple[Reference, list[tuple[Batch, int]], Mapping[str, str]]:
        names = list(dict.fromkeys(n for b in self._batches for n in b.features))[:_MOST_NAMES]
        features = {
            n: _stack([b.features.get(n) for b in self._batches], self._sizes()) for n in names
        }
        slices = list(
            dict.fromkeys(n for b in self._batches for n in b.slices if n not in features)
        )
        options: dict[str, Any] = {
            "scores": self._all("scores"),
            "predictions": self._all("predictions"),
            "times": self._all("event_times"),
            "clients": self._all("clients"),
            "slices": {
                n: _stack([b.slices.get(n) for b in self._batches], self._sizes()) for n in slices
            },
            **self.options,
        }
        options["sensitive"] = [
            n for n in options.get("sensitive", ()) if n in features or n in slices
        ]
        labels = self._known_labels()
        if labels is not None:
            options["labels"] = labels
        self.left_out = self._unsettled(features, options)
        if self.left_out:
            features, options = _part(features, options, slice(self.left_out, None))
        reference = self._build(features, options)
        starts = np.cumsum([0, *self._sizes()])[:-1].tolist()
        return reference, list(zip(self._batches, starts, strict=True)), self._labels

    def _build(self, features: Mapping[str, Any], options: Mapping[str, Any]) -> Reference:
        name, version = self.model
        stated: dict[str, Any] = {"model_name": name, "model_version": version, **options}
        try:
            return Reference.build(features, source="traffic", **stated)
        except DataError:
            if stated.get("positive") is None:
                raise
        # a positive class that did not come up yet: the classes seen are better than none
        return Reference.build(features, source="traffic", **{**stated, "positive": None})

    def _unsettled(self, features: dict[str, Any], options: dict[str, Any]) -> int:
        """Return how many of the first rows do not belong to the rest."""
        rows = sum(self._sizes())
        first = int(rows * FIRST_SHARE)
        if first < _LEAST_FIRST:
            return 0
        try:
            rest = self._build(*_part(features, options, slice(first, None)))
        except DataError:
            return 0  # what cannot be built is said when all rows are tried
        some, held = _part(features, options, slice(first))
        batch = Batch(
            first,
            some,
            predictions=held["predictions"],
            scores=None if held["scores"] is None else as_scores(held["scores"]),
            slices=held["slices"],
            clients=None if held["clients"] is None else held["clients"].tolist(),
        )
        when = None if held["times"] is None else slots(held["times"])
        return unsettled_rows(rest, encode(rest, batch).codes, rows, when)

    def _sizes(self) -> list[int]:
        return [b.n for b in self._batches]

    def _all(self, name: str) -> Any:
        parts = [getattr(b, name) for b in self._batches]
        if not parts or any(p is None for p in parts):
            return None
        return np.concatenate([np.asarray(p, dtype=_KINDS.get(name)) for p in parts])

    def _known_labels(self) -> Any:
        """Return the labels of all rows, or None unless every one is known."""
        ids = [i for b in self._batches for i in (b.ids or ())]
        if len(ids) != sum(self._sizes()) or not all(i in self._labels for i in ids):
            return None
        return np.array([self._labels[i] for i in ids], dtype=object)

    def to_json(self) -> dict[str, Any]:
        """Return target, options and held rows as plain JSON values."""
        return {
            "target": self.target,
            "options": {k: v for k, v in self.options.items() if k != "predict"},
            "labels": self._labels,
            "batches": [
                {
                    "n": b.n,
                    "features": {k: _plain(v) for k, v in b.features.items()},
                    "slices": {k: _plain(v) for k, v in b.slices.items()},
                    "predictions": None if b.predictions is None else _plain(b.predictions),
                    "scores": None if b.scores is None else _plain(b.scores),
                    "ids": None if b.ids is None else list(b.ids),
                    "aliases": None if b.aliases is None else list(b.aliases),
                    "clients": None if b.clients is None else list(b.clients),
                    "times": None if b.event_times is None else _plain(b.event_times),
                }
                for b in self._batches
            ],
        }

    @classmethod
    def from_json(cls, model: ModelKey, data: Mapping[str, Any]) -> Learner:
        """Return the learner that `to_json` wrote."""
        learner = cls(model, int(data["target"]), data["options"])
        learner._labels = dict(data["labels"])
        for item in data["batches"]:
            predictions = item["predictions"]
            learner.add(
                Batch(
                    item["n"],
                    {k: _array(v) for k, v in item["features"].items()},
                    slices={k: _array(v) for k, v in item["slices"].items()},
                    predictions=None if predictions is None else _array(predictions),
                    scores=None if item["scores"] is None else _array(item["scores"]),
                    ids=item["ids"],
                    aliases=item["aliases"],
                    clients=item["clients"],
                    event_times=None if item["times"] is None else _array(item["times"]),
                )
            )
        return learner


def _part(
    features: Mapping[str, Any], options: Mapping[str, Any], rows: slice
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return columns and options of some of the rows."""
    kept = dict(options)
    for name in ("scores", "predictions", "times", "clients", "labels"):
        if kept.get(name) is not None:
            kept[name] = kept[name][rows]
    kept["slices"] = {k: v[rows] for k, v in options["slices"].items()}
    return {k: v[rows] for k, v in features.items()}, kept


def _stack(parts: Sequence[Any], sizes: Sequence[int]) -> Any:
    filled = [
        np.full(n, None, dtype=object) if p is None else p
        for p, n in zip(parts, sizes, strict=True)
    ]
    if any(p.dtype == object for p in filled):
        filled = [p.astype(object) for p in filled]
    return np.concatenate(filled)


def _first(batch: Batch, n: int) -> Batch:
    """Return the first rows of a batch, as far as a reference is made of them."""

    def head(part: Any) -> Any:
        return None if part is None else part[:n]

    return Batch(
        n,
        {name: column[:n] for name, column in batch.features.items()},
        predictions=head(batch.predictions),
        scores=head(batch.scores),
        ids=head(batch.ids),
        aliases=head(batch.aliases),
        clients=head(batch.clients),
        event_times=head(batch.event_times),
        slices={name: column[:n] for name, column in batch.slices.items()},
    )


def _plain(column: Any) -> dict[str, Any]:
    """Return a column as JSON values that are counted as the column is."""
    if column.dtype.kind == "b":
        return {"bool": column.tolist()}
    if column.dtype.kind in "fiumM":
        values = column if column.ndim == 2 else numeric_values(column)[0]
        return {"float": _finite(values.tolist())}
    return {"object": [_item(v) for v in column.tolist()]}


def _finite(values: list[Any]) -> list[Any]:
    return [_finite(v) if isinstance(v, list) else _item(v) for v in values]


def _item(value: Any) -> Any:
    if isinstance(value, (float, np.floating)):
        number = float(value)
        # JSON has no infinity; NaN is missing
        return (
            number
            if np.isfinite(number)
            else {"infinite": number > 0}
            if number == number
            else None
        )
    if isinstance(value, int) and abs(value) < 2**53:
        return value
    return value if isinstance(value, bool) else category_key(value)


def _array(data: Mapping[str, Any]) -> Any:
    kind, values = next(iter(data.items()))
    if kind != "float":
        out = np.empty(len(values), dtype=object if kind == "object" else bool)
        for i, value in enumerate(values):
            out[i] = _read(value)
        return out
    return np.array([_read(v) for v in values], dtype=np.float64)


def _read(value: Any) -> Any:
    if isinstance(value, dict):
        return np.inf if value["infinite"] else -np.inf
    return [np.nan if v is None else _read(v) for v in value] if isinstance(value, list) else value
