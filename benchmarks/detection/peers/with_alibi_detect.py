"""alibi-detect's TabularDrift at p < 0.05 with its correction: windows of 1,000 rows.

The tool has a licence of its own (BSL); it is only ever run here, in an environment of its own.
"""

from __future__ import annotations

import warnings

import common
import numpy as np


def prepare(reference: common.Columns) -> common.Test:
    """Return the test against one reference."""
    from alibi_detect.cd import TabularDrift

    names = list(reference)
    levels = {
        k: {w: i for i, w in enumerate(np.unique(v).tolist())}
        for k, v in reference.items()
        if v.dtype.kind != "f"
    }
    middle = {k: np.nanmedian(v) for k, v in reference.items() if k not in levels}

    def matrix(columns: common.Columns) -> np.ndarray:
        parts = []
        for name in names:
            held = columns[name]
            if name in levels:
                known = levels[name]
                parts.append(np.array([known.get(w, len(known)) for w in held.tolist()], float))
            else:
                parts.append(np.where(np.isfinite(held), held, middle[name]))
        return np.stack(parts, axis=1)

    detector = TabularDrift(
        matrix(reference),
        p_val=0.05,
        categories_per_feature={i: None for i, k in enumerate(names) if k in levels},
    )

    def test(window: common.Columns) -> str:
        told = detector.predict(matrix(window))["data"]
        return names[int(np.argmin(told["p_val"]))] if told["is_drift"] else ""

    return test


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    common.main(common.by_window(prepare))
