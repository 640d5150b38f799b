"""Counts of a stream in an open incident in, whether it is back at its reference out.

A sum of log-likelihood ratios, reference against the law during the incident, between nothing and
a million to one: at the upper end the stream is back, at the lower end the fault is. In between
what was decided last holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from otel_ml.stats.special import log_gamma
from otel_ml.types import FloatArray, IntArray, Stream

__all__ = ["LEARN_ROWS", "Recovery", "law_of"]

_ENOUGH: Final = 13.8  # a million to one: how much better "back to normal" must explain rows
LEARN_ROWS: Final = 500  # rows over which the law of an open incident is still learned
_PRIORS: Final = np.array([5.0, 15.0, 45.0, 135.0, 405.0, 1215.0])  # rows of the reference


@dataclass
class Recovery:
    """How a member finds its way back.

    Parameters
    ----------
    start
        Row from which on the law of the incident is learned.
    law
        Law during the incident, shape ``(answers,)``.
    level
        The sum, natural log.
    done
        Whether it is back. It is not any more once the fault has returned with as much evidence.
    rows
        Rows followed so far.
    """

    start: int
    law: FloatArray
    level: float = 0.0
    done: bool = False
    rows: int = 0

    def follow(self, stream: Stream, counts: IntArray) -> bool:
        """Take an evaluation; tell whether the law of the incident is still being learned.

        Parameters
        ----------
        stream
            What is asked.
        counts
            Rows per cell of this evaluation.
        """
        asked = stream.asked(counts)
        if not asked.any():
            return False
        self.rows += int(asked.sum())
        p = _normal(stream.asked(stream.law))
        # rows that depend on each other say less than their number
        gain = float((asked * np.log(p / self.law)).sum()) / stream.design
        self.level = min(max(self.level + gain, 0.0), _ENOUGH)
        if self.level in (0.0, _ENOUGH):
            self.done = self.level > 0.0
        return self.level < _ENOUGH / 2 and self.rows <= LEARN_ROWS


def law_of(stream: Stream, counts: IntArray) -> FloatArray:
    """Return the law that rows of an incident predict for the next, shape ``(answers,)``.

    Parameters
    ----------
    stream
        What is asked.
    counts
        Rows per cell since the change.

    Notes
    -----
    The mean of Dirichlet posteriors around the reference, worth few rows or many, each weighed by
    how likely it makes the counts. A hundred rows in twenty cells are no law: taken as one, they
    predict the next rows of the same fault worse than the reference does, and the incident would
    seem to be over. Rows that depend on each other count as fewer.

    References
    ----------
    Good, "The Estimation of Probabilities", 1965, on mixtures of Dirichlet priors.
    """
    normal = _normal(stream.asked(stream.law))
    held = stream.asked(counts) / max(stream.design, 1.0)
    prior = _PRIORS[:, None] * normal
    likely = log_gamma(_PRIORS) - log_gamma(_PRIORS + held.sum())
    likely += (log_gamma(prior + held) - log_gamma(prior)).sum(axis=1)
    weight = np.exp(likely - likely.max())
    means = (held + prior) / (held.sum() + _PRIORS)[:, None]
    return _normal(weight @ means / weight.sum())


def _normal(law: FloatArray) -> FloatArray:
    return np.asarray(np.maximum(law / max(float(law.sum()), 1e-12), 1e-9))
