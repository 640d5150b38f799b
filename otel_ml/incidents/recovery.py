"""Counts of a stream in an open incident in, whether it is back at its reference out.

A sum of log-likelihood ratios, reference against the law during the incident, between nothing and
a million to one: at the upper end the stream is back, at the lower end the fault is. In between
what was decided last holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from otel_ml.types import FloatArray, IntArray, Stream

__all__ = ["LEARN_ROWS", "Recovery", "law_of"]

_ENOUGH: Final = 13.8  # a million to one: how much better "back to normal" must explain rows
LEARN_ROWS: Final = 500  # rows over which the law of an open incident is still learned


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
        return self.level == 0.0 and self.rows <= LEARN_ROWS


def law_of(stream: Stream, counts: IntArray) -> FloatArray:
    """Return the law of counts, smoothed towards the reference by five rows."""
    return _normal(stream.asked(counts) + 5 * _normal(stream.asked(stream.law)))


def _normal(law: FloatArray) -> FloatArray:
    return np.asarray(np.maximum(law / max(float(law.sum()), 1e-12), 1e-9))
