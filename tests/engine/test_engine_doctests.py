"""The examples in the docstrings of the core are true."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    ("module", "least"),
    [("otel_ml.engine", 5), ("otel_ml.budget", 1), ("otel_ml.stats.binning", 1)],
)
def test_examples_are_true(module: str, least: int) -> None:
    found = doctest.testmod(importlib.import_module(module))
    assert found.failed == 0
    assert found.attempted >= least
