"""Predicted and true classes in, confusion counts per group out.

Everything that performance and fairness need once labels arrive is a sum of these counts, so
replicas and windows add up. Sizes are fixed by the reference: groups and classes it does not name
fall into a last, unnamed row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otel_ml.profile.cells import CategoryCells, Cells, cells_from_json, cells_to_json
from otel_ml.types import IntArray

__all__ = ["GroupLayout", "Groups"]

OVERALL = "overall"


@dataclass(frozen=True)
class Groups:
    """The groups of one slicing attribute.

    Parameters
    ----------
    attribute
        Name of the column.
    cells
        Cells of the column; a numeric column is cut into bands.
    """

    attribute: str
    cells: Cells

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Name of each group that is reported: categories, or bands of a numeric column."""
        if isinstance(self.cells, CategoryCells):
            return self.cells.categories
        return self.cells.labels[: self.cells.valid]

    def codes(self, column: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the group of each row, shape ``(n,)``; the last code means none of them."""
        codes, _ = self.cells.codes(column)
        return np.minimum(codes, len(self.labels)).astype(np.uint8)


@dataclass(frozen=True)
class GroupLayout:
    """Classes and groups of the confusion counts.

    Parameters
    ----------
    classes
        Class labels as strings; for a binary task the second is the positive one.
    groups
        Slicing attributes.
    """

    classes: tuple[str, ...]
    groups: tuple[Groups, ...]

    @cached_property
    def names(self) -> tuple[tuple[str, str], ...]:
        """Attribute and group of every counted group; the first is all rows together."""
        pairs = [(g.attribute, label) for g in self.groups for label in g.labels]
        return ((OVERALL, OVERALL), *pairs)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """First row of each attribute's groups in `names`."""
        out, at = [], 1
        for g in self.groups:
            out.append(at)
            at += len(g.labels)
        return tuple(out)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the counts: groups, predicted classes, true classes."""
        return (len(self.names), len(self.classes), len(self.classes))

    def zeros(self) -> IntArray:
        """Return empty counts, shape ``(groups, predicted, true)``."""
        return np.zeros(self.shape, dtype=np.int64)

    def class_codes(self, labels: NDArray[Any]) -> NDArray[np.int16]:
        """Return the position of each class label, -1 where it is none of the known classes."""
        index: dict[object, int] = {c: i for i, c in enumerate(self.classes)}
        items = labels.tolist()
        if set(map(type, items)) <= {str}:
            return np.array([index.get(v, -1) for v in items], dtype=np.int16)
        return np.array([-1 if v is None else index.get(str(v), -1) for v in items], dtype=np.int16)

    def count(
        self,
        predicted: NDArray[np.int16],
        actual: NDArray[np.int16],
        groups: Sequence[NDArray[np.uint8]],
    ) -> IntArray:
        """Count rows by group, predicted and true class.

        Parameters
        ----------
        predicted, actual
            Class positions, shape ``(n,)``; rows with a negative one are left out.
        groups
            Group codes of each attribute, shape ``(n,)`` each.

        Returns
        -------
        numpy.ndarray
            Shape ``(groups, predicted, true)``, int64.
        """
        k = len(self.classes)
        known = (predicted >= 0) & (actual >= 0)
        pair = np.where(known, predicted.astype(np.int64) * k + actual, -1)
        return self.tally(pair, k * k, groups).reshape(self.shape)

    def tally(self, codes: IntArray, cells: int, groups: Sequence[NDArray[np.uint8]]) -> IntArray:
        """Count rows by group and cell.

        Parameters
        ----------
        codes
            Cell of each row, shape ``(n,)``; rows with a negative one are left out.
        cells
            Number of cells.
        groups
            Group codes of each attribute, shape ``(n,)`` each.

        Returns
        -------
        numpy.ndarray
            Shape ``(groups, cells)``, int64.
        """
        keep = codes >= 0
        cell = codes[keep]
        out = np.zeros((len(self.names), cells), dtype=np.int64)
        out[0] = np.bincount(cell, minlength=cells)
        for g, code, offset in zip(self.groups, groups, self.offsets, strict=True):
            width = len(g.labels)
            held = code[keep].astype(np.int64)
            inside = held < width
            flat = np.bincount(held[inside] * cells + cell[inside], minlength=width * cells)
            out[offset : offset + width] = flat.reshape(width, cells)
        return out

    def to_json(self) -> dict[str, Any]:
        """Return the layout as plain JSON values."""
        return {
            "classes": list(self.classes),
            "groups": [
                {"attribute": g.attribute, "cells": cells_to_json(g.cells)} for g in self.groups
            ],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> GroupLayout:
        """Return the layout that `to_json` wrote."""
        groups = tuple(Groups(g["attribute"], cells_from_json(g["cells"])) for g in data["groups"])
        return cls(tuple(data["classes"]), groups)
