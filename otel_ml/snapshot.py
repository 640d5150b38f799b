"""A value the application may change afterwards in, one that it cannot change out."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["by_value"]


def by_value(value: Any) -> Any:
    """Copy exact built-in containers and arrays; take everything else by reference.

    Subclasses and foreign objects are left alone: copying them would run their code.
    """
    kind = type(value)
    if kind is np.ndarray:
        return value.copy()
    if kind is list:
        return [row.copy() if type(row) in (list, dict) else row for row in value]
    if kind is dict:
        return {k: v.copy() if type(v) in (list, np.ndarray) else v for k, v in value.items()}
    return value
