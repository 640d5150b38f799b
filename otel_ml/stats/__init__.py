"""Statistics as pure functions of numpy arrays: counts or columns in, floats or arrays out."""

from __future__ import annotations
