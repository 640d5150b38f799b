"""Make the compact copy of the data: in, the full parquet file; out, ``acs_employment_ma.csv.gz``.

    python make.py acs_employment_ma.parquet

Needs pandas and pyarrow; nothing that reads the copy does. The same input gives the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import io
from pathlib import Path

import numpy as np
import pandas as pd

SEED = 2015
ROWS_OF_YEAR = {2015: 20_000, 2016: 10_000, 2017: 10_000, 2018: 10_000}
TARGET = Path(__file__).resolve().parent / "acs_employment_ma.csv.gz"


def select(full: pd.DataFrame) -> pd.DataFrame:
    """Return a random subset of each year, in random order, as integers.

    The survey lists people by household, so neighbours are alike and half the rows have a twin; a
    random order breaks up the households, as arrivals at a service would.
    """
    rng = np.random.default_rng(SEED)
    parts = []
    for year, rows in ROWS_OF_YEAR.items():
        positions = np.flatnonzero(full["year"].to_numpy() == year)
        parts.append(full.iloc[rng.permutation(positions)[:rows]])
    return pd.concat(parts).astype(np.int64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parquet", type=Path, help="the full file, see README.md")
    table = select(pd.read_parquet(parser.parse_args().parquet))
    text = table.to_csv(index=False, lineterminator="\n").encode()
    packed = io.BytesIO()
    # No file name and no time in the header: the copy is the same on every machine.
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, compresslevel=9, mtime=0) as out:
        out.write(text)
    TARGET.write_bytes(packed.getvalue())
    print(f"{TARGET.name}: {len(table):,} rows, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
