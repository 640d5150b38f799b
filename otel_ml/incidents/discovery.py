"""Evidence of all streams in, those that moved together with one that surely did out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.types import FloatArray, Stream

__all__ = ["discovered", "with_their_residuals"]

_FALSE_SHARE: Final = 0.05
_TWO_VIEWS: Final = 1.5 * math.log(10)  # of the two together, as the mean of their logarithms
_EACH_VIEW: Final = math.log(10)


def discovered(raw: FloatArray) -> NDArray[np.bool_]:
    """Return which streams have moved, of which one in twenty may not have.

    Parameters
    ----------
    raw
        Evidence of each stream, natural log, shape ``(streams,)``.

    References
    ----------
    Wang, Ramdas, "False discovery rate control with e-values", 2022.
    """
    order = np.argsort(-raw)
    bar = np.log(len(raw) / (_FALSE_SHARE * np.arange(1, len(raw) + 1)))
    passed = np.flatnonzero(raw[order] >= bar)
    found = np.zeros(len(raw), dtype=bool)
    if len(passed):
        found[order[: int(passed[-1]) + 1]] = True
    return found


def with_their_residuals(streams: Sequence[Stream], raw: FloatArray) -> NDArray[np.bool_]:
    """Return which inputs moved by themselves, judged from the input and its residual together.

    Parameters
    ----------
    streams
        What is watched.
    raw
        Evidence of each, natural log, shape ``(streams,)``.

    Returns
    -------
    numpy.ndarray
        True for both streams of such an input, shape ``(streams,)``.

    Notes
    -----
    The geometric mean of two e-values is an e-value, as it is at most their arithmetic mean. When
    an incident opens, one of two inputs that moved alike has crossed the bar of all streams and
    the other may need some rows more: a mean of thirty, each above ten, is enough to ask which
    of them matters.
    """
    found = np.zeros(len(raw), dtype=bool)
    residuals = {
        s.target: i for i, s in enumerate(streams) if s.monitor == "joint_drift" and not s.defect
    }
    for i, stream in enumerate(streams):
        if stream.monitor != "input_drift" or stream.defect:
            continue
        j = residuals.get(stream.target)
        if j is None or min(raw[i], raw[j]) < _EACH_VIEW:
            continue
        if (raw[i] + raw[j]) / 2 >= _TWO_VIEWS:
            found[[i, j]] = True
    return found
