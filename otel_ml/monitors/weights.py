"""How the budget is shared between the families of monitors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["FAMILY_WEIGHTS"]

# how much of the budget each question gets, where it is asked at all; written down, not tuned
FAMILY_WEIGHTS: Final[Mapping[str, float]] = {
    "inputs": 0.35,
    "outputs": 0.20,
    "quality": 0.20,
    "performance": 0.10,
    "fairness": 0.05,
    "security": 0.05,
    "latency": 0.05,
}
