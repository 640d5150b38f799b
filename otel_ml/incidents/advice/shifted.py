"""Counts since a change and how features belong together in, which moved by themselves out.

Where one feature moves, others no longer fit it, so their residuals move as well; where two move,
each hides behind the other. Told apart are they by the shifts that explain all residuals at once.

Notes
-----
Let *x* be standardised features with precision *P*, shifted by *d*, few of which are not zero. The
residual of feature *j* given all others, ``(P x)_j / P_jj``, then has mean ``(P d)_j / P_jj``. With
``b = P·mean(x)`` read from the residuals, the shifts *d* of features *S* fit best where
``P_SS d_S = b_S``, and what they explain of the log-likelihood of *n* rows is
``n b_S·d_S / 2``. Residuals tell more than values where features nearly repeat each other; values
tell which of them have moved at all: a shift of the other sign than the feature's own is none.

References: Wang, Jiang, "High-dimensional process monitoring and fault isolation via variable
selection", 2009; Zou, Jiang, Tsung, "A LASSO-based diagnostic framework for multivariate
statistical process control", 2011. Features are added one by one: Pati et al., "Orthogonal matching
pursuit", 1993.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, NamedTuple

import numpy as np

from otel_ml.incidents.advice.since import Since
from otel_ml.profile.joint import Joint
from otel_ml.stats.repeats import ordered_scores
from otel_ml.types import FloatArray, Stream

__all__ = ["Relations", "shifted"]

_MOST: Final = 3  # of more, an incident is not about single features
_OPENS: Final = 15.0  # twice the log-likelihood the first must explain: less opens no incident
_NEXT: Final = 4.5  # the same for each further one
_NEXT_SHARE: Final = 0.1  # of what is explained already: relations are not quite linear
_AGREES: Final = 1.3  # standard errors by which the feature itself must have moved
_CLEAR: Final = 4.0  # by which it surely has: then no share is asked for
_ALIKE: Final = 0.5  # of the largest shift
_LEAST: Final = 0.1  # standard deviations
_CHANCE: Final = 3.0  # standard errors by which a variance may be larger by chance
_FIRST_NUMERIC: Final = "below_range"
_NOT_VALUES: Final = 3  # cells at the end of a numeric source: infinite, no number, missing


@dataclass(frozen=True, eq=False)
class Relations:
    """How features belong together.

    Parameters
    ----------
    features
        Names.
    precision
        Inverse of their correlation matrix, shape ``(F, F)``.
    """

    features: Sequence[str]
    precision: FloatArray

    @classmethod
    def of(cls, joint: Joint) -> Relations:
        """Return those of a joint law, by the first column of each feature.

        A number has one; of a category it is the one that the other features explain most.
        """
        first = np.array(joint.design.starts[:-1], dtype=np.int64)
        covariance = np.linalg.inv(joint.precision)[np.ix_(first, first)]
        return cls(joint.design.features, np.linalg.inv(covariance))


def shifted(streams: Sequence[Stream], since: Since, relations: Relations) -> dict[str, float]:
    """Return the features whose shifts explain best what moved, the strongest first.

    Parameters
    ----------
    streams
        What is watched.
    since
        Counts of all sources since the change.
    relations
        How features belong together.

    Returns
    -------
    dict
        Shift by feature, in standard deviations; numeric features only, at most three. Empty where
        no shift explains much, as where only relations, or the spread of a feature, changed.
    """
    views = {(s.monitor, s.target): s for s in streams if not s.defect}
    features, precision = relations.features, relations.precision
    count = len(features)
    moved, deviates, rows = np.zeros(count), np.zeros(count), np.zeros(count)
    spread = np.ones(count)
    for k, name in enumerate(features):
        own = _location(views.get(("input_drift", name)), since)
        rest = _location(views.get(("joint_drift", name)), since) or own
        if rest is not None:
            moved[k], rows[k] = rest.mean * precision[k, k] ** 0.5, rest.rows
            # a shift of at least half of the rows adds no more than its square, chance some
            chance = _CHANCE * (2 / rest.rows) ** 0.5
            spread[k] = max(rest.variance - rest.mean**2 - chance, 1.0)
        if own is not None:
            deviates[k] = own.mean * own.rows**0.5
    told = rows[rows > 0]
    if not len(told):
        return {}
    return _search(moved, deviates, median(told.tolist()) / spread, relations)


def _search(
    moved: FloatArray, deviates: FloatArray, n: FloatArray, relations: Relations
) -> dict[str, float]:
    """Add the feature that explains most, while one explains much.

    Residuals that have spread, as where a relation broke, say less about their mean: *n* is how
    many rows those of each feature are worth, shape ``(F,)``.
    """
    chosen: list[int] = []
    shifts, explained = np.zeros(0), 0.0
    candidates = np.flatnonzero(np.abs(deviates) >= _AGREES).tolist()
    while len(chosen) < _MOST:
        best: tuple[float, list[int], FloatArray] | None = None
        for k in candidates:
            if k in chosen:
                continue
            together = [*chosen, k]
            worth = float(n[together].min())
            found = _fit(together, moved, deviates, worth, relations.precision)
            share = _NEXT_SHARE if abs(deviates[k]) < _CLEAR else 0.0
            least = explained + (max(_NEXT, share * explained) if chosen else _OPENS)
            gain = 0.0 if found is None else worth * float(moved[together] @ found)
            if found is not None and gain >= max(least, best[0] if best else 0.0):
                best = (gain, together, found)
        if best is None:
            break
        explained, chosen, shifts = best
    return {relations.features[k]: float(d) for k, d in zip(chosen, shifts.tolist(), strict=True)}


def _fit(
    together: list[int], moved: FloatArray, deviates: FloatArray, n: float, precision: FloatArray
) -> FloatArray | None:
    """Return the shifts of some features that fit best; None where they are not alike, or feigned.

    Parameters
    ----------
    together
        Positions of the features, shape ``(k,)``.
    moved
        Precision times mean shift, as residuals tell it, shape ``(F,)``.
    deviates
        What each feature moved by itself, in standard errors, shape ``(F,)``.
    n
        Independent rows.
    precision
        Shape ``(F, F)``.
    """
    inverse = np.linalg.inv(precision[np.ix_(together, together)])
    found: FloatArray = inverse @ moved[together]
    largest = float(np.abs(found).max())
    error = np.sqrt(np.maximum(np.diag(inverse), 0.0) / n)
    if (
        largest < _LEAST
        or (np.sign(found) != np.sign(deviates[together])).any()
        or (np.abs(found) + error < _ALIKE * largest).any()
    ):
        return None
    return found


class _Location(NamedTuple):
    """Normal scores of a numeric stream since the change: mean, variance, independent rows."""

    mean: float
    variance: float
    rows: float


def _location(stream: Stream | None, since: Since) -> _Location | None:
    """Return where a numeric stream has been since the change; None where that is not known."""
    at = None if stream is None else since.sources.get(stream.source)
    if stream is None or at is None or stream.cells[:1] != (_FIRST_NUMERIC,):
        return None
    counts = since.counts[at, : len(stream.law)] * (stream.law > 0)
    n = float(counts.sum())
    if n == 0:
        return None
    score = ordered_scores(stream.law, len(stream.law) - _NOT_VALUES)[:, 0]
    mean = float(counts @ score) / n
    variance = float(counts @ np.square(score)) / n - mean * mean
    return _Location(mean, variance, n / stream.design)
