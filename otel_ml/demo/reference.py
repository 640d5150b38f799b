"""The reference of the demo's model: in, ``training.npz`` of train.py; out, its profile."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from otel_ml.demo.data import COLUMNS, NUMERIC

__all__ = ["MODEL_NAME", "SENSITIVE", "prepare_reference"]

MODEL_NAME: Final = "acs-employment"
SENSITIVE: Final = ("SEX", "RAC1P", "DIS")


def prepare_reference(training: Path, target: Path) -> None:
    """Build the reference of the model from its training table, and save it.

    Parameters
    ----------
    training
        The table: ``features`` in the order of `COLUMNS`, ``labels``, out-of-fold ``scores``, and
        the ``sensitivity`` of the score to each feature.
    target
        File to write.
    """
    from otel_ml.profile import Reference

    with np.load(training) as table:
        features, labels, scores = table["features"], table["labels"], table["scores"]
        sensitivity = table["sensitivity"]
    codes = {name: features[:, COLUMNS.index(name)].astype(np.int64) for name in SENSITIVE}
    Reference.build(
        {name: features[:, i] for i, name in enumerate(COLUMNS)},
        scores=scores,
        labels=labels,
        predictions=(scores >= 0.5).astype(np.int64),
        slices={name: values.astype(str).astype(object) for name, values in codes.items()},
        categorical=[name for name in COLUMNS if name not in NUMERIC],
        model_name=MODEL_NAME,
        model_version=None,
        task="binary",
        sensitivity=dict(zip(COLUMNS, sensitivity.tolist(), strict=True)),
    ).save(target)
