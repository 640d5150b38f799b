"""The demo's data: in, the packaged ACS files; out, the columns of the years to be replayed."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

import numpy as np

from otel_ml.errors import DataError
from otel_ml.types import FloatArray, IntArray

__all__ = ["COLUMNS", "NUMERIC", "REPLAYED_YEARS", "People", "example_folder", "read_people"]

COLUMNS: Final = (
    "AGEP", "SCHL", "MAR", "RELP", "DIS", "ESP", "CIT", "MIG",
    "MIL", "ANC", "NATIVITY", "DEAR", "DEYE", "DREM", "SEX", "RAC1P",
)  # fmt: skip
NUMERIC: Final = ("AGEP", "SCHL")
REPLAYED_YEARS: Final = (2016, 2017, 2018)
DATA_FILE: Final = "acs_employment_ma.csv.gz"


@dataclass(frozen=True, slots=True)
class People:
    """Rows in the order in which they arrive.

    Parameters
    ----------
    features
        Values in the order of `COLUMNS`, NaN where missing, shape ``(n, 16)``.
    labels
        1 for people who have work, else 0, shape ``(n,)``.
    years
        Year of the survey, shape ``(n,)``, never decreasing.
    """

    features: FloatArray
    labels: IntArray
    years: IntArray

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.labels)


def example_folder() -> Path:
    """Return the folder with the serving code and the data: packaged, else the repository's.

    Raises
    ------
    DataError
        Neither is there.
    """
    packaged = Path(str(resources.files("otel_ml"))) / "_acs"
    for folder in (packaged, packaged.parent.parent / "examples" / "acs"):
        if (folder / DATA_FILE).is_file():
            return folder
    raise DataError(
        f"the demo's data file {DATA_FILE} is neither in {packaged} nor in examples/acs",
        remedy="Reinstall otel-ml from a wheel or an intact clone.",
    )


def read_people(folder: Path, *, rows: int, seed: int) -> People:
    """Return `rows` people of 2016 to 2018: year after year, in equal shares, shuffled within each.

    Parameters
    ----------
    folder
        Folder that holds the data file.
    rows
        How many people in all.
    seed
        Decides who they are and in which order they come.
    """
    with gzip.open(folder / DATA_FILE, "rt", encoding="ascii") as lines:
        names = lines.readline().strip().split(",")
        table = np.loadtxt(lines, delimiter=",", dtype=np.float64)
    absent = [name for name in (*COLUMNS, "employed", "year") if name not in names]
    if absent:
        raise DataError(
            f"{folder / DATA_FILE} lacks the columns {', '.join(absent)}",
            remedy="Restore the file; examples/acs/make.py says how it was made.",
        )
    year = table[:, names.index("year")].astype(np.int64)
    rng = np.random.default_rng(seed)
    share = -(-rows // len(REPLAYED_YEARS))
    chosen = []
    for wanted in REPLAYED_YEARS:
        of_year = np.flatnonzero(year == wanted)
        if len(of_year) < share:
            raise DataError(
                f"{folder / DATA_FILE} has {len(of_year)} rows of {wanted}, {share} are needed",
                remedy=f"Replay at most {len(of_year) * len(REPLAYED_YEARS)} rows.",
            )
        chosen.append(rng.permutation(of_year)[:share])
    order = np.concatenate(chosen)[:rows]
    return People(
        features=table[order][:, [names.index(name) for name in COLUMNS]],
        labels=table[order, names.index("employed")].astype(np.int64),
        years=year[order],
    )
