"""Do labels come as the score says? Reference score bins with labels in, one stream per group out.

Asked is, on the clock of the labels, whether the rate of the positive class *given the score* (of
several classes: of the top class being right) has left that of the reference. Scores that move
while their meaning stays are no evidence: every bet is normalised within each bin, so that the mean
of its e-value is one whatever the law of the scores. For a regression the question is whether
predictions became too high or too low.

Bets are tilts of the bins' rates: the logit of all bins moves, the slope of the logit changes, a
part of the labels is flipped, or only high, middle or low scores lose their meaning. A null reaches
along each tilt as far as the effect floor and the reference's own error in that direction.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from otel_ml.monitors.evidence import UNSURE, Bets, joined, location_bets, smoothed
from otel_ml.profile import OVERALL, Reference
from otel_ml.profile.tables import BIAS, CALIBRATION, LabelTable, table_source
from otel_ml.types import FloatArray, IntArray, Stream

__all__ = ["calibration", "calibration_bets"]

_MIN_ROWS: Final = 500  # a group's reference calibration is too uncertain below
_SLACK: Final = 0.02  # as for errors: fewer than two labels in a hundred are not worth an incident
_GROUPS_SHARE: Final = 0.5  # of all groups together
_SHIFTS: Final = (0.25, 0.5, 1.0, 2.0)
_SLOPES: Final = (0.4, 0.7, 1.4)
_FLIPS: Final = (0.05, 0.1, 0.2, 0.4)
_REGIONAL: Final = 1.0
_SHARES: Final = (0.4, 0.2, 0.25, 0.15)  # of shifts, slopes, flips and regions
_FARTHEST: Final = 0.8  # of the way to an alternative: too little is left to gain beyond
_NEAR_TIE: Final = 1e-9
_HALVINGS: Final = 40


def calibration(reference: Reference, min_effect: float) -> Iterator[Stream]:
    """Yield a stream for all rows and one per group with at least 500 labelled reference rows.

    Parameters
    ----------
    reference
        What production is compared with.
    min_effect
        Effect floor of the model.
    """
    layout = reference.label_layout
    floor = max(min_effect / 2, _SLACK)
    for table in reference.tables:
        if table.name not in (CALIBRATION, BIAS):
            continue
        judged = [i for i, n in enumerate(table.counts.sum(axis=1).tolist()) if n >= _MIN_ROWS]
        for i in judged:
            attribute, group = layout.names[i]
            source = table_source(table.name, attribute, group)
            design = reference.design(source)
            law, bets, weights = _bets(table, table.counts[i], floor, design)
            if not len(bets.scores):
                continue
            yield Stream(
                "calibration",
                "performance",
                "calibration" if attribute == OVERALL else f"{attribute}={group}",
                source,
                "labels",
                law,
                bets.scores,
                bets.ends,
                weights,
                table.labels,
                design=design,
                share=1.0 if attribute == OVERALL else _GROUPS_SHARE / max(len(judged) - 1, 1),
            )


def _bets(
    table: LabelTable, counts: IntArray, floor: float, design: float
) -> tuple[FloatArray, Bets, FloatArray]:
    if table.name == BIAS:
        law = smoothed(counts)
        bets = location_bets(law, float(counts.sum()) / design, floor)
        return law, bets, np.full(len(bets.scores), 1 / max(len(bets.scores), 1))
    return calibration_bets(counts.reshape(-1, 2), floor, design)


def calibration_bets(
    counts: IntArray, floor: float, design: float
) -> tuple[FloatArray, Bets, FloatArray]:
    """Return the law over the cells of a calibration, what to bet on, and the weight of each bet.

    Parameters
    ----------
    counts
        Reference labels by score bin and answer, shape ``(bins, 2)``.
    floor
        Share of labels too small to matter, on average over the scores.
    design
        How many reference rows say as much as one.
    """
    rows = counts.sum(axis=1)
    share = (rows + 0.5) / (rows + 0.5).sum()
    rate = (counts[:, 1] + 0.5) / (rows + 1.0)
    base = np.log(rate) - np.log1p(-rate)
    law = np.stack([share * (1 - rate), share * rate], axis=1).reshape(-1)
    parts, weights = [], []
    for kind, part in zip(_directions(base, rate, rows), _SHARES, strict=True):
        kept = [_bet(base, d, share, rows / design, floor) for d in kind]
        found = [bet for bet in kept if bet is not None]
        parts += found
        weights += [part / max(len(found), 1)] * len(found)
    # what a kind has no bet for goes to the others
    given = np.array(weights)
    return law, joined(parts, len(law)), given / given.sum() if len(given) else given


def _directions(base: FloatArray, rate: FloatArray, rows: IntArray) -> list[list[FloatArray]]:
    """Return changes of the bins' logits by kind, shape ``(bins,)`` each."""
    weight = rows * rate * (1 - rate)
    centre = float((weight * base).sum() / max(float(weight.sum()), _NEAR_TIE))
    flipped = [rate + f * (1 - 2 * rate) for f in _FLIPS]
    middle = (np.cumsum(rows) - rows / 2) / max(float(rows.sum()), 1.0)
    third = np.minimum(3 * middle, 2).astype(np.int64)
    one = np.ones_like(base)
    return [
        [sign * size * one for size in _SHIFTS for sign in (1, -1)],
        [(slope - 1) * (base - centre) for slope in _SLOPES],
        [np.log(q) - np.log1p(-q) - base for q in flipped],
        [sign * _REGIONAL * (third == i) for i in range(3) for sign in (1, -1)],
    ]


def _bet(
    base: FloatArray, direction: FloatArray, share: FloatArray, rows: FloatArray, floor: float
) -> Bets | None:
    """Return a bet on the logits at ``base + direction``, None where the null reaches too far.

    Within each bin end and alternative are laws of the two answers: the e-value's mean is one at
    the end, and at most one from the reference up to it.
    """
    rate = _rate(base)
    information = float((rows * rate * (1 - rate) * np.square(direction)).sum())
    if information < _NEAR_TIE:
        return None

    def moved(part: float) -> float:
        return float((share * np.abs(_rate(base + part * direction) - rate)).sum())

    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if moved(middle) < floor else (low, middle)
    end = high + UNSURE / information**0.5
    if end > _FARTHEST:
        return None
    # elsewhere than where most reference scores are, the mean error says too little
    error = 1 / np.sqrt(np.maximum(rows * rate * (1 - rate), _NEAR_TIE))
    reach = np.maximum(end * np.abs(direction), UNSURE * error)
    at = _rate(base + np.sign(direction) * np.minimum(reach, np.abs(direction)))
    to = _rate(base + direction)

    def logs(a: FloatArray, b: FloatArray) -> FloatArray:
        return np.stack([np.log1p(-b) - np.log1p(-a), np.log(b) - np.log(a)], axis=1).reshape(1, -1)

    return Bets(logs(at, to), logs(rate, at))


def _rate(logit: FloatArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-logit)))
