"""Two matrices in, their product out, computed by the calling thread alone."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from otel_ml.types import FloatArray

__all__ = ["quiet_product"]

_ALONE: Final = 1 << 17  # multiplications up to which a BLAS does not wake its threads
_LEAST: Final = 8  # rows of a block


def quiet_product(a: FloatArray, b: NDArray[np.floating[Any]]) -> FloatArray:
    """Return the matrix product of two arrays without the threads of a BLAS.

    Those wait for more work in a loop for a while, and take processor time from the application
    that is many times that of the product.

    Parameters
    ----------
    a
        Shape ``(n, k)``; it is multiplied a few rows at a time.
    b
        Shape ``(k, m)``.

    Returns
    -------
    numpy.ndarray
        Shape ``(n, m)``, float64.

    Examples
    --------
    >>> quiet_product(np.ones((1000, 30)), np.eye(30)).sum()
    np.float64(30000.0)
    """
    rows = max(_ALONE // max(b.size, 1), _LEAST)
    out = np.empty((len(a), b.shape[1]))
    for start in range(0, len(a), rows):
        np.matmul(a[start : start + rows], b, out=out[start : start + rows])
    return out
